"""Weights from a classifier that tells the target's samples from the source's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from ..heads.conjugate import minimise
from ..heads.logistic import Objective
from .weighting import LEAST_SHARE, Domains, SampleWeights, bounded, check_settings

Float64 = NDArray[np.float64]
# In units of the mean squared norm of a standardised sample.
PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
_TOLERANCE = 1e-6
# Of a column's greatest value: columns that vary less are constant but for rounding.
_CONSTANT = 1e-12
# Log odds beyond which weights are 0 or cut anyway.
_FARTHEST = 700.0


@record()
class DomainClassifier:
    """The ratio ``p / (1 - p) * n / m`` with p the probability that a sample is the target's.

    Bickel, Brueckner and Scheffer 2009, "Discriminative learning under covariate shift". The classifier is logistic
    regression with a quadratic penalty on standardised features: it holds where the logarithm of the ratio is about
    linear in them. Each source sample is judged by a fit that did not see it, and the penalty has the least loss on
    such samples: with fewer samples than features, a fit tells apart all that it saw. Weights above ``sqrt(n)`` times
    the mean are cut to that (Ionides 2008, "Truncated importance sampling").

    Args:
        penalty: Strength, in units of the mean squared norm; chosen among `PENALTIES` if None.
        folds: How many parts the samples are cut into, at least 2; fewer where a side has fewer rows.
        least_share: See `bounded`.
        seed: Draws the folds.
    """

    penalty: float | None = None
    folds: int = 5
    least_share: float = LEAST_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self.least_share)
        if self.penalty is not None and not self.penalty > 0:
            raise InputError(f"expected a penalty above 0, found {self.penalty}. None chooses one.")
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}. 5 is usual.")

    @property
    def name(self) -> str:
        """Its name."""
        return "domain-classifier"

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """See `Weigher.weigh`."""
        domains = Domains.of(source, target)
        n, m = len(domains.source), len(domains.target)
        x = _standardised(np.vstack([domains.source, domains.target]))
        is_target = np.repeat(np.array([0, 1]), [n, m])
        penalties = np.array(PENALTIES if self.penalty is None else [self.penalty])
        odds, loss = self._held_out(x, is_target, penalties)
        chosen = int(loss.argmin())
        raw = ratio(odds[chosen, :n], n, m)
        limit = np.sqrt(n) * raw.mean()
        clipped = float(np.mean(raw > limit))
        notes = [f"penalty {penalties[chosen]:g}, held-out loss {loss[chosen]:.3f} nats"]
        weight = domains.given(np.minimum(raw, limit))
        return bounded(weight, least_share=self.least_share, clipped=clipped, notes=notes)

    def _held_out(self, x: Float64, is_target: NDArray[np.int64], penalties: Float64) -> tuple[Float64, Float64]:
        """Return ``(s, n + m)`` log odds of samples held out in turn for each penalty, and the ``(s,)`` losses."""
        rng = np.random.default_rng(self.seed)
        counts = np.bincount(is_target)
        folds = min(self.folds, *counts.tolist())
        fold = np.concatenate([rng.permutation(count) % folds for count in counts])
        odds = np.empty((len(penalties), len(x)))
        for one in range(folds):
            theta = fit(x[fold != one], is_target[fold != one], penalties)
            # A fold's own share of the target is not that of all.
            seen = np.bincount(is_target[fold != one])
            shares = np.log(counts[1] / counts[0]) - np.log(seen[1] / seen[0])
            odds[:, fold == one] = theta[:, :-1] @ x[fold == one].T + theta[:, -1:] + shares
        loss: Float64 = np.logaddexp(0, np.where(is_target == 1, -odds, odds)).mean(axis=1)
        return odds, loss


def ratio(log_odds: Float64, n: int, m: int) -> Float64:
    """Return the density ratio ``p / (1 - p) * n / m`` from ``log(p / (1 - p))``, p the probability of the target.

    Args:
        log_odds: ``(n,)``.
        n: Number of source samples.
        m: Number of target samples.
    """
    result: Float64 = np.exp(np.clip(log_odds, -_FARTHEST, _FARTHEST - np.log(n / m))) * (n / m)
    return result


def fit(x: Float64, is_target: NDArray[np.int64], penalties: Float64) -> Float64:
    """Fit logistic regressions ``log(p / (1 - p)) = x @ theta[:-1] + theta[-1]``, one per penalty.

    Each minimises the mean cross-entropy plus ``penalty q / 2 |theta[:-1]|^2``, with q the mean squared norm of a row.

    Args:
        x: ``(n, d)`` samples.
        is_target: ``(n,)`` 0 or 1.
        penalties: ``(s,)``.

    Returns:
        ``(s, d + 1)``.
    """
    n, d = x.shape
    square = float((x * x).sum()) / n or 1.0
    # Two classes with a penalty on each: their difference carries half of it.
    strength = np.zeros((1, len(penalties), d + 1))
    strength[..., :-1] = 2 * square * penalties[:, None]
    zeros = np.zeros((2, len(penalties), d + 1))
    theta = minimise(Objective(x, is_target, np.full(n, 1 / n), strength, zeros), zeros, _TOLERANCE)
    result: Float64 = (theta[1] - theta[0]).astype(np.float64)
    return result


def _standardised(x: Float64) -> Float64:
    """Return rows with mean 0 and variance 1 in every column, 0 in constant ones."""
    centred = x - x.mean(axis=0)
    scale = centred.std(axis=0)
    varies = scale > _CONSTANT * np.abs(x).max(axis=0)
    result: Float64 = np.where(varies, centred, 0.0) / np.where(varies, scale, 1.0)
    return result
