"""Label shift: classes occur more or less often here than in the source, and look the same; only biases change.

By expectation and maximisation on posteriors (Saerens, Latinne and Decaestecker 2002, "Adjusting the Outputs of a
Classifier to New a Priori Probabilities"), and by the confusion of a classifier as a black box (Lipton, Wang and Smola
2018, "Detecting and Correcting for Label Shift with Black Box Predictors").
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record

Float64 = NDArray[np.float64]
# A confusion that is worse conditioned than this tells classes apart only by what is noise.
MOST_CONDITION = 1e6
_TINY = 1e-12
_NONE_SHARED = (
    "expected source and target to share classes, found samples of classes alone that the source lacks. Give both "
    "the same columns for the same classes."
)


@record(eq=False)
class LabelShift:
    """The mix of classes of a target without labels.

    Args:
        prior: ``(k,) float64`` share of each class here; adds up to 1.
        ratio: ``(k,)`` share here over share in the source: the weight of a source sample of the class; 1 for a class
            that neither has.
        steps: Steps that it took; 0 for a closed form.
    """

    prior: Float64
    ratio: Float64
    steps: int = 0

    def correct(self, bias: ArrayLike) -> Float64:
        """Return the ``(k,)`` biases of a head that knows the mix of classes here.

        Args:
            bias: ``(k,)`` biases of a head whose posteriors are right where classes occur as in the source.
        """
        found = np.asarray(bias, np.float64) + np.log(np.maximum(self.ratio, _TINY))
        return np.asarray(found, np.float64)


def estimate_prior(
    posteriors: ArrayLike, source: ArrayLike, *, drawn: float = 0.0, most: int = 1_000, tolerance: float = 1e-8
) -> LabelShift:
    """Estimate the mix of classes by expectation and maximisation: the maximum of the likelihood, which is concave.

    Args:
        posteriors: ``(n, k)`` probabilities that a classifier trained on the source gives target samples.
        source: ``(k,)`` share of each class in the source, or their counts.
        drawn: Samples at the source's mix that are added: few samples are drawn to it.
        most: Steps at most.
        tolerance: The mix is found where no share changes by more than this.

    Returns:
        The mix.

    Raises:
        InputError: If shapes differ, a number is negative or not finite, a row does not add up to 1, or no sample
            can be of a class that the source has.
    """
    given, home = _check(posteriors, source)
    if not given[:, home > 0].any():
        raise InputError(_NONE_SHARED)
    prior = home.copy()
    likely = given / np.maximum(home, _TINY)
    # What never occurred in the source has no likelihood to speak of.
    likely[:, home == 0] = 0
    steps = 0
    for steps in range(1, most + 1):  # noqa: B007  how many there were is told
        joint = likely * prior
        share = joint / np.maximum(joint.sum(axis=1, keepdims=True), _TINY)
        new = (share.sum(axis=0) + drawn * home) / (len(given) + drawn)
        new /= max(float(new.sum()), _TINY)
        moved, prior = float(np.abs(new - prior).max()), new
        if moved <= tolerance:
            break
    return LabelShift(prior, _ratio(prior, home), steps)


def estimate_prior_black_box(confusion: ArrayLike, predicted: ArrayLike) -> LabelShift:
    """Estimate the mix of classes by what a classifier predicts, of which only the confusion on the source is known.

    With ``C[i, j]`` the share of source samples that are predicted i and are j, and ``q`` the shares predicted here,
    ``C w = q`` holds for the ratios w whatever the classifier is. Ratios below 0 are set to 0.

    Args:
        confusion: ``(k, k)`` shares, or counts, of samples of the source by predicted (rows) and true class (columns).
        predicted: ``(n,)`` classes predicted here, 0 to k - 1.

    Returns:
        The mix.

    Raises:
        InputError: If shapes do not fit, a number is negative or not finite, a class is out of range, the confusion
            does not tell the classes apart, or no class is predicted that the source has.
    """
    table = np.asarray(confusion, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise InputError(f"expected a (k, k) confusion, found shape {table.shape}. Count predicted by true class.")
    if not np.isfinite(table).all() or (table < 0).any() or not table.sum() > 0:
        raise InputError("expected a confusion of counts or shares, found numbers below 0, none, or not finite.")
    labels = np.asarray(predicted)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise InputError(f"expected predicted classes (n,), found {labels.dtype} {labels.shape}. Predict some samples.")
    if labels.min() < 0 or labels.max() >= len(table):
        raise InputError(
            f"expected predicted classes from 0 to {len(table) - 1}, found {labels.min()}, {labels.max()}."
        )
    table = table / table.sum()
    home, seen = table.sum(axis=0), np.bincount(labels, minlength=len(table)) / len(labels)
    known = home > 0
    if not seen[known].any():
        raise InputError(_NONE_SHARED)
    within = table[np.ix_(known, known)]
    if np.linalg.cond(within / within.sum(axis=0)) > MOST_CONDITION:
        raise InputError(
            "expected a confusion that tells the classes apart, found a singular one: a class is never predicted, "
            "or two are predicted alike. Merge them, or use estimate_prior()."
        )
    ratio = np.zeros(len(table))
    ratio[known] = np.maximum(np.linalg.solve(within, seen[known]), 0)
    prior = ratio * home
    prior = prior / prior.sum() if prior.sum() > 0 else home
    return LabelShift(prior, _ratio(prior, home))


def _ratio(prior: Float64, home: Float64) -> Float64:
    return np.where(home > 0, prior / np.maximum(home, _TINY), 1.0)


def _check(posteriors: ArrayLike, source: ArrayLike) -> tuple[Float64, Float64]:
    given, home = np.array(posteriors, np.float64), np.array(source, np.float64)
    if given.ndim != 2 or not len(given) or home.shape != given.shape[1:] or not len(home):
        raise InputError(
            f"expected posteriors (n, k) and shares (k,), found {given.shape} and {home.shape}. Give one "
            f"column per class."
        )
    if not (np.isfinite(given).all() and np.isfinite(home).all()) or (given < 0).any() or (home < 0).any():
        raise InputError("expected probabilities and shares of at least 0, found some below, or not finite.")
    if not np.allclose(given.sum(axis=1), 1, atol=1e-3) or not home.sum() > 0:
        raise InputError("expected posteriors whose rows add up to 1 and a source with a class, found others.")
    return given / given.sum(axis=1, keepdims=True), home / home.sum()
