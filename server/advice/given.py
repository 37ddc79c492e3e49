"""What was given, checked: both sides in one space, and in words what was odd about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...edge.checks import DECODE, same_name
from ...edge.transfer.checks import check_rows
from ...errors import InputError, LabelError, NotEnoughSamplesError
from .pair import Float64, Int64, Pair
from .space import Space, common_space

Labels = Sequence[Any] | NDArray[Any]
# Rows of a side that are looked at; more are drawn from.
MOST_SOURCE, MOST_UNLABELLED = 600, 300


@dataclass(frozen=True, eq=False)
class Given:
    """A pair with what is known of it.

    Args:
        pair: Both sides, in one space.
        space: What brought them there.
        groups: ``(m,)`` which labelled target samples must stay together.
        classes: Names of the ``k`` classes.
        source_counts: ``(k,)`` labelled samples of each class in the source, before any were left out.
        target_counts: ``(k,)`` likewise in the target.
        unlabelled: Samples of the target without a label.
        width: Features that were given.
        notes: What was left out or changed, and what to look at.
    """

    pair: Pair
    space: Space
    groups: Int64
    classes: tuple[str, ...]
    source_counts: tuple[int, ...]
    target_counts: tuple[int, ...]
    unlabelled: int
    width: int
    notes: tuple[str, ...]


def check_given(
    source_x: ArrayLike,
    source_y: Labels,
    target_x: ArrayLike,
    target_y: Labels | None,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Given:
    """Check both sides, and bring them into one space. Arguments, errors: see `advise`."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"expected a whole number from 0 as the seed, found {seed!r:.80}.")
    source, target = check_rows(source_x, "source"), check_rows(target_x, "target", least=1)
    if source.shape[1] != target.shape[1]:
        raise InputError(
            f"expected source and target samples of one width, found {source.shape[1]} and {target.shape[1]} "
            f"features. Compute both with the same backbone."
        )
    home = label_names(source_y, len(source), "source")
    here = [None] * len(target) if target_y is None else label_names(target_y, len(target), "target")
    together = _groups(groups, target)
    notes: list[str] = []
    source, home = _labelled_source(source, home, notes)
    source, home = _without_leaks(source, home, target, here, notes)
    classes = tuple(sorted({name for name in (*home, *here) if name is not None}))
    place = {name: i for i, name in enumerate(classes)}
    known = np.array([name is not None for name in here])
    y = np.array([place[name] for name in home if name is not None], np.int64)
    own = np.array([place[name] for name in here if name is not None], np.int64)
    _check_classes(y, own, classes, notes)
    rng = np.random.default_rng(seed)
    counts = [tuple(np.bincount(each, minlength=len(classes)).tolist()) for each in (y, own)]
    kept = _drawn(rng, len(source), MOST_SOURCE, "source", notes)
    others = np.flatnonzero(~known)
    others = others[_drawn(rng, len(others), MOST_UNLABELLED, "unlabelled target", notes)]
    space, told = common_space(source[kept], np.concatenate([target[known], target[others]]))
    notes += told
    sides = [space.apply(rows) for rows in (source[kept], target[known], target[others])]
    pair = Pair(sides[0], y[kept], sides[1], own, sides[2], len(classes), seed)
    nameless, width = int((~known).sum()), source.shape[1]
    return Given(pair, space, together[known], classes, counts[0], counts[1], nameless, width, tuple(notes))


def label_names(labels: Labels, n: int, side: str) -> list[str | None]:
    """Return labels as names; None where there is none: None, an empty text, -1 or NaN.

    Raises:
        LabelError: If they are not one for each of ``n`` samples.
    """
    if isinstance(labels, str | bytes | set | dict) or not hasattr(labels, "__len__"):
        raise LabelError(
            f"expected {side} labels as a list or an array, found {type(labels).__name__}. Pass one a row."
        )
    found = list(labels.tolist() if isinstance(labels, np.ndarray) else labels)
    if len(found) != n:
        raise LabelError(f"expected a label or none for each of {n} {side} samples, found {len(found)}.")
    names: list[str | None] = []
    for one in found:
        if isinstance(one, list | tuple | dict):
            raise LabelError(f"expected {side} labels as texts or whole numbers, found {type(one).__name__}.")
        if isinstance(one, bytes):
            raise LabelError(f"expected {side} labels as texts or whole numbers, found bytes. {DECODE}")
        empty = one is None or one != one or str(one).strip() in ("", "-1", "-1.0")
        whole = isinstance(one, float) and one.is_integer()
        names.append(None if empty else str(int(one)) if whole else same_name(str(one)))
    return names


