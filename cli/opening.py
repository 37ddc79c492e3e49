"""Options that the commands of the device side share, and how they open a learner."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..edge import Learner

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle, a .acc file.")]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="The local store. By default the bundle's name with .db.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RuntimeName = Annotated[str, typer.Option("--runtime", help="onnx, tflite or auto.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Ids of stored samples.")]
Name = Annotated[str, typer.Argument(metavar="CLASS", help="Name of a class.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the runtime. By default every core.")]


def open_learner(
    bundle: Path,
    store: Path | None,
    runtime: str,
    threads: int | None,
    new_classes: str = "add",
    trusted: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> "Learner":
    """Open a learner, after checking what was typed."""
    from ..edge import Learner

    if runtime not in ("auto", "onnx", "tflite"):
        raise typer.BadParameter("expected auto, onnx or tflite", param_hint="--runtime")
    if new_classes not in ("add", "refuse"):
        raise typer.BadParameter("expected add or refuse", param_hint="--new-classes")
    return Learner.open(
        bundle,
        store,
        runtime=runtime,  # type: ignore[arg-type]  # checked above
        threads=threads,
        new_classes=new_classes,  # type: ignore[arg-type]
        max_bytes=max_bytes,
        trusted_keys=trusted or None,
    )


def store_of(bundle: Path, store: Path | None, *, must: bool = True) -> Path:
    """Return the store's path: as named, else beside the bundle.

    Raises:
        InputError: If it must be there, and is not.
    """
    path = store or bundle.with_suffix(".db")
    if must and not path.is_file():
        raise InputError(f"expected a store at {path}, found none. Observe samples first, or name it with --store.")
    return path


@contextmanager
def stored_learner(
    bundle: Path, store: Path | None, runtime: str, trusted: Sequence[str] | None
) -> "Iterator[Learner]":
    """Open a learner on a store that must be there, with one thread: for what embeds no frames."""
    with open_learner(bundle, store_of(bundle, store), runtime, 1, trusted=trusted) as learner:
        yield learner
