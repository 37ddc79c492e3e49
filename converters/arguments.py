"""What `convert` and `convert_keras` refuse before any work."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..edge.checks import check_name
from ..errors import InputError, LabelError
from ..extras import require
from ..files import refuse_overwrite
from ..manifest import RUNTIMES, Runtime, Task
from ..strict_json import MAX_TEXT
from .classes import Labels
from .source import HeadChoice
from .source_data import Source, check_source, is_arrays


def check_arguments(
    out: str | os.PathLike[str],
    runtimes: Sequence[Runtime],
    head: HeadChoice | None,
    source: Source | None,
    overwrite: bool,
    tflite_packages: Sequence[str],
    tflite_extra: str = "convert-tflite",
    *,
    task: Task | None = None,
    licence: str = "",
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Refuse arguments that do not fit, before any work.

    Args:
        out: See `convert`.
        runtimes: See `convert`.
        head: See `convert`.
        source: See `convert`.
        overwrite: See `convert`.
        tflite_packages: What TFLite files of this kind of model need.
        tflite_extra: The extra that installs them.
        task: See `convert`; without it, labels are not looked at.
        licence: See `convert`.
        provenance: See `convert`.

    Returns:
        Where the bundle is to be written.

    Raises:
        InputError: If an argument does not fit.
        MissingExtraError: If a package is not installed.
        OutputExistsError: If `out` is there and `overwrite` is false, or is no file.
    """
    path = Path(out)
    refuse_overwrite(path, overwrite=overwrite)
    if not path.absolute().parent.is_dir():
        raise InputError(f"expected a folder to write {path.name} into, found none at {path.parent}. Make it first.")
    if (
        isinstance(runtimes, str)
        or not runtimes
        or set(runtimes) - set(RUNTIMES)
        or len(set(runtimes)) != len(runtimes)
    ):
        raise InputError(f"expected runtimes out of {RUNTIMES}, each once, found {runtimes!r}.")
    if head not in ("keep", "fit", None):
        raise InputError(f"expected head 'keep', 'fit' or None, found {head!r}.")
    if head == "fit" and source is None:
        raise InputError("expected labelled source samples to fit a head on, found none. Pass source=(x, y).")
    check_source(source)
    if head == "fit" and task == "classification" and source is not None and is_arrays(source):
        require_two_classes(source[1])
    check_origin(licence, provenance)
    if "tflite" in runtimes:
        for module in tflite_packages:
            require(module, extra=tflite_extra, needed_by="converting for TFLite")
    return path


def require_channels(frame: tuple[int, ...], channels: int) -> None:
    """Refuse frames whose channels a model does not take; those with channels first are told how to turn them.

    Args:
        frame: Shape of one, ``(height, width, channels)``.
        channels: What the model takes; a single channel is repeated.

    Raises:
        InputError: If they do not fit.
    """
    if frame[-1] in (1, channels):
        return
    first = frame[0] in (1, channels)
    raise InputError(
        f"expected frames (height, width, channels) of {channels} channels, as the model takes, or of 1, found "
        f"{frame[-1]} in {frame}. "
        + ("These have channels first: frames.transpose(0, 2, 3, 1)." if first else "Choose such frames.")
    )


def require_two_classes(labels: Labels) -> None:
    """Refuse labels that a head cannot be fitted on.

    Raises:
        LabelError: If they name fewer than two classes, or one is no name.
    """
    found = {check_name(label) for label in labels}
    if len(found) < 2:
        raise LabelError(
            f"expected at least two classes in the source to fit a head on, found "
            f"{f'one: {found.pop()!r}' if found else 'none'}. Add samples of other classes, or convert with head=None."
        )


def check_origin(licence: str, provenance: Mapping[str, str] | None) -> None:
    """Refuse a licence or a provenance that a manifest cannot hold.

    Raises:
        InputError: If a text is too long, or cannot be shown in one line; if a key of the provenance is blank.
    """
    pairs = [] if provenance is None else list(provenance.items())
    for what, text in [("the licence", licence), *(("provenance", text) for pair in pairs for text in pair)]:
        if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
            found = f"{len(text):,} characters" if isinstance(text, str) and text.isprintable() else f"{text!r:.80}"
            raise InputError(
                f"expected {what} as text of at most {MAX_TEXT:,} characters, all printable, found {found}. "
                f"Write it in one line, and a long one as the name of a licence or an address."
            )
    if any(not key.strip() for key, _ in pairs):
        raise InputError("expected names as keys of the provenance, found a blank one. Name what it says.")
