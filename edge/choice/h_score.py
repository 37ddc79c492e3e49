"""H-score: how much of the latents' variance lies between the classes, direction by direction.

Bao, Li, Huang, Zhang, Zheng, Zamir and Guibas 2019, "An Information-Theoretic Approach to Transferability in Task
Transfer Learning"; the shrunk form: Ibrahim, Ponomareva and Mazumder 2021, "Newer is not always better: Rethinking
transferability metrics, their peculiarities, stability and performance"; how much is shrunk: Ledoit and Wolf 2004, "A
well-conditioned estimator for large-dimensional covariance matrices".
"""

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError, NotEnoughSamplesError
from .checks import Float64, check_classes, check_latents

# Directions with less than this share of the greatest singular value are rounding.
_ROUNDING = 1e-10


def h_score(latents: ArrayLike, labels: ArrayLike, *, shrinkage: float | None = None) -> float:
    """Return ``tr((1 - a) cov(E[f|y]) ((1 - a) cov(f) + a v I)^-1)`` with v the mean variance of a dimension.

    Without shrinkage (a = 0) it is the sum of the squared canonical correlations between latents and classes, from 0 to
    k - 1, which any latents reach once there are fewer samples than dimensions: then only the shrunk form says
    anything. Higher is better. Constant dimensions and equal rows are allowed; of latents that are all alike it is 0.

    Args:
        latents: ``(n, d)``.
        labels: ``n`` whole numbers or texts, at least two classes.
        shrinkage: a, 0 to 1; None for the one that Ledoit and Wolf's estimate asks for.

    Raises:
        InputError: If latents are not finite numbers ``(n, d)``, or the shrinkage is out of range.
        LabelError: If labels do not fit, or are all of one class.
        NotEnoughSamplesError: If nothing is to be shrunk and the samples do not exceed the dimensions that they span.
    """
    x = check_latents(latents)
    y, k = check_classes(labels, len(x))
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InputError(f"expected a shrinkage from 0 to 1, found {shrinkage}. Leave it out to have it estimated.")
    centred = x - x.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = singular > _ROUNDING * max(float(singular[0]), np.finfo(np.float64).tiny)
    left, variance = left[:, kept], singular[kept] ** 2 / len(x)
    if not len(variance):
        return 0.0
    if shrinkage == 0 and len(variance) >= len(x) - 1:
        raise NotEnoughSamplesError(
            f"expected more samples than dimensions that they span, found {len(x)} samples that span {len(variance)}: "
            f"any classes would get {k - 1}. Leave the shrinkage out, or collect more samples."
        )
    a = ledoit_wolf(centred) if shrinkage is None else float(shrinkage)
    level = float(variance.sum()) / x.shape[1]
    totals = np.stack([left[y == label].sum(axis=0) for label in range(k)])
    between = (totals**2 / np.bincount(y)[:, None]).sum(axis=0) * variance
    return float(((1 - a) * between / ((1 - a) * variance + a * level)).sum())


def ledoit_wolf(centred: Float64) -> float:
    """Return how much a covariance is best shrunk towards the identity, 0 to 1.

    Args:
        centred: ``(n, d)`` samples, less their mean.
    """
    n, d = centred.shape
    # The smaller of the two products has the same squares in it.
    gram = centred @ centred.T if n <= d else centred.T @ centred
    squares = float((gram**2).sum()) / n**2
    level = float(np.trace(gram)) / (n * d)
    spread = squares - d * level**2
    noise = (float(((centred**2).sum(axis=1) ** 2).sum()) / n - squares) / n
    return 1.0 if spread <= 0 else min(max(noise, 0.0) / spread, 1.0)
