"""The Kullback-Leibler importance estimation procedure: the density ratio with the greatest likelihood."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .kernels import gaussian, median_bandwidth
from .weighting import LEAST_SHARE, Domains, SampleWeights, bounded, check_settings

Float64 = NDArray[np.float64]
# What is tried, in median distances; of the target's rows, so many judge.
MULTIPLES = (0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0)
MOST_JUDGES = 2_000
# In nats per target sample: how close to the greatest likelihood a fit ends, and one that is only compared.
TOLERANCE, DRAFT = 1e-6, 1e-3
# Updates before Newton's steps, and how many of these; they begin so far inside, aim at a tenth of the complementarity,
# and go so much of the way to the border.
_UPDATES, _STEPS = 30, 100
_INSIDE, _AIM, _SHY = 1e-3, 0.1, 0.99
# The logarithm needs a number; a centre that the source hardly reaches, beside the best, is left out.
_TINY, _UNREACHED = 1e-300, 1e-12


@record()
class KLIEP:
    """The ratio ``sum_l a_l k(x, c_l)``, with a at least 0 and mean 1 over the source, that the target makes likeliest.

    Sugiyama et al. 2008, "Direct importance estimation for covariate shift adaptation". The bandwidth has the greatest
    likelihood on folds of the target that were held out. Memory is linear in the rows of both sides.

    Args:
        centres: Greatest number of kernels, drawn among the target's rows.
        bandwidth: Of the kernels; chosen among `MULTIPLES` of the median distance if None.
        folds: How many parts the target is cut into, at least 2.
        least_share: See `bounded`.
        seed: Draws the centres and the folds.
    """

    centres: int = 100
    bandwidth: float | None = None
    folds: int = 5
    least_share: float = LEAST_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self.least_share, self.bandwidth)
        if self.centres < 2:
            raise InputError(f"expected at least 2 centres, found {self.centres}. 100 is usual.")
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}. 5 is usual.")

    @property
    def name(self) -> str:
        """Its name."""
        return "kliep"

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """See `Weigher.weigh`."""
        domains = Domains.of(source, target)
        centres = domains.centres(self.centres, self.seed)
        bandwidth = self.bandwidth or self._choose(domains, centres)
        at_source = gaussian(domains.source, domains.target[centres], bandwidth)
        coefficient = fit(gaussian(domains.target, domains.target[centres], bandwidth), at_source.mean(axis=0))
        notes = [f"{len(centres)} kernels, bandwidth {bandwidth:.3g}"]
        return bounded(domains.given(at_source @ coefficient), least_share=self.least_share, notes=notes)

    def _choose(self, domains: Domains, centres: NDArray[np.intp]) -> float:
        """Return the bandwidth under which held-out target rows are likeliest; of equals, the greatest.

        A row that is held out is no centre meanwhile: a narrow kernel on it would make it likely by itself.
        """
        rng = np.random.default_rng(self.seed)
        m, folds = len(domains.target), min(self.folds, len(centres))
        fold = np.empty(m, np.intp)
        fold[centres] = rng.permutation(len(centres)) % folds
        others = np.setdiff1d(np.arange(m), centres)
        fold[others] = rng.permutation(len(others)) % folds
        judges = np.concatenate([centres, rng.permutation(others)[:MOST_JUDGES]])
        fold = fold[judges]
        median = median_bandwidth(domains.source, domains.target)
        likelihoods = {}
        for bandwidth in (multiple * median for multiple in reversed(MULTIPLES)):
            mean = gaussian(domains.source, domains.target[centres], bandwidth).mean(axis=0)
            at_judges = gaussian(domains.target[judges], domains.target[centres], bandwidth)
            likelihoods[bandwidth] = _held_out(at_judges, mean, fold)
        return max(likelihoods, key=lambda one: likelihoods[one])


def _held_out(at_judges: Float64, mean: Float64, fold: NDArray[np.intp]) -> float:
    """Return the mean log ratio of target rows that are held out in turn.

    Args:
        at_judges: ``(j, b)`` kernel values of the rows; the first b rows are the centres.
        mean: ``(b,)`` mean kernel values of the source's rows.
        fold: ``(j,)`` when each row is held out.
    """
    found = []
    for one in range(int(fold.max()) + 1):
        held, kept = fold == one, fold[: len(mean)] != one
        coefficient = fit(at_judges[np.ix_(~held, kept)], mean[kept], DRAFT)
        found.append(np.log(np.maximum(at_judges[np.ix_(held, kept)] @ coefficient, _TINY)))
    return float(np.concatenate(found).mean())


def fit(at_target: Float64, mean: Float64, tolerance: float = TOLERANCE) -> Float64:
    """Maximise ``mean log(A a)`` over ``a >= 0`` with ``mean' a = 1``.

    The multiplicative update ``a <- a * A'(1 / (A a)) / (m mean)`` of expectation and maximisation never falls and
    keeps the constraint. The logarithm of its greatest factor bounds what is missing to the maximum (Cover 1984, "An
    algorithm for maximizing expected log investment return"): the search ends by it. Near the maximum the update is
    slow; Newton's method with a barrier goes on from there, and what it finds counts only if it is likelier.

    Args:
        at_target: ``(m, b)`` kernel values A of the target's rows, at least 0.
        mean: ``(b,)`` mean kernel values of the source's rows.
        tolerance: Distance to the maximum to end at, in nats per sample.

    Returns:
        ``(b,)`` coefficients, 0 for centres that no source row reaches; all 0 where there are only such.
    """
    coefficient = np.zeros(len(mean))
    reached = mean > _UNREACHED * mean.max()
    if not reached.any():
        return coefficient
    # In shares of the constraint: a distribution over the centres.
    scaled = at_target[:, reached] / mean[reached]
    share = np.full(scaled.shape[1], 1 / scaled.shape[1])
    density = np.maximum(scaled @ share, _TINY)
    for _ in range(_UPDATES):
        factor = (1 / density) @ scaled / len(density)
        if np.log(factor.max()) <= tolerance:
            break
        share = share * factor
        density = np.maximum(scaled @ share, _TINY)
    else:
        other = _polished(scaled, share, tolerance)
        if np.log(np.maximum(scaled @ other, _TINY)).sum() > np.log(density).sum():
            share = other
    coefficient[reached] = share / mean[reached]
    return coefficient


def _polished(scaled: Float64, share: Float64, tolerance: float) -> Float64:
    """Go on to the maximum by a primal-dual interior point method.

    ``mean log(scaled @ share) - sum share`` has its maximum where the shares add up to 1, so no constraint is needed.

    Args:
        scaled: ``(m, b)`` at least 0.
        share: ``(b,)`` at least 0, sum 1: where to begin.
        tolerance: See `fit`.

    Returns:
        ``(b,)`` shares, the closest to the maximum that were met.
    """
    m, b = scaled.shape
    share = np.maximum(share, _INSIDE / b)
    price, best, least = np.full(b, _INSIDE), share, np.inf
    for _ in range(_STEPS):
        sound = share / share.sum()
        factor = (1 / np.maximum(scaled @ sound, _TINY)) @ scaled / m
        missing = float(np.log(factor.max()))
        if missing < least:
            best, least = sound, missing
        if missing <= tolerance:
            break
        density = np.maximum(scaled @ share, _TINY)
        rows = scaled / density[:, None]
        bend = rows.T @ rows / m
        bend[np.diag_indices_from(bend)] += price / share
        aim = _AIM * float(share @ price) / b
        try:
            step = np.linalg.solve(bend, rows.mean(axis=0) - 1 + aim / share)
        except np.linalg.LinAlgError:
            break
        rise = aim / share - price - price / share * step
        length = min(1.0, _SHY * min(_reach(share, step), _reach(price, rise)))
        share, price = share + length * step, price + length * rise
    return best


def _reach(array: Float64, step: Float64) -> float:
    """Return the share of a step that leaves a ``(b,)`` array at least 0."""
    falls = step < 0
    return float((array[falls] / -step[falls]).min()) if falls.any() else np.inf
