"""`acclimate pretrain`: train a general model as a file of settings says, in one process or many."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TextColumn

from ..errors import InputError
from .console import bars, note, print_json, tell
from .one_voice import one_voice

if TYPE_CHECKING:
    from ..server.run import Run


def pretrain(
    config: Annotated[Path, typer.Argument(help="File of settings (TOML); docs/configuration.md lists them all.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the model, the log and the checkpoints.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: training.epochs=3. Repeat for several.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the folder.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print what came out as JSON.")] = False,
) -> None:
    """Train a model. For several processes or machines: torchrun -m acclimate.cli pretrain ..."""
    # Of several processes, one speaks.
    main = os.environ.get("RANK", "0") == "0"
    with one_voice():
        if not config.is_file():
            raise InputError(f"expected a file of settings at {config}, found none. Check the path.")
        # Importing torch takes seconds: not before the arguments are known to be good.
        from ..server.pretrain import pretrain as run_pretraining

        with _shown(main) as (progress, listener):
            run = run_pretraining(
                config,
                overrides=changes or (),
                out=out,
                resume=resume,
                device=device,
                progress=progress,
                listener=listener,
            )
    if main:
        if json:
            print_json(_plain(run))
        else:
            for line in _lines(run):
                tell(line)


@contextmanager
def _shown(main: bool) -> Iterator[tuple[Any, Any]]:
    """Show a bar with speed and loss where there is a terminal, and a line per epoch where there is none."""
    with bars(TextColumn("{task.fields[told]}"), shown=main) as drawn:
        task = drawn.add_task("pretraining", total=None, told="")

        def progress(done: int, total: int) -> None:
            drawn.update(task, completed=done, total=total)

        def listener(record: Mapping[str, Any]) -> None:
            if record["kind"] == "epoch":
                note(_epoch(record))
            else:
                drawn.update(task, told=f"{record['samples_per_second']:.0f} samples/s, loss {record['loss']:.3f}")

        yield progress, listener


def _epoch(record: Mapping[str, Any]) -> str:
    scores = "; ".join(
        f"accuracy {one['accuracy']:.3f}, macro F1 {one['macro_f1']:.3f}, calibration error "
        f"{one['calibration_error']:.3f}"
        for one in record.get("tasks", ())
    )
    return f"epoch {record['epoch']}: loss {record['loss']:.4f}" + (f"; {scores}" if scores else "")


def _lines(run: "Run") -> Iterator[str]:
    yield f"{run.steps} steps; the weights are those after step {run.best_step}."
    for task, one in enumerate(run.metrics):
        name = f"task {task + 1}: " if len(run.metrics) > 1 else ""
        yield (
            f"{name}accuracy {one.accuracy:.4f}, macro F1 {one.macro_f1:.4f}, calibration error "
            f"{one.calibration_error:.4f} on {one.samples} validation samples."
        )
    if run.speed is not None:
        yield f"{run.speed.samples_per_second:.0f} samples a second, {run.speed.input_wait:.1%} of it waiting for them."
    if run.verdict is not None:
        yield run.verdict.reason
    yield f"The model is in {run.folder / 'model'}."
    if (run.folder / "report.html").is_file():
        yield f"The report is {run.folder / 'report.html'}."


def _plain(run: "Run") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "model": str(run.folder / "model"),
        "steps": run.steps,
        "best_step": run.best_step,
        "metrics": [asdict(one) for one in run.metrics],
        "speed": None if run.speed is None else asdict(run.speed),
        "verdict": None if run.verdict is None else asdict(run.verdict),
    }
