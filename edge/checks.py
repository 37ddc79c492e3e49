"""Frames and labels are checked before anything is done with them."""

import os
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, LabelError
from ..manifest import InputSpec

Labels = Sequence[str | int | np.integer[Any] | None] | NDArray[Any]
MAX_NAME = 200
# What to do with labels that are bytes, whose text depends on an encoding.
DECODE = "Decode them first: numpy.char.decode(labels.astype(bytes)), or label.decode()."
_TYPES = {"uint8": np.dtype(np.uint8), "float32": np.dtype(np.float32), "int32": np.dtype(np.int32)}
_HINTS = {
    "uint8": "Scale to 0..255 and convert with .astype('uint8').",
    "float32": "Use .astype('float32').",
    "int32": "Pass ids, such as those of tokens, and use .astype('int32').",
}
# A runtime makes as many threads as it is told to, until the system gives none; SQLite counts milliseconds in 32 bits.
MAX_THREADS, MAX_TIMEOUT = 1_024, 86_400.0


def check_frames(frames: ArrayLike, spec: InputSpec) -> NDArray[np.generic]:
    """Check raw samples against what the bundle takes.

    Args:
        frames: ``(n, *shape)``, or ``shape`` for a single sample.
        spec: What one raw sample is.

    Returns:
        ``(n, *shape)``, C-contiguous, in the type of the input.

    Raises:
        InputError: If type, shape or range differ, if a value is not finite, or if there is no sample.
    """
    try:
        array = np.asarray(frames)
    except ValueError as error:
        raise InputError(
            f"expected frames of one size as {_wanted(spec)}, found that {error}. Resize them alike."
        ) from error
    if array.shape[1:] != spec.shape:
        if array.shape != spec.shape:
            turned = array.ndim == 4 and array.shape[1:] == (*spec.shape[-1:], *spec.shape[:-1])
            advice = "Put the channels last: frames.transpose(0, 2, 3, 1)." if turned else "Resize or reorder the axes."
            raise InputError(f"expected frames as {_wanted(spec)}, found shape {array.shape}. {advice}")
        array = array[np.newaxis]
    if not len(array):
        raise InputError(f"expected at least one frame as {_wanted(spec)}, found none. Look at what made them.")
    if array.dtype != _TYPES[spec.dtype]:
        raise InputError(f"expected frames as {_wanted(spec)}, found type {array.dtype}. {_HINTS[spec.dtype]}")
    if spec.dtype == "float32" and not np.isfinite(cast(NDArray[np.float32], array)).all():
        bad = int(np.flatnonzero(~np.isfinite(cast(NDArray[np.float32], array)).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(f"expected finite values, found NaN or infinity in frame {bad}. Leave such frames out.")
    low, high = spec.range
    if spec.dtype != "uint8" or (low, high) != (0, 255):
        least, greatest = float(np.min(array)), float(np.max(array))
        if spec.dtype == "int32" and (least < low or greatest > high):
            raise InputError(
                f"expected ids from {low:.0f} to {high:.0f}, found {least:.0f} to {greatest:.0f}. "
                f"Make them with the tokenizer, or the table, that belongs to the model."
            )
        if least < low or greatest > high:
            raise InputError(
                f"expected values from {low:g} to {high:g}, found {least:g} to {greatest:g}. "
                f"Pass what the sensor gives, in the unit the model was converted for."
            )
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _wanted(spec: InputSpec) -> str:
    return f"(n, {', '.join(map(str, spec.shape))}) {spec.dtype} ({', '.join(spec.axes)})"


def check_labels(labels: Labels, n: int) -> list[str | None]:
    """Check that labels are names, as many as there are samples.

    Args:
        labels: One name a sample; None for a sample without. A whole number stands for its decimal name.
        n: Number of samples.

    Returns:
        The names.

    Raises:
        LabelError: If their number or type differs, or a name is empty or too long.
    """
    if isinstance(labels, str | bytes | set | frozenset | dict) or _length(labels) is None:
        raise LabelError(f"expected one label per sample ({n}), found {labels!r:.80}. Pass a list of names.")
    if len(labels) != n:
        raise LabelError(
            f"expected one label per sample ({n}), found {len(labels)}. Pass None for samples without one."
        )
    return [None if label is None else check_name(label) for label in labels]


def check_name(label: object) -> str:
    """Return a class name as text.

    Raises:
        LabelError: If it is not a printable text of 1 to 200 characters or a whole number of at most 64 bits.
    """
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        if not -(2**63) <= label < 2**64:
            raise LabelError("expected a whole number of at most 64 bits, found a larger one. Name it by a text.")
        return str(int(label))
    if isinstance(label, bytes | bytearray):
        raise LabelError(f"expected a class name as text, found bytes: {label!r:.80}. {DECODE}")
    if not isinstance(label, str) or not 0 < len(label.strip()) <= len(label) <= MAX_NAME or not label.isprintable():
        raise LabelError(f"expected a class name of 1 to {MAX_NAME} printable characters, found {label!r:.80}.")
    return same_name(label)


def same_name(name: str) -> str:
    """Return a name as it is compared: blanks around it, and letters composed otherwise, make no other class."""
    return unicodedata.normalize("NFC", name.strip())


def holds_bytes(values: NDArray[Any]) -> bool:
    """Return whether an array holds bytes, which no label is: NumPy's type S, or objects, as some file formats give."""
    return values.dtype.kind == "S" or (values.dtype.kind == "O" and any(isinstance(one, bytes) for one in values.flat))


def check_texts(values: Sequence[str | None] | None, n: int, what: str) -> list[str | None]:
    """Check optional keys or tags: none at all, or one (or None) a sample.

    Raises:
        InputError: If their number or type differs.
    """
    if values is None:
        return [None] * n
    if isinstance(values, str) or _length(values) != n or not all(v is None or _is_text(v) for v in values):
        raise InputError(f"expected one of {what} (text or None) per sample ({n}), found {values!r:.80}. Pass a list.")
    return list(values)


def check_ids(ids: Sequence[int] | NDArray[np.int64]) -> list[int]:
    """Check that sample ids are whole numbers.

    Raises:
        InputError: If one is not.
    """
    whole = _length(ids) is not None and all(
        isinstance(i, int | np.integer) and not isinstance(i, bool) and 0 < i < 2**63 for i in ids
    )
    if not whole:
        raise InputError(f"expected a list of ids that observe() returned, found {ids!r:.80}. Look them up.")
    return [int(i) for i in ids]


def check_once(ids: Sequence[int], labels: Sequence[Hashable]) -> None:
    """Check that no sample is given two labels.

    Args:
        ids: ``n`` sample ids.
        labels: ``n`` labels that can be compared; naming a sample twice with the same one is allowed.

    Raises:
        LabelError: If one is named twice with different labels.
    """
    given: dict[int, Hashable] = {}
    for number, label in zip(ids, labels, strict=True):
        if given.setdefault(number, label) != label:
            raise LabelError(
                f"expected one label for each sample, found {given[number]!r:.80} and {label!r:.80} for id {number}. "
                f"Name it once."
            )


def check_threads(threads: object) -> int | None:
    """Return a number of threads, None for every core.

    Raises:
        InputError: If it is no whole number from 1 to 1,024.
    """
    if threads is None:
        return None
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not whole or not 1 <= cast(int, threads) <= MAX_THREADS:
        raise InputError(
            f"expected threads as a whole number from 1 to {MAX_THREADS}, found {threads!r:.80}. "
            f"Leave it out to use every core."
        )
    return int(cast(int, threads))


def check_timeout(timeout: object) -> float:
    """Return a time to wait in seconds.

    Raises:
        InputError: If it is no number from 0 to a day.
    """
    number = isinstance(timeout, int | float | np.integer | np.floating) and not isinstance(timeout, bool)
    # NaN compares with nothing, and is refused with the rest.
    if not number or not 0 <= cast(float, timeout) <= MAX_TIMEOUT:
        raise InputError(
            f"expected timeout in seconds from 0 to {MAX_TIMEOUT:.0f}, found {timeout!r:.80}. Pass 0 not to wait."
        )
    return float(cast(float, timeout))


def check_path(path: object, what: str) -> None:
    """Check that something can name a file.

    Args:
        path: What is given.
        what: What it is the file of, for the message.

    Raises:
        InputError: If it is no text or path, or names no file.
    """
    named = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(named, str) or named == ":memory:" or not Path(named).name:
        raise InputError(f"expected the name of a file for {what}, found {path!r:.80}. Pass a text or a Path.")


def check_progress(progress: object) -> None:
    """Check a progress callback before anything is done.

    Raises:
        InputError: If it cannot be called.
    """
    if progress is not None and not callable(progress):
        raise InputError(
            f"expected progress as a function of the steps done and of all, or None, found {progress!r:.80}."
        )


def _length(values: object) -> int | None:
    try:
        return len(values)  # type: ignore[arg-type]  # what has no length is what is asked
    except TypeError:
        return None


def _is_text(value: object) -> bool:
    # A lone surrogate has no UTF-8 form, and SQLite stores nothing else.
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)
