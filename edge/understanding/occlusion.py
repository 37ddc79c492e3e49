"""Occlusion: how much a score falls when a part of the frame is hidden. Asks the model alone, so any model will do.

The method of Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import BudgetError, InputError
from ...record import record

if TYPE_CHECKING:
    from ..learner import Learner

Frames = NDArray[np.generic]
Float64 = NDArray[np.float64]
Scores = Callable[[Frames], NDArray[np.floating]]
Progress = Callable[[int, int], None]
# Frames that the model looks at in one call; hidden frames of all of them together, unless told otherwise.
BATCH, MOST = 64, 200_000
_MOVES_IN = ("height", "width", "time")
# Below it a probability is rounding.
_LEAST = 1e-12


@record(eq=False)
class Occlusion:
    """What hiding parts of frames changed.

    Args:
        heat: ``(n, *sides)`` what each place counts for: how far the score fell when it was hidden, the mean over the
            patches that hide it. Sides are those of a frame along the axes that patches move on.
        target: ``(n,)`` column of the score that was watched.
        score: ``(n,)`` that score of the whole frames.
        looks: Frames that the model looked at.
    """

    heat: Float64
    target: NDArray[np.int64]
    score: Float64
    looks: int


def occlude(
    scores: Scores,
    frames: Frames,
    *,
    axes: Sequence[int] | None = None,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: float | NDArray[np.generic] | None = None,
    target: int | Sequence[int] | NDArray[np.integer] | None = None,
    most: int = MOST,
    progress: Progress | None = None,
) -> Occlusion:
    """Hide one patch after the other, and see how far the score falls.

    Where patches do not overlap, a linear model gets for each patch exactly the sum of weight times input less fill.

    Args:
        scores: From ``(m, *shape)`` frames to ``(m, k)`` scores: logits, or probabilities.
        frames: ``(n, *shape)``.
        axes: Axes of a frame (0 is the first) that patches move on; what lies along the others is hidden together. None
            for height and width of ``(h, w, c)`` or ``(h, w)``, and the first of anything else; a window of a time
            series with channels is ``(t, c)`` and needs ``axes=(0,)``.
        patch: Sides of a patch; None for an eighth of each side, at least 1.
        stride: Steps between patches, at most the patch; None for half a patch, at least 1.
        fill: What stands in the hidden place, of any shape that broadcasts to a frame; None for the frame's own mean
            over the axes, channel by channel.
        target: Column of the score to watch, one for all or one each; None for the greatest of each frame.
        most: Looks that the model may be asked for.
        progress: Called with the number of looks done and of all.

    Returns:
        The heat of every place.

    Raises:
        InputError: If sides, axes or scores do not fit.
        BudgetError: If it takes more looks than `most`.
    """
    n, shape = len(frames), frames.shape[1:]
    if not n or not shape or not frames.size:
        raise InputError(f"expected frames (n, ...) with something in them, found shape {frames.shape}.")
    moved = _axes(axes, shape)
    sides = tuple(shape[axis] for axis in moved)
    size = _sides(patch, [max(1, side // 8) for side in sides], sides, "patch")
    step = _sides(stride, [max(1, side // 2) for side in size], size, "stride")
    places = _places(sides, size, step)
    looks = n * (len(places) + 1)
    if looks > most:
        raise BudgetError(
            f"expected at most {most:,} looks, found {looks:,}: {n:,} frames with {len(places):,} patches each. Take "
            f"fewer frames, larger patches or a larger stride."
        )
    filled = _filled(frames, fill, moved)
    whole = np.concatenate([_scored(scores, frames[i : i + BATCH]) for i in range(0, n, BATCH)])
    watched = _targets(target, whole)
    base = whole[np.arange(n), watched]
    heat, covered = np.zeros((n, *sides)), np.zeros(sides)
    for place in places:
        covered[place] += 1
    done = n
    for rows, where in _batches(n, len(places)):
        hidden = frames[rows].copy()
        for i, (row, number) in enumerate(zip(rows, where, strict=True)):
            cut = _cut(places[number], moved, len(shape))
            hidden[i][cut] = filled[row][cut]
        fell = base[rows] - _scored(scores, hidden)[np.arange(len(rows)), watched[rows]]
        for row, number, value in zip(rows, where, fell, strict=True):
            heat[row][places[number]] += value
        done += len(rows)
        if progress is not None:
            progress(done, looks)
    return Occlusion(heat / covered, watched, base, looks)


def occlude_learner(
    learner: "Learner",
    frames: Frames,
    *,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: float | NDArray[np.generic] | None = None,
    target: int | Sequence[int] | NDArray[np.integer] | None = None,
    scale: Literal["log-odds", "probability"] = "log-odds",
    most: int = MOST,
    progress: Progress | None = None,
) -> Occlusion:
    """Hide parts of raw frames from a learner, and see how far the score of a class falls.

    Patches move along what the bundle calls height, width or time; where it has none of these, a row for example, along
    the first axis. Targets are columns of `Prediction.probabilities`. See `occlude` for the rest. Log-odds (of the
    class against all others, in nats) show what counts for a frame that the learner is sure of, whose probability
    hardly falls.

    Raises:
        InputError: If the frames do not fit the bundle, or there is no head.
        BudgetError: If it takes more looks than `most`.
    """
    if scale not in ("log-odds", "probability"):
        raise InputError(f"expected scale to be 'log-odds' or 'probability', found {scale!r:.80}.")
    spec = learner._session.bundle.manifest.input
    checked = np.asarray(frames)
    checked = checked[np.newaxis] if checked.shape == spec.shape else checked
    options = {"patch": patch, "stride": stride, "fill": fill, "target": target}

    def scores(some: Frames) -> Float64:
        found = learner.predict(some).probabilities.astype(np.float64)
        return found if scale == "probability" else log_odds(found)

    return occlude(
        scores,
        checked,
        axes=steps_of(spec.axes),
        most=most,
        progress=progress,
        **options,  # type: ignore[arg-type]  # as they were given
    )


def steps_of(axes: Sequence[str]) -> list[int]:
    """Return the axes of a bundle's frame that patches move on: height, width or time, else the first."""
    return [i for i, name in enumerate(axes) if name in _MOVES_IN] or [0]


