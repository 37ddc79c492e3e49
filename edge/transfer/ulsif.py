"""Unconstrained least-squares importance fitting: the density ratio as one linear solve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .kernels import gaussian, median_bandwidth
from .weighting import LEAST_SHARE, Domains, SampleWeights, bounded, check_settings

Float64 = NDArray[np.float64]
# What is tried: in median distances, and as penalties.
MULTIPLES = (0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Pairs of one source and one target row that are left out, at most.
MOST_PAIRS = 1_000


@record()
class ULSIF:
    """The ratio ``sum_l a_l k(x, c_l)`` with the least squared error, Gaussian kernels on rows of the target.

    Kanamori, Hido and Sugiyama 2009, "A least-squares approach to direct importance estimation": bandwidth and penalty
    have the least leave-one-out error, which is known in closed form. Memory is linear in the rows of both sides.

    Args:
        centres: Greatest number of kernels.
        bandwidth: Of the kernels; chosen among `MULTIPLES` of the median distance if None.
        penalty: On the squared coefficients; chosen among `PENALTIES` if None.
        least_share: See `bounded`.
        seed: Draws the centres, and which rows are left out where there are many.
    """

    centres: int = 100
    bandwidth: float | None = None
    penalty: float | None = None
    least_share: float = LEAST_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self.least_share, self.bandwidth)
        if self.centres < 1:
            raise InputError(f"expected at least 1 centre, found {self.centres}. 100 is usual.")
        if self.penalty is not None and not self.penalty > 0:
            raise InputError(f"expected a penalty above 0, found {self.penalty}. None chooses one.")

    @property
    def name(self) -> str:
        """Its name."""
        return "ulsif"

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """See `Weigher.weigh`."""
        domains = Domains.of(source, target)
        centres = domains.target[domains.centres(self.centres, self.seed)]
        bandwidth, penalty = self._choose(domains, centres)
        at_source = gaussian(domains.source, centres, bandwidth)
        coefficient = fit(at_source, gaussian(domains.target, centres, bandwidth), penalty)
        notes = [f"{len(centres)} kernels, bandwidth {bandwidth:.3g}, penalty {penalty:.3g}"]
        return bounded(domains.given(at_source @ coefficient), least_share=self.least_share, notes=notes)

    def _choose(self, domains: Domains, centres: Float64) -> tuple[float, float]:
        """Return the bandwidth and the penalty with the least leave-one-out error; of equals, the first."""
        penalties = PENALTIES if self.penalty is None else (self.penalty,)
        if self.bandwidth is None:
            median = median_bandwidth(domains.source, domains.target)
            bandwidths: tuple[float, ...] = tuple(multiple * median for multiple in MULTIPLES)
        elif len(penalties) == 1:
            return self.bandwidth, penalties[0]
        else:
            bandwidths = (self.bandwidth,)
        rng = np.random.default_rng(self.seed)
        pairs = min(len(domains.source), len(domains.target), MOST_PAIRS)
        rows, others = (rng.permutation(len(side))[:pairs] for side in (domains.source, domains.target))
        errors = {}
        for bandwidth in bandwidths:
            at_source = gaussian(domains.source, centres, bandwidth)
            at_target = gaussian(domains.target, centres, bandwidth)
            for penalty in penalties:
                errors[bandwidth, penalty] = left_out_error(at_source, at_target, rows, others, penalty)
        return min(errors, key=lambda one: errors[one])


def fit(at_source: Float64, at_target: Float64, penalty: float) -> Float64:
    """Return the ``(b,)`` coefficients: the solution of the linear equations, those below 0 set to 0.

    Args:
        at_source: ``(n, b)`` kernel values of the source's rows.
        at_target: ``(m, b)`` of the target's.
        penalty: Above 0.
    """
    moment = at_source.T @ at_source / len(at_source)
    moment[np.diag_indices_from(moment)] += penalty
    return np.maximum(np.linalg.solve(moment, at_target.mean(axis=0)), 0.0)


def left_out_error(
    at_source: Float64, at_target: Float64, rows: NDArray[np.intp], others: NDArray[np.intp], penalty: float
) -> float:
    """Return the mean of ``w(x)^2 / 2 - w(t)`` over pairs that are left out of the fit in turn.

    No fit is made anew: taking one row out changes the moment by a matrix of rank one (Sherman and Morrison).

    Args:
        at_source: ``(n, b)`` kernel values of the source's rows, n at least 2.
        at_target: ``(m, b)`` of the target's, m at least 2.
        rows: ``(p,)`` source rows that are left out, each with its target row.
        others: ``(p,)`` target rows.
        penalty: Above 0.
    """
    n, m = len(at_source), len(at_target)
    own, theirs = at_source[rows].T, at_target[others].T
    moment = at_source.T @ at_source / n
    moment[np.diag_indices_from(moment)] += penalty * (n - 1) / n
    mean = (at_target.sum(axis=0)[:, None] - theirs) / (m - 1)
    solved_own, solved_mean = np.split(np.linalg.solve(moment, np.hstack([own, mean])), [own.shape[1]], axis=1)
    change = (own * solved_mean).sum(axis=0) / (n - (own * solved_own).sum(axis=0))
    coefficient = np.maximum((solved_mean + solved_own * change) * ((n - 1) / n), 0.0)
    at_row, at_other = (own * coefficient).sum(axis=0), (theirs * coefficient).sum(axis=0)
    return float(at_row @ at_row / 2 - at_other.sum()) / len(rows)
