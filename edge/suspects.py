"""Which labels are likely wrong: confident learning."""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..record import record

Float64 = NDArray[np.float64]


@record()
class Suspect:
    """A sample whose label is likely wrong.

    Args:
        index: Its row.
        given: The class it is labelled as.
        suggested: The class it likely is.
        confidence: Probability that it is not the given class, as far as the head knows: 1 less the probability of the
            given class.
    """

    index: int
    given: int
    suggested: int
    confidence: float


def suspects(probabilities: NDArray[np.floating], y: NDArray[np.integer]) -> tuple[Suspect, ...]:
    """Find samples whose label is likely wrong.

    Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels"): a class's threshold is the mean probability of it over the samples that are labelled so. A sample is
    confidently of the classes whose threshold its probability reaches, of the most probable one if of several; where
    that is another class than the given one, and more probable, the label is suspect.

    A class that is mislabelled throughout and always in the same way is learnt as it is labelled, and not found.

    Args:
        probabilities: ``(n, k)`` of samples as predicted without them (held out); rows that are not finite are left
            out.
        y: ``(n,)`` given classes, 0 to k - 1.

    Returns:
        The suspects, the least probable given class first; of equal ones the earlier row.

    Raises:
        InputError: If shapes or classes do not fit.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(y):
        raise InputError(f"expected (n, k) probabilities and n classes, found {probabilities.shape} and {len(y)}.")
    n, k = probabilities.shape
    if n and (int(y.min()) < 0 or int(y.max()) >= k):
        raise InputError(f"expected classes from 0 to {k - 1}, found {int(y.min())} to {int(y.max())}.")
    judged = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    chance, given = probabilities[judged], y[judged]
    own = chance[np.arange(len(judged)), given].astype(np.float64)
    count = np.bincount(given, minlength=k)
    # A class without samples has no threshold, and none is taken for it.
    threshold = np.where(count > 0, np.bincount(given, own, k) / np.maximum(count, 1), np.inf)
    # A mean of equal numbers may be above them by rounding.
    reached = np.where(chance >= threshold - 1e-6, chance, -1)
    likely = reached.argmax(axis=1)
    # Of a class that reaches its threshold and yet is less probable than the given one, nothing is claimed.
    found = np.flatnonzero(reached.max(axis=1, initial=-1) > own)
    order = found[np.argsort(own[found], kind="stable")]
    return tuple(Suspect(int(judged[i]), int(given[i]), int(likely[i]), float(1 - own[i])) for i in order)
