"""Options that the commands of the device side share, and how they open a learner."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..edge import Learner, Regressor
    from ..manifest import Task


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return a check of an option, made before any file is opened."""

    def check(value: str) -> str:
        if value not in allowed:
            raise typer.BadParameter(f"expected {', '.join(allowed[:-1])} or {allowed[-1]}")
        return value

    return check


BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle, a .acc file.")]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="The local store. By default the bundle's name with .db.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RuntimeName = Annotated[
    str, typer.Option("--runtime", help="onnx, tflite or auto.", callback=one_of("auto", "onnx", "tflite"))
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Ids of stored samples.")]
Name = Annotated[str, typer.Argument(metavar="CLASS", help="Name of a class.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the runtime. By default every core.")]


def task_of(bundle: Path) -> "Task":
    """Return the task of a bundle, which says what opens it."""
    from ..bundle import Bundle
    from ..edge.checks import check_path

    check_path(bundle, "the bundle")
    with Bundle(bundle) as opened:
        return opened.manifest.task


def open_device(
    bundle: Path,
    store: Path | None,
    runtime: str,
    threads: int | None,
    trusted: Sequence[str] | None = None,
) -> "Learner | Regressor":
    """Open a bundle of either task."""
    if task_of(bundle) == "regression":
        return open_regressor(bundle, store, runtime, threads, trusted)
    return open_learner(bundle, store, runtime, threads, trusted=trusted)


def open_regressor(
    bundle: Path,
    store: Path | None,
    runtime: str,
    threads: int | None,
    trusted: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> "Regressor":
    """Open a regressor."""
    from ..edge import Regressor

    return Regressor.open(
        bundle,
        store,
        runtime=runtime,  # type: ignore[arg-type]  # checked by its option
        threads=threads,
        max_bytes=math.inf if max_bytes == 0 else max_bytes,
        trusted_keys=trusted or None,
    )


def open_learner(
    bundle: Path,
    store: Path | None,
    runtime: str,
    threads: int | None,
    new_classes: str = "add",
    trusted: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> "Learner":
    """Open a learner."""
    from ..edge import Learner

    return Learner.open(
        bundle,
        store,
        runtime=runtime,  # type: ignore[arg-type]  # checked by its option
        threads=threads,
        new_classes=new_classes,  # type: ignore[arg-type]
        max_bytes=math.inf if max_bytes == 0 else max_bytes,
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
def stored_device(
    bundle: Path, store: Path | None, runtime: str, trusted: Sequence[str] | None
) -> "Iterator[Learner | Regressor]":
    """Open a bundle on a store that must be there, with one thread: for what embeds no frames."""
    with open_device(bundle, store_of(bundle, store), runtime, 1, trusted) as device:
        yield device


@contextmanager
def stored_learner(
    bundle: Path, store: Path | None, runtime: str, trusted: Sequence[str] | None, instead: str
) -> "Iterator[Learner]":
    """Open a bundle for classification as `stored_device` does.

    Args:
        bundle: The bundle.
        store: Its store.
        runtime: The runtime.
        trusted: Keys that are trusted.
        instead: Which command does for a bundle for regression what this one does for classes.

    Raises:
        InputError: If the bundle is one for regression.
    """
    if task_of(bundle) == "regression":
        raise no_classes(bundle, instead)
    with open_learner(bundle, store_of(bundle, store), runtime, 1, trusted=trusted) as learner:
        yield learner


def no_classes(bundle: Path, instead: str) -> InputError:
    """Return the error for what only classes have, with the command to use for a bundle for regression."""
    return InputError(f"{bundle.name}: expected a bundle for classification, found one for regression. {instead}")
