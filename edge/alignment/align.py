"""One alignment: from latents without labels to a candidate head, and what speaks for it."""

from dataclasses import replace

import numpy as np

from ...latent import Codes
from ...record import record
from ..adaptation.shipped import Shipped
from ..head import Ids, LinearHead
from ..statistics import Float64, SourceStatistics
from ..unknown.novelty import Novelty
from .evidence import Evidence, weigh
from .mixture import Mixture, place
from .report import Method
from .space import HeadSpace, head_space
from .ways import WAYS, fit_ways, together

# Whose explanation of the samples must be better than the source's.
_CHOSEN: dict[str, tuple[str, ...]] = {
    "auto": ("balanced shift", "prototypes"),
    "coral": ("coral",),
    "prototypes": ("prototypes",),
}
_LEAST_SPREAD, _MOST_SCALE, _DRAWN = 1.0, 4.0, 20


@record(eq=False)
class Alignment:
    """An aligned head that is not in use yet.

    Args:
        head: The head.
        evidence: What speaks for it and against it.
        prior: ``(k,)`` share of each class here.
        home: ``(k,)`` share of each in the source.
        classes: ``(k,)`` their ids.
    """

    head: LinearHead
    evidence: Evidence
    prior: Float64
    home: Float64
    classes: Ids


def align(shipped: Shipped, codes: Codes, groups: Ids, method: Method, novelty: Novelty | None = None) -> Alignment:
    """Align the shipped head with samples without labels.

    Args:
        shipped: What the bundle brings along, as it was shipped.
        codes: ``(n, d) uint8`` samples.
        groups: ``(n,)`` unit of evidence of each.
        method: ``"auto"`` takes the mean of all ways (`ways.together`), ``"coral"`` and ``"prototypes"`` take one.
        novelty: What tells unknown frames with the shipped head, or None.

    Returns:
        The aligned head. Equal arguments give an equal one.

    Raises:
        InputError: If the bundle does not say enough of its source.
    """
    space = head_space(shipped)
    u = space.of(codes)
    ways = fit_ways(space, u)
    weight, bias = together([ways[name] for name in (WAYS if method == "auto" else (method,))])
    candidate = replace(ways["shift"], weight=weight, bias=bias)
    here, _, _ = place(u, Mixture(space.mean, space.prior))
    moved = None
    if novelty is not None and len(novelty.mean) == len(space.rows):
        moved = move_novelty(novelty, shipped, codes, _mix(space, here.prior, shipped))
    head = LinearHead(space.fold(weight, bias, shipped.code), space.rows, novelty=moved)
    return Alignment(
        head,
        weigh(space, u, ways, _CHOSEN[method], candidate, groups),
        here.prior,
        space.prior,
        space.classes,
    )


def _mix(space: HeadSpace, prior: Float64, shipped: Shipped) -> Float64:
    mix = np.zeros(len(shipped.classes))
    mix[space.rows] = prior
    return mix


def move_novelty(novelty: Novelty, shipped: Shipped, codes: Codes, mix: Float64) -> Novelty:
    """Move what tells unknown frames to where the samples are: centre and scale of each dimension.

    Args:
        novelty: As it was shipped.
        shipped: With the source's statistics.
        codes: ``(n, d) uint8`` samples.
        mix: ``(r,)`` share of each shipped class here.

    Returns:
        The verdict for this place. Its threshold is the source's.
    """
    if shipped.source is None:
        raise AssertionError("the space of a head comes from source statistics")
    source, code = shipped.source, shipped.code
    mean, variance = _moments(source, mix)
    x = codes.astype(np.float64)
    there, here = np.maximum(np.sqrt(variance), _LEAST_SPREAD), np.maximum(x.std(axis=0), _LEAST_SPREAD)
    # Of few samples the spread is drawn to the source's.
    drawn = (len(codes) * here**2 + _DRAWN * there**2) / (len(codes) + _DRAWN)
    scale = np.clip(there / np.sqrt(drawn), 1 / _MOST_SCALE, _MOST_SCALE)
    # A code x here is the source's scale * (x - its mean) + the mean there.
    centre = x.mean(axis=0) + ((novelty.centre - code.offset) / code.scale - mean) / scale
    offset = code.offset + centre * code.scale
    return replace(novelty, centre=offset.astype(np.float32), scale=(novelty.scale * scale).astype(np.float32))


def _moments(source: SourceStatistics, mix: Float64) -> tuple[Float64, Float64]:
    """Return the ``(d,)`` mean and variance of the source's latents if its classes occurred in another mix."""
    means = source.mean()
    mean = mix @ means
    freedom = max(source.samples - np.count_nonzero(source.count), 1.0)
    return mean, source.within_diagonal() / freedom + mix @ (means - mean) ** 2