def _labelled_source(source: Float64, home: list[str | None], notes: list[str]) -> tuple[Float64, list[str | None]]:
    rows = [row for row, name in enumerate(home) if name is not None]
    if len(rows) < len(home):
        notes.append(f"{len(home) - len(rows)} source samples without a label were left out")
    if len({home[row] for row in rows}) < 2:
        raise NotEnoughSamplesError(
            f"expected a labelled source of two classes or more, found {len({home[row] for row in rows})}. "
            f"Label the source's samples."
        )
    return source[rows], [home[row] for row in rows]


def _without_leaks(
    source: Float64, home: list[str | None], target: Float64, here: Sequence[str | None], notes: list[str]
) -> tuple[Float64, list[str | None]]:
    """Leave source rows out that are the target's too: held out there, they would have been seen here."""
    there = {row.tobytes() for row in target + 0.0}
    kept = [i for i, row in enumerate(source + 0.0) if row.tobytes() not in there]
    if len(kept) < len(home):
        gone = len(home) - len(kept)
        notes.append(
            f"leakage: {gone} of {len(home)} source samples are the target's too, value by value; they were left out "
            f"of the source, or held-out samples would have been seen"
        )
    if len({home[row] for row in kept}) < 2:
        raise InputError(
            f"expected a source beside the target, found that {len(home) - len(kept)} of its {len(home)} samples are "
            f"the target's too. Give another source."
        )
    seen: dict[bytes, set[str]] = {}
    for row, name in zip(target + 0.0, here, strict=True):
        if name is not None:
            seen.setdefault(row.tobytes(), set()).add(name)
    repeated = sum(name is not None for name in here) - len(seen)
    if repeated:
        notes.append(f"{repeated} labelled target samples repeat others; repeated ones are held out together")
    if any(len(names) > 1 for names in seen.values()):
        notes.append("some target samples are the same and have different labels: look at the labels")
    return source[kept], [home[row] for row in kept]


def _groups(groups: ArrayLike | None, target: Float64) -> Int64:
    """Return what must stay together: the groups given, or else rows that are the same."""
    if groups is None:
        found = np.unique(target, axis=0, return_inverse=True)[1]
        return np.asarray(found, np.int64).reshape(-1)
    given = np.asarray(groups)
    if given.shape != (len(target),):
        raise InputError(f"expected a group for each of {len(target)} target samples, found shape {given.shape}.")
    return np.asarray(np.unique(given, return_inverse=True)[1], np.int64).reshape(-1)


def _check_classes(y: Int64, own: Int64, classes: tuple[str, ...], notes: list[str]) -> None:
    if not len(own):
        return
    source, target = set(y.tolist()), set(own.tolist())
    if not source & target:
        raise LabelError(
            f"expected source and target to share classes, found {_named(source, classes)} and "
            f"{_named(target, classes)}. Give both the same names for the same classes."
        )
    if missing := source - target:
        notes.append(f"the target has no labelled sample of {_named(missing, classes)}, which the source has")
    if missing := target - source:
        notes.append(f"the source has no sample of {_named(missing, classes)}, which the target has")


def _named(places: set[int], classes: tuple[str, ...]) -> str:
    names = [repr(classes[place]) for place in sorted(places)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _drawn(rng: np.random.Generator, n: int, most: int, side: str, notes: list[str]) -> NDArray[np.intp]:
    if n <= most:
        return np.arange(n)
    notes.append(f"{most} of {n} {side} samples were drawn and looked at")
    return np.sort(rng.permutation(n)[:most])
