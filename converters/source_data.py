"""Labelled source data of any size: two arrays, or batches that are read as often as they are needed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LabelError
from ..manifest import InputSpec, Task
from .classes import Labels
from .original import BATCH
from .samples import check_samples

Frames = NDArray[np.generic]
Batches = Iterable[tuple[Any, Any]]
Source = tuple[NDArray[Any], Labels] | Batches | Callable[[], Batches]
_ADVICE = "Pass two arrays (x, y), or batches (x, y) that can be gone through more than once, such as a DataLoader."


def check_source(source: Source | None) -> None:
    """Refuse what is no source data, before any work.

    Raises:
        InputError: If it is neither arrays nor batches, or can be gone through once only.
    """
    if source is None or is_arrays(source) or callable(source):
        return
    if isinstance(source, np.ndarray | str | bytes) or not isinstance(source, Iterable):
        raise InputError(f"expected source data with labels, found {type(source).__name__}. {_ADVICE}")
    if isinstance(source, Iterator):
        raise InputError(
            f"expected source batches that can be gone through more than once, found {type(source).__name__}, which "
            f"cannot. Pass a list, a DataLoader, or a function that returns it."
        )


@dataclass(frozen=True, eq=False)
class SourceData:
    """Labelled raw samples that need not fit into memory.

    Args:
        read: Goes through the samples from the start: batches ``(m, *shape)``, and ``(m, ...)`` labels as `given`.
        given: Labels: one per sample, or those that occur.
        places: ``(n,)`` place of each sample's label among those that occur; None where there is one per sample.
        size: Number of samples.
        arrays: All samples, where they are in memory.
    """

    read: Callable[[], Iterator[tuple[Frames, NDArray[Any]]]]
    given: Any
    places: NDArray[np.int64] | None
    size: int
    arrays: Frames | None = None

    @classmethod
    def of(cls, source: Source, spec: InputSpec, task: Task) -> "SourceData":
        """Go through source data once: check the samples, and collect the labels.

        Args:
            source: As for `convert`.
            spec: What one raw sample is.
            task: Decides whether labels are names or numbers.

        Raises:
            InputError: If samples do not fit.
            LabelError: If batches have other numbers of labels than samples.
        """
        check_source(source)
        if is_arrays(source):
            x = check_samples(source[0], spec, "source")
            _require_some(len(x))
            return cls(lambda: iter(()), source[1], None, len(x), x)

        def read() -> Iterator[tuple[Frames, NDArray[Any]]]:
            for number, pair in enumerate(source() if callable(source) else source):
                yield _checked(pair, number, spec, task)

        if task == "regression":
            values = [y for _, y in read()]
            _require_some(len(values))
            if len({y.shape[1:] for y in values}) > 1:
                raise LabelError("expected as many targets in every source batch, found other shapes. Make them alike.")
            given = np.concatenate(values)
            return cls(read, given, None, len(given))
        known: dict[tuple[type, Any], int] = {}
        places = [_numbered(y, known) for _, y in read()]
        _require_some(len(places))
        flat = np.concatenate(places)
        return cls(read, [label for _, label in known], flat, len(flat))

    def labels(self, of: Callable[[Any, int], NDArray[Any]]) -> NDArray[Any]:
        """Return what a function makes of labels and their number, one row per sample."""
        if self.places is None:
            return of(self.given, self.size)
        return of(self.given, len(self.given))[self.places]

    def batches(self, rows: NDArray[np.int64] | None = None, size: int = BATCH) -> Iterator[Frames]:
        """Go through the samples in batches of one size, however they came.

        Args:
            rows: ``(m,)`` places of the wanted samples, ascending; by default all.
            size: Samples of a batch; the last may have fewer.

        Raises:
            InputError: If the batches are not those of the first time.
        """
        if self.arrays is not None:
            chosen = range(0, self.size if rows is None else len(rows), size)
            yield from (self.arrays[i : i + size] if rows is None else self.arrays[rows[i : i + size]] for i in chosen)
            return
        waiting: list[Frames] = []
        for part in self._again(rows):
            waiting.append(part)
            while sum(map(len, waiting)) >= size:
                whole = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                yield whole[:size]
                waiting = [whole[size:]] if len(whole) > size else []
        if waiting:
            yield np.concatenate(waiting)

    def _again(self, rows: NDArray[np.int64] | None) -> Iterator[Frames]:
        start = 0
        for x, y in self.read():
            end = start + len(x)
            if not self._same(y, start, end):
                raise InputError(
                    f"expected the same source batches every time, found other labels from sample {start} on. "
                    f"Turn off what shuffles or draws them."
                )
            if rows is None:
                yield x
            else:
                first, last = np.searchsorted(rows, (start, end))
                if last > first:
                    yield x[rows[first:last] - start]
                if last == len(rows):
                    return
            start = end
        if start != self.size:
            raise InputError(f"expected {self.size} source samples as the first time, found {start}. Read them anew.")

    def _same(self, y: NDArray[Any], start: int, end: int) -> bool:
        if end > self.size:
            return False
        if self.places is None:
            return bool(np.array_equal(y, self.given[start:end], equal_nan=True))
        return bool([self.given[place] for place in self.places[start:end]] == y.tolist())


def is_arrays(source: object) -> TypeGuard[tuple[NDArray[Any], Labels]]:
    """Whether source data is two arrays; two batches in a tuple are batches."""
    return isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], tuple | list)


def _require_some(samples: int) -> None:
    if not samples:
        raise InputError("expected at least one source sample, found none. Leave the source out.")


def _numbered(labels: NDArray[Any], known: dict[tuple[type, Any], int]) -> NDArray[np.int64]:
    """Return places among the labels that occur, which grow."""
    try:
        return np.array([known.setdefault((type(label), label), len(known)) for label in labels.tolist()], np.int64)
    except TypeError as error:
        raise LabelError(f"expected names or whole numbers as source labels, found that {error}.") from error


def _checked(pair: Any, number: int, spec: InputSpec, task: Task) -> tuple[Frames, NDArray[Any]]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(f"expected source batches (x, y), found {type(pair).__name__} as batch {number}. {_ADVICE}")
    x = check_samples(np.asarray(pair[0]), spec, f"source batch {number}")
    if task == "regression":
        try:
            y = np.asarray(pair[1], np.float64)
        except (TypeError, ValueError) as error:
            raise LabelError(f"expected numbers as labels of source batch {number}, found that {error}.") from error
    else:
        given = pair[1].tolist() if hasattr(pair[1], "tolist") else list(pair[1])
        # As they are: an array of their own type would turn numbers among names into names.
        y = np.empty(len(given), object)
        for i, label in enumerate(given):
            y[i] = label
    if y.shape[:1] != (len(x),):
        found = len(y) if y.ndim else "a single one"
        raise LabelError(f"expected one label per sample of source batch {number} ({len(x)}), found {found}.")
    return x, y
