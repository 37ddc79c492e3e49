"""`acclimate demo`: the whole way, from pretraining to a device that has adapted, on real data."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..errors import OutputExistsError
from .console import Report, errors, output, print_json, progress


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")] = Path("build/demo"),
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=50, help="Draws of samples to adapt on.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the training.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print demo.json instead of tables.")] = False,
) -> None:
    """Pretrain on MNIST, compress, convert, and adapt to UCI digits in a process without torch."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"expected a folder at {out}, found a file. Choose another one with --out.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise OutputExistsError(f"{out} is not empty. Pass --overwrite to replace an earlier demo, or another --out.")
    # The sides are heavy: nothing of them is imported before the arguments are known to be good.
    from . import demo_report, demo_run

    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    stage, done = _announcer()
    compressed = demo_run.compress(out, seed, stage, done)
    trials = demo_run.adapt_on_devices(compressed, out, seeds, stage, done)
    summary = demo_report.summarise(compressed, trials, demo_run.versions(), time.perf_counter() - begun)
    demo_report.write(out, summary)
    if json:
        print_json(summary)
        return
    for runtime, table in summary["tables"].items():
        output.print(_table(runtime, table))
    output.print(_facts(summary))
    output.print(f"{summary['seconds']:.0f} s. See {out / 'report.html'}; all that was made is in {out}.", markup=False)


def _announcer() -> tuple[Callable[[str], AbstractContextManager[Report]], Callable[[str], None]]:
    """Return what opens a stage, and what prints its result."""
    titles: list[str] = []

    @contextmanager
    def stage(title: str) -> Iterator[Report]:
        titles.append(title)
        if not errors.is_terminal:
            errors.print(f"{title} ...", markup=False)
        with progress(title) as report:
            yield report

    def done(result: str) -> None:
        errors.print(f"[green]{len(titles)}[/green] {titles[-1]}: {result}")

    return stage, done


def _table(runtime: str, rows: list[dict[str, float]]) -> Table:
    table = Table(title=f"UCI digits, {runtime}: mean accuracy on samples never seen", box=None)
    for name in ("a class", "before", "after", "lowest", "highest", "applied", "scikit-learn", "adapt s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['budget']}",
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
            f"{row['after_low']:.3f}",
            f"{row['after_high']:.3f}",
            f"{row['applied']:.0%}",
            f"{row['reference']:.3f}",
            f"{row['adapt_seconds']:.3f}",
        )
    return table


def _facts(summary: dict[str, dict[str, float]]) -> Table:
    table = Table(title="Sizes, latency and memory", box=None, show_header=False)
    for name, count in summary["bytes"].items():
        table.add_row(name, f"{count / 1000:,.0f} kB")
    for runtime in summary["tables"]:
        table.add_row(f"predict one frame, {runtime}", f"{summary['milliseconds'][runtime]:.3f} ms")
        table.add_row(f"peak memory of the device process, {runtime}", f"{summary['peak_bytes'][runtime] / 1e6:.0f} MB")
    return table
