"""`acclimate compress`: make a model smaller until it fits a budget that is measured, as a file of settings says."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.progress import TextColumn
from rich.table import Table

from ..errors import InputError
from .console import bars, fail, note, output, print_json, printable, tell

if TYPE_CHECKING:
    from ..server.compress.outcome import Compression

_REFUSED = 1


def compress(
    config: Annotated[
        Path,
        typer.Argument(help="File of settings (TOML) with [compress]; docs/configuration.md lists them."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for runs, candidates, table, report and what is chosen.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: compress.ratios=[0.4]. Repeat for several.")
    ] = None,
    latency: Annotated[
        float | None, typer.Option("--max-latency-ms", help="Most milliseconds for one sample, measured here.")
    ] = None,
    size: Annotated[float | None, typer.Option("--max-size-mb", help="Most megabytes of the bundle.")] = None,
    drop: Annotated[
        float | None, typer.Option("--max-drop", help="Most points of accuracy lost against the original in float.")
    ] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", help="The device's runtime: onnx or tflite.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where candidates are trained: auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Train what is missing alone; measure and choose anew.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what came out as JSON.")] = False,
) -> None:
    """Make smaller candidates of a model, measure them on the device's runtime, and keep the best within a budget."""
    if not config.is_file():
        raise InputError(f"expected a file of settings at {config}, found none. Check the path.")
    given = {"max_latency_ms": latency, "max_size_mb": size, "max_drop": drop, "runtime": runtime}
    limits = [f"compress.{name}={value}" for name, value in given.items() if value is not None]
    # Importing torch takes seconds: not before the arguments are known to be good.
    from ..server.compress.outcome import plain
    from ..server.compress.run import compress_to_budget

    with _shown() as (stage, progress, listener):
        found = compress_to_budget(
            config,
            overrides=[*(changes or ()), *limits],
            out=out,
            resume=resume,
            device=device,
            stage=stage,
            progress=progress,
            listener=listener,
        )
    if json:
        print_json({**plain(found), "folder": str(found.folder)})
    else:
        _print(found)
    if found.choice.chosen is None:
        fail(str(found), _REFUSED)


@contextmanager
def _shown() -> Iterator[tuple[Any, Any, Any]]:
    """Show a bar for what is being done where there is a terminal, and a line when it begins."""
    with bars(TextColumn("{task.fields[told]}")) as drawn:
        task = drawn.add_task("compression", total=None, told="")

        def stage(name: str) -> None:
            note(f"{name} ...")
            drawn.reset(task, description=name, total=None, told="")

        def progress(done: int, total: int) -> None:
            drawn.update(task, completed=done, total=total)

        def listener(record: Mapping[str, Any]) -> None:
            if record["kind"] == "step":
                drawn.update(task, told=f"{record['samples_per_second']:.0f} samples/s, loss {record['loss']:.3f}")

        yield stage, progress, listener


def _print(found: "Compression") -> None:
    from ..server.compress.outcome import named

    # Narrow enough for a terminal of 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("candidate", "bits", "ms", "MB", "accuracy", "drop", "parameters", ""):
        table.add_column(name, justify="left" if name in ("candidate", "") else "right", no_wrap=True)
    for place, one in enumerate(found.models):
        marks = ("chosen", place == found.choice.chosen), ("front", place in found.choice.pareto)
        cells = (
            one.name,
            "8" if one.int8 else "32",
            f"{one.latency_ms:.3f}",
            f"{one.size_mb:.3f}",
            f"{one.accuracy:.4f}",
            f"{one.drop:.2f}",
            f"{one.parameters:,}",
            ", ".join(name for name, holds in marks if holds),
        )
        table.add_row(*map(printable, cells))
    output.print(table)
    for name, reason in found.failed:
        tell(f"Not in the table: {name}. {reason}")
    tell(
        f"Accuracy on {found.samples['evaluation']} validation samples, on which the choice is made; drop in points "
        f"below the first. The report and every bundle are in {found.folder}."
    )
    if found.choice.chosen is not None and found.bundle is not None:
        tell(f"Chosen: {named(found.models[found.choice.chosen])}, in {found.bundle}.")
        if found.model is not None:
            tell(f"Its checkpoint is in {found.model}.")
        else:
            tell("Its network cannot be built again from a text: the bundle is all that there is of it.")
