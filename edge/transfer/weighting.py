"""Importance weights of source samples: what every weigher returns, and the bound that keeps them from collapsing."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains

Float64 = NDArray[np.float64]
# Of the source's samples, so many count at least.
LEAST_SHARE = 0.05
# Bisections of the power that flattens weights, and what a weight of 0 becomes, of the greatest, so that it has one.
_HALVINGS, _FLOOR = 60, 1e-9


@record(eq=False)
class SampleWeights:
    """How much each source sample counts when a model for the target is fitted.

    Args:
        weight: ``(n,) float64``, at least 0, mean 1.
        effective_size: Kish's effective sample size ``(sum w)^2 / sum w^2``: so many equally weighted samples average
            out as much noise. From 1 to n.
        clipped: Share of the samples whose weight a limit cut, 0 to 1.
        power: What the weights were raised to so that `effective_size` keeps its bound: 1 where they were left as
            found, 0 where all became equal.
        note: What a reader should know: approximations, chosen parameters, flattening. Empty if nothing.
    """

    weight: Float64
    effective_size: float
    clipped: float
    power: float
    note: str


class Weigher(Protocol):
    """A way to weigh source samples so that they stand for the target. Deterministic."""

    @property
    def name(self) -> str:
        """Its name."""

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """Weigh the source's samples.

        Args:
            source: ``(n, d)`` samples.
            target: ``(m, d)`` samples; n and m may differ.

        Returns:
            Weights in the order of the source's rows. The same rows in another order have the same weights.

        Raises:
            InputError: If widths differ, a value is not finite, or a side has fewer than two rows.
        """


def effective_size(weight: Float64) -> float:
    """Return Kish's effective sample size of ``(n,)`` weights, at least 0 and not all 0."""
    scaled = weight / weight.max()
    return float(scaled.sum() ** 2 / (scaled @ scaled))


def least_size(n: int, least_share: float = LEAST_SHARE) -> float:
    """Return the effective size below which weights of `n` samples are flattened: a share of n, or its root if more."""
    return max(least_share * n, float(np.sqrt(n)))


def check_settings(least_share: float, bandwidth: float | None = None) -> None:
    """Check what weighers have in common: a share from 0 to 1, and a bandwidth above 0 or None."""
    if not 0 <= least_share <= 1:
        raise InputError(f"expected a least share from 0 to 1, found {least_share}. 0.05 keeps 5 % of the samples.")
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise InputError(f"expected a bandwidth above 0, found {bandwidth}. None chooses one.")


def bounded(
    raw: Float64, *, least_share: float = LEAST_SHARE, clipped: float = 0.0, notes: Sequence[str] = ()
) -> SampleWeights:
    """Normalise weights to mean 1, and flatten them where they collapse on a few samples.

    Flattened weights are ``w^p`` with the greatest ``p`` in [0, 1] that reaches `least_size`; the effective size falls
    as p rises. This trades the variance of few samples for bias towards the source: Shimodaira 2000, "Improving
    predictive inference under covariate shift by weighting the log-likelihood function". A weight of 0 counts as 1e-9
    of the greatest then, because no power lifts 0. Where all weights are 0, all become 1.

    Args:
        raw: ``(n,)`` weights on any scale, finite and at least 0.
        least_share: Share of the n samples that the effective size keeps at least, 0 to 1.
        clipped: Share of the weights that a limit cut before.
        notes: What to say beside the flattening.

    """
    greatest = float(raw.max())
    if not np.isfinite(raw).all() or raw.min() < 0:
        raise AssertionError("weights are finite and at least 0")
    if greatest == 0:
        flat = np.ones(len(raw))
        notes = [*notes, "no source sample resembles the target: all weights are 1"]
        return SampleWeights(flat, float(len(raw)), clipped, 0.0, "; ".join(notes))
    weight, power = raw / greatest, 1.0
    least = least_size(len(raw), least_share)
    if (found := effective_size(weight)) < least:
        weight, power = _flattened(weight, least)
        notes = [*notes, f"weights collapsed on {found:.1f} effective samples: raised to the power {power:.2g}"]
    weight = weight / weight.mean()
    return SampleWeights(weight, effective_size(weight), clipped, power, "; ".join(notes))


def weigh_sources(
    weigher: Weigher, sources: Sequence[ArrayLike], target: ArrayLike
) -> tuple[SampleWeights, tuple[Float64, ...]]:
    """Weigh several sources against one target.

    The sources are stacked and weighed as one sample of their mixture, so that a sample's weight is the target's
    density over the mixture's: the balance heuristic of Veach and Guibas 1995, "Optimally combining sampling techniques
    for Monte Carlo rendering". A source that resembles the target gets more of the weight, and one that does not gets
    next to none; each source's share is the sum of its part over n.

    Args:
        weigher: How to weigh.
        sources: ``(n_i, d)`` samples of each source.
        target: ``(m, d)`` samples.

    Returns:
        The weights of all n samples together, in the order of the sources, mean 1; and the same weights cut into the
        ``(n_i,)`` parts of each source.

    Raises:
        InputError: If there is no source, or what `Weigher.weigh` raises, for any source.
    """
    if not len(sources):
        raise InputError("expected at least one source, found none. Pass a list of arrays of samples.")
    checked = [check_domains(one, target) for one in sources]
    found = weigher.weigh(np.vstack([one for one, _ in checked]), checked[0][1])
    ends = np.cumsum([len(one) for one, _ in checked])[:-1]
    return found, tuple(np.split(found.weight, ends))


@record(eq=False)
class Domains:
    """Checked samples of both sides in an order that their values decide, not the order in which they came.

    Draws of centres, folds and subsamples are made in this order, so that the weights of shuffled samples are the
    shuffled weights. Rows are sorted along one fixed random direction, in an order that shifting and scaling all of
    them keep.

    Args:
        source: ``(n, d)`` samples.
        target: ``(m, d)`` samples.
        order: ``(n,)`` places of the sorted source rows in what was given.
    """

    source: Float64
    target: Float64
    order: NDArray[np.intp]

    @classmethod
    def of(cls, source: ArrayLike, target: ArrayLike) -> "Domains":
        """Check and sort ``(n, d)`` and ``(m, d)`` samples."""
        rows, others = check_domains(source, target)
        direction = np.random.default_rng(0).normal(size=rows.shape[1])
        order = np.argsort(rows @ direction, kind="stable")
        return cls(rows[order], others[np.argsort(others @ direction, kind="stable")], order)

    def given(self, sorted_rows: Float64) -> Float64:
        """Return ``(n,)`` values of the sorted source rows in the order in which the rows were given."""
        result = np.empty_like(sorted_rows)
        result[self.order] = sorted_rows
        return result

    def centres(self, count: int, seed: int) -> NDArray[np.intp]:
        """Return places in the sorted target of at most so many rows, drawn without replacement; all if fewer."""
        if len(self.target) <= count:
            return np.arange(len(self.target))
        return np.sort(np.random.default_rng(seed).choice(len(self.target), count, replace=False))


def _flattened(weight: Float64, least: float) -> tuple[Float64, float]:
    """Return ``(n,)`` weights, the greatest 1, to the greatest power at which their effective size is enough."""
    logarithm = np.log(np.maximum(weight, _FLOOR))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if effective_size(np.exp(middle * logarithm)) >= least else (low, middle)
    result: Float64 = np.exp(low * logarithm)
    return result, low
