"""Class-activation maps: which places of a frame speak for a class, and by how much of its logit.

A head that is linear on means over space gives each place its own part of the logit (Zhou et al. 2016, "Learning Deep
Features for Discriminative Localization"). Nothing is approximated: the mean of the map and the bias are the logit. Of
a latent of several taps the maps of all of them add up, each on its own grid.

A map is to be had where `tap_maps` gives the maps, and where a head predicts. A trained tail is not linear in them:
it is refused by name. What taps without a map say of the logit is `ActivationMap.rest`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...record import record
from ..checks import check_frames
from .tap_maps import tap_maps

if TYPE_CHECKING:
    from ..learner import Learner

Float64 = NDArray[np.float64]


@record(eq=False)
class ActivationMap:
    """Which places speak for a class.

    Args:
        map: ``(n, *space)`` on the grid of the finest tap. ``map.mean() + bias + rest`` of a frame is its `logit`.
        target: ``(n,)`` column of the class in `Prediction.probabilities`.
        logit: ``(n,)`` the class's logit. Of a class that was merged of several, that of the part that says most.
        bias: ``(n,)`` its bias.
        rest: ``(n,)`` what is in no map: taps without one, and what bringing the latent into the range of the codes
            took away. Near 0 where every tap has a map.
        taps: Names of the taps that the map is made of.
        without: Names of those that have none here.
    """

    map: Float64
    target: NDArray[np.int64]
    logit: Float64
    bias: Float64
    rest: Float64
    taps: tuple[str, ...]
    without: tuple[str, ...]


def class_map(maps: NDArray[np.floating], weight: NDArray[np.floating]) -> Float64:
    """Return what each place says of a logit, ``(n, *space)``; its mean is what the pooled map says.

    Args:
        maps: ``(n, *space, c)``.
        weight: ``(n, c)`` or ``(c,)`` weights of the class on the pooled channels.

    Raises:
        InputError: If the channels differ.
    """
    if maps.ndim < 3 or weight.shape not in ((maps.shape[-1],), (len(maps), maps.shape[-1])):
        raise InputError(
            f"expected maps (n, ..., c) and weights (c,) or (n, c), found shapes {maps.shape} and {weight.shape}."
        )
    rows = np.broadcast_to(weight.astype(np.float64), (len(maps), maps.shape[-1]))
    found: Float64 = np.einsum("n...c,nc->n...", maps.astype(np.float64), rows)
    return found


def resized(maps: Float64, space: Sequence[int]) -> Float64:
    """Bring ``(n, *sides)`` to another grid by the areas that cells share: the mean stays what it was, exactly."""
    if maps.ndim != len(space) + 1:
        raise InputError(f"expected maps with {len(space)} axes of space, found shape {maps.shape}.")
    for axis, side in enumerate(space, 1):
        maps = np.moveaxis(np.tensordot(_shared(maps.shape[axis], side), maps, (1, axis)), 0, axis)
    return maps


def activation_map(
    learner: "Learner",
    frames: NDArray[np.generic],
    *,
    target: int | Sequence[int] | NDArray[np.integer] | None = None,
    taps: Sequence[str] | None = None,
) -> ActivationMap:
    """Return which places of raw frames speak for a class.

    Args:
        learner: The opened bundle, with a head in use.
        frames: ``(n, *shape)`` raw samples, or one without the first axis.
        target: Column of the class, one for all or one each; None for the class that is predicted.
        taps: Names of the taps to take; None for all that have a map. The last alone is the map of Zhou et al.

    Returns:
        The map.

    Raises:
        InputError: If there is no head, a tail predicts, no tap has a map, or a name or target is none.
        BackendError: If the backbone does not run.
    """
    session = learner._session
    checked, now = check_frames(frames, session.bundle.manifest.input), session.in_use()
    if now is None:
        raise InputError("expected a head to explain, found none: observe labelled samples and adapt() first.")
    if now.tail is not None:
        raise InputError(
            f"version {now.version}: expected a head on pooled latents, found a trained tail, whose logits are no sum "
            f"over places. Use occlusion, or roll back to a version without a tail."
        )
    found, head = tap_maps(session, checked), now.head
    every = session.bundle.manifest.taps
    wanted = tuple(found.maps) if taps is None else tuple(taps)
    if not wanted or not set(wanted) <= set(found.maps):
        raise InputError(f"expected taps among {', '.join(found.maps)}, which have maps here, found {wanted}.")
    logits = head.logits(session.code.clip(found.latents)).astype(np.float64)
    rows, columns = _rows(logits, head.columns, len(head.ids), target)
    picked, weight = np.arange(len(checked)), head.layer.weight.astype(np.float64)[rows]
    parts = [
        class_map(found.maps[tap.name], weight[:, tap.offset : tap.offset + tap.width])
        for tap in every
        if tap.name in wanted
    ]
    space = tuple(max(sides) for sides in zip(*(part.shape[1:] for part in parts), strict=True))
    whole = sum((resized(part, space) for part in parts[1:]), start=resized(parts[0], space))
    bias, logit = head.layer.bias.astype(np.float64)[rows], logits[picked, rows]
    rest = logit - bias - whole.reshape(len(checked), -1).mean(axis=1)
    without = tuple(tap.name for tap in every if tap.name not in wanted)
    return ActivationMap(whole, columns, logit, bias, rest, tuple(t.name for t in every if t.name in wanted), without)


def _rows(
    logits: Float64,
    of: NDArray[np.int64] | None,
    k: int,
    target: int | Sequence[int] | NDArray[np.integer] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of the layer and the column of the class to explain for each frame."""
    n = len(logits)
    columns = np.arange(logits.shape[1]) if of is None else of
    if target is None:
        shares = np.zeros((n, k))
        np.add.at(shares.T, columns, np.exp(logits - logits.max(axis=1, keepdims=True)).T)
        wanted = shares.argmax(axis=1)
    else:
        wanted = np.broadcast_to(np.asarray(target), (n,)) if np.ndim(target) == 0 else np.asarray(target)
        if wanted.shape != (n,) or wanted.dtype.kind not in "iu" or not ((wanted >= 0) & (wanted < k)).all():
            raise InputError(f"expected one target, or one for each of {n} frames, from 0 to {k - 1}, found {target}.")
    rows = np.where(columns[np.newaxis] == wanted[:, np.newaxis], logits, -np.inf).argmax(axis=1)
    return rows, wanted.astype(np.int64)


def _shared(old: int, new: int) -> Float64:
    """Return ``(new, old)``: which share of each new cell lies in each old one."""
    low, high = np.arange(new)[:, None] * old, (np.arange(new) + 1)[:, None] * old
    begin, end = np.arange(old)[None] * new, (np.arange(old) + 1)[None] * new
    # In whole numbers, so that each row adds up to 1 but for one rounding.
    share: Float64 = np.maximum(np.minimum(high, end) - np.maximum(low, begin), 0) / old
    return share
