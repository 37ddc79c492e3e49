"""Solar cells: a general model is made for mono cells, and a device adapts it to poly cells it has never seen.

    python -m examples.solar_cells            # five seeds, both runtimes, last and all taps
    python -m examples.solar_cells --quick    # one seed, ONNX, all taps

EfficientNet-Lite0 with its ImageNet weights becomes an int8 bundle whose head and source statistics come from mono
cells. A device process without torch then adapts to 20, 50, 200 and 750 photos of poly cells and is scored on others.
Beside it stands scikit-learn's logistic regression on fp32 latents of torch: same photos to learn, same photos to test.

The mono head is about as good as chance on poly cells. Where the first photos are too few to prove a new head better,
the device is therefore told to apply it (`--unsure apply`); `--unsure keep` shows what `adapt()` does by default.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from acclimate import AcclimateError
from acclimate.extras import require

from .elpv import BUDGETS, CLASSES, LICENCE, PACKAGE, SEEDS, Cells, Score, load, score, split

if TYPE_CHECKING:
    from .solar_report import Row

Taps = Literal["last", "all"]
Runtime = Literal["onnx", "tflite"]
Tick = Callable[[int, int], None]
References = dict[tuple[str, int, int], Score]
SIZE = (224, 224)
CALIBRATION = 64
CONSOLE = Console()


@contextmanager
def stage(title: str) -> Iterator[Tick]:
    """Show a progress bar; what it yields takes steps done and of all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def build(cells: Cells, taps: Taps, runtimes: Sequence[Runtime], path: Path, tick: Tick) -> str:
    """Convert the ImageNet network into a bundle with head and statistics of the mono cells.

    Returns:
        One line that says what was made.
    """
    from acclimate.converters import convert

    from .efficientnet_lite0 import MEAN, STD, pretrained

    mono = np.flatnonzero(~cells.poly)
    frames = cells.frames[mono, :, :, None]
    report = convert(
        pretrained(SIZE),
        frames[:: len(frames) // CALIBRATION],
        out=path,
        classes=CLASSES,
        source=(frames, np.array(CLASSES)[cells.defective[mono].astype(int)]),
        head="fit",
        taps=taps,
        runtimes=runtimes,
        quantize=True,
        resize=SIZE,
        mean=MEAN / 255,
        std=STD / 255,
        provenance={
            "source model": "EfficientNet-Lite0, ImageNet",
            "source data": f"{PACKAGE}, mono cells ({LICENCE})",
        },
        licence="Apache-2.0",
        progress=tick,
    )
    closeness = ", ".join(f"{v.runtime} {v.parity.whole.cosine:.3f}" for v in report.variants)
    return f"{path.name}: {report.size / 1e6:.1f} MB, latents of {report.width}; cosine of int8 to fp32: {closeness}"


def reference_scores(cells: Cells, latents_file: Path, taps: Sequence[Taps], seeds: Sequence[int]) -> References:
    """Score scikit-learn on fp32 latents, by taps, number of photos and seed.

    Args:
        cells: All photos.
        latents_file: Where the fp32 latents are, or will be kept: torch needs minutes for them.
        taps: Which columns of the latents to fit to.
        seeds: Of the splits.
    """
    from .efficientnet_lite0 import pretrained
    from .solar_reference import fit_reference, fp32_latents, last_tap

    used = np.flatnonzero(cells.poly & ~cells.development)
    if not latents_file.exists():
        with stage("fp32 latents of torch") as tick:
            np.save(latents_file, fp32_latents(pretrained(SIZE), cells.frames[used], tick))
    whole = np.zeros((len(cells.poly), np.load(latents_file, mmap_mode="r").shape[1]), np.float32)
    whole[used] = np.load(latents_file)
    scores: References = {}
    with stage("scikit-learn on fp32 latents") as tick:
        for tapped in taps:
            latents = last_tap(whole) if tapped == "last" else whole
            for seed in seeds:
                part = split(cells, seed)
                for photos in BUDGETS:
                    fitted = fit_reference(latents, cells.defective, part.arrivals[:photos], seed)
                    confidence = fitted.decision_function(latents[part.test])
                    scores[tapped, photos, seed] = score(cells.defective[part.test], confidence > 0, confidence)
                    tick(len(scores), len(taps) * len(seeds) * len(BUDGETS))
    return scores


def run_device(bundle: Path, runtime: Runtime, seeds: Sequence[int], unsure: str, tick: Tick) -> list[dict[str, Any]]:
    """Adapt in a device process.

    Returns:
        What it found, one row per seed and number of photos.

    Raises:
        AcclimateError: The process failed, or could import what a device does not have.
    """
    command = [sys.executable, "-m", "examples.solar_device", str(bundle), "--runtime", runtime, "--unsure", unsure]
    command += ["--seeds", *map(str, seeds)]
    rows, device = [], None
    with (
        tempfile.TemporaryFile("w+") as problems,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=problems, text=True) as process,
    ):
        for line in process.stdout or ():
            message = json.loads(line)
            if "progress" in message:
                tick(*message["progress"])
            elif "row" in message:
                rows.append(message["row"])
            device = message.get("device", device)
        if process.wait() or device is None or device["heavy"]:
            problems.seek(0)
            raise AcclimateError(f"expected the device process to end well, found {device}: {problems.read()[-500:]}")
    return rows


