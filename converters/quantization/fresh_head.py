"""What quantized latents cost a head that is fitted on them: accuracy, cross-validated, against float latents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...edge.adaptation.selection import cross_validate
from ...edge.heads import AUTO, Problem

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
_JUDGED_ON = 400
# Of the mean spread: what moves less is noise.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class HeadAccuracy:
    """Accuracy of a fresh head on the latents of a converted model, and on those of the original.

    Args:
        float_accuracy: Share of held-out samples that a head on float latents classifies right.
        accuracy: Likewise on the converted model's.
        lost: What is lost, in percentage points.
        error: Standard error of `lost`, from the paired differences.
        samples: How many samples it was judged on.
    """

    float_accuracy: float
    accuracy: float
    lost: float
    error: float
    samples: int

    def within(self, points: float) -> bool:
        """Whether nothing shows that more than so many points are lost: chance alone moves by the standard error."""
        return self.lost - self.error <= points


def judged_rows(y: Int64, most: int = _JUDGED_ON, seed: int = 0) -> Int64:
    """Draw the samples to judge on: as many of each class where there are enough, in the order given."""
    order = np.random.default_rng(seed).permutation(len(y))
    place = np.empty(len(y), np.int64)
    for label in np.unique(y):
        own = order[y[order] == label]
        place[own] = np.arange(len(own))
    return np.sort(order[np.argsort(place[order], kind="stable")][:most])


def held_out_hits(latents: Float32, y: Int64) -> NDArray[np.bool_] | None:
    """Fit heads as a device does, and say which samples they classify right without having seen them.

    Args:
        latents: ``(n, d) float32``.
        y: ``(n,)`` classes, 0 to k - 1.

    Returns:
        ``(n,)``, or None where there are not two classes of two samples each, and nothing can be held out.
    """
    counts = np.bincount(y)
    if (counts >= 2).sum() < 2:
        return None
    rows = latents.astype(np.float64)
    spread = rows.std(axis=0)
    x = (rows - rows.mean(axis=0)) / np.maximum(spread, _LEAST_SPREAD * spread.mean() + 1e-30)
    _, sizes, axes = np.linalg.svd(x, full_matrices=False)
    x = x @ axes[sizes > 1e-7 * sizes[0]].T
    judged: NDArray[np.bool_] = cross_validate(Problem(x, y, len(counts)), AUTO).predicted == y
    return judged


def compare_heads(hits: NDArray[np.bool_], float_hits: NDArray[np.bool_]) -> HeadAccuracy:
    """Compare which samples were classified right on the latents of a converted model and of the original."""
    difference = 100 * (float_hits.astype(np.float64) - hits)
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return HeadAccuracy(float(float_hits.mean()), float(hits.mean()), float(difference.mean()), error, len(hits))
