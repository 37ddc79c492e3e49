"""How far probabilities are from what happens."""

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError


def calibration_error(probabilities: NDArray[np.floating], y: NDArray[np.integer], bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class's probability.

    Samples are put into bins of equal width by their greatest probability; over the bins, the gap between its mean and
    the share of right predictions is averaged, weighted by the bins' samples. Guo et al. 2017, "On Calibration of
    Modern Neural Networks".

    Args:
        probabilities: ``(n, k)``, of samples that the head was not fitted on.
        y: ``(n,)`` their classes; -1 where it is none of the k, so that no prediction is right.
        bins: Number of bins over 0 to 1; a bin holds its upper edge.

    Returns:
        The error, 0 to 1; NaN for no sample.

    Raises:
        InputError: If shapes do not fit, or if there is no bin.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(y) or bins < 1:
        raise InputError(
            f"expected (n, k) probabilities, n classes and at least one bin, found {probabilities.shape}, "
            f"{len(y)} classes and {bins} bins."
        )
    n = len(y)
    if not n:
        return float("nan")
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == y
    place = np.clip(np.ceil(sure * bins) - 1, 0, bins - 1).astype(np.intp)
    # Within a bin the two means share their divisor, which cancels against its weight.
    gap = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gap).sum() / n)