def joined(runtime: Runtime, taps: Taps, found: list[dict[str, Any]], reference: References) -> "list[Row]":
    """Put what the device found beside the reference."""
    from .solar_report import Row

    rows = []
    for line in found:
        before, after = Score(**line.pop("before")), Score(**line.pop("after"))
        beside = reference[taps, line["photos"], line["seed"]]
        rows.append(Row(runtime=runtime, taps=taps, before=before, after=after, reference=beside, **line))
    return rows


def run(asked: argparse.Namespace) -> None:
    """Do everything and write `solar_cells.json` and `solar_cells.html`."""
    for module, extra in (("torch", "convert"), ("sklearn", "demo"), ("matplotlib", "server")):
        require(module, extra=extra, needed_by="the example of the solar cells")
    from .solar_report import as_json, claim, page, summarize, table, verdicts

    with stage("Photos") as tick:
        cells = load(tick)
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    seeds = SEEDS[: asked.seeds]
    bundles = {}
    for taps in asked.taps:
        bundles[taps] = out / f"cells-{taps}-{'-'.join(asked.runtimes)}.acc"
        if bundles[taps].exists():
            CONSOLE.print(f"{bundles[taps].name} is there already and is used as it is.")
            continue
        with stage(f"Quantize and bundle, {taps} taps") as tick:
            made = build(cells, taps, asked.runtimes, bundles[taps], tick)
        CONSOLE.print(made, soft_wrap=True)
    reference = reference_scores(cells, out / "fp32-latents.npy", asked.taps, seeds)
    rows: list[Row] = []
    for runtime in asked.runtimes:
        for taps, bundle in bundles.items():
            with stage(f"Device with {runtime}, {taps} taps") as tick:
                rows += joined(runtime, taps, run_device(bundle, runtime, seeds, asked.unsure, tick), reference)
    CONSOLE.print(table(summarize(rows)))
    for verdict in verdicts(rows):
        CONSOLE.print(claim(verdict))
    (out / "solar_cells.json").write_text(json.dumps(as_json(rows), indent=1, allow_nan=False))
    (out / "solar_cells.html").write_text(page(rows))
    CONSOLE.print(f"Written: {out / 'solar_cells.json'}, {out / 'solar_cells.html'}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; an error is one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/solar"), help="folder for what is made")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--runtimes", nargs="+", choices=("onnx", "tflite"), default=["onnx", "tflite"])
    parser.add_argument("--taps", nargs="+", choices=("last", "all"), default=["last", "all"])
    parser.add_argument(
        "--unsure", choices=("keep", "apply"), default="apply", help="what to do where too few photos tell a difference"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, ONNX, all taps")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.seeds, asked.runtimes, asked.taps = 1, ["onnx"], ["all"]
    try:
        run(asked)
    except (AcclimateError, FileNotFoundError) as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