def log_odds(probabilities: Float64) -> Float64:
    """Return ``(n, k)`` logarithms of the odds of each class against all others."""
    others = probabilities.sum(axis=1, keepdims=True) - probabilities
    # Of a class near 1 the difference is rounding: what is left is added up.
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(probabilities))
    rest = probabilities.copy()
    rest[rows, best] = 0
    others[rows, best] = rest.sum(axis=1)
    found: Float64 = np.log(np.maximum(probabilities, _LEAST)) - np.log(np.maximum(others, _LEAST))
    return found


def _axes(axes: Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    if axes is None:
        return (0, 1) if len(shape) == 3 or len(shape) == 2 else (0,)
    found = tuple(axes)
    if not found or len(set(found)) < len(found) or not all(0 <= axis < len(shape) for axis in found):
        raise InputError(f"expected different axes of a frame of shape {shape}, counted from 0, found {found}.")
    return tuple(sorted(found))


def _sides(given: int | Sequence[int] | None, usual: Sequence[int], most: Sequence[int], what: str) -> tuple[int, ...]:
    found = tuple(usual) if given is None else (given,) * len(most) if isinstance(given, int) else tuple(given)
    if len(found) != len(most) or not all(1 <= a <= b for a, b in zip(found, most, strict=True)):
        raise InputError(f"expected the sides of a {what} from 1 to {tuple(most)}, found {found}. Mend the {what}.")
    return found


def _places(sides: Sequence[int], size: Sequence[int], step: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return where patches lie; the last of a row is cut at the edge."""
    rows: list[tuple[slice, ...]] = [()]
    for side, width, stride in zip(sides, size, step, strict=True):
        last = max(0, math.ceil((side - width) / stride))
        parts = [slice(i * stride, min(i * stride + width, side)) for i in range(last + 1)]
        rows = [(*row, part) for row in rows for part in parts]
    return rows


def _cut(place: tuple[slice, ...], moved: tuple[int, ...], axes: int) -> tuple[slice, ...]:
    cut = [slice(None)] * axes
    for axis, part in zip(moved, place, strict=True):
        cut[axis] = part
    return tuple(cut)


def _filled(frames: Frames, fill: float | NDArray[np.generic] | None, moved: tuple[int, ...]) -> Frames:
    """Return what stands in hidden places, in the shape of the frames, without room of its own."""
    if fill is None:
        means = frames.astype(np.float64).mean(axis=tuple(axis + 1 for axis in moved), keepdims=True)
        values: Frames = means if frames.dtype.kind == "f" else np.rint(means)
    else:
        values = np.asarray(fill)
        if not np.isfinite(values.astype(np.float64)).all():
            raise InputError("expected a finite fill, found NaN or infinity. Give what stands for nothing.")
    try:
        return np.broadcast_to(values.astype(frames.dtype), frames.shape)
    except ValueError as error:
        raise InputError(
            f"expected a fill that broadcasts to frames of shape {frames.shape[1:]}, found {values.shape}."
        ) from error


def _targets(target: int | Sequence[int] | NDArray[np.integer] | None, whole: Float64) -> NDArray[np.int64]:
    n, k = whole.shape
    if target is None:
        best: NDArray[np.int64] = whole.argmax(axis=1)
        return best
    found = np.broadcast_to(np.asarray(target), (n,)) if np.ndim(target) == 0 else np.asarray(target)
    if found.shape != (n,) or found.dtype.kind not in "iu" or not ((found >= 0) & (found < k)).all():
        raise InputError(
            f"expected one target, or one for each of {n} frames, from 0 to {k - 1}, found {target!r:.80}."
        )
    return found.astype(np.int64)


def _scored(scores: Scores, frames: Frames) -> Float64:
    found = np.asarray(scores(frames), np.float64)
    if found.ndim != 2 or len(found) != len(frames) or not found.shape[1] or not np.isfinite(found).all():
        raise InputError(f"expected finite scores ({len(frames)}, k), found shape {found.shape}, or not all finite.")
    return found


def _batches(n: int, places: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield frames and places, a batch of looks at a time."""
    for start in range(0, n * places, BATCH):
        looks = np.arange(start, min(start + BATCH, n * places))
        yield looks // places, looks % places
