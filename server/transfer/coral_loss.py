"""The CORAL loss: how far apart the covariances of two batches are."""

from dataclasses import dataclass

from torch import Tensor

from .discrepancy import check_pair


@dataclass(frozen=True)
class Coral:
    """The discrepancy of deep CORAL; see `coral_loss`."""

    name: str = "coral"

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the discrepancy of ``(n, d)`` and ``(m, d)``, n and m at least 2."""
        return coral_loss(source, target)


def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """Return ``|C_s - C_t|_F² / (4 d²)``, a scalar; means are no part of it.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.

    Raises:
        InputError: If the samples do not fit each other, or are too few.

    References:
        Sun and Saenko 2016, "Deep CORAL: correlation alignment for deep domain adaptation", equation 1.
    """
    check_pair(source, target)
    difference = covariance(source) - covariance(target)
    return difference.square().sum() / (4 * source.shape[1] ** 2)


def covariance(rows: Tensor) -> Tensor:
    """Return the covariance ``(d, d)`` of rows ``(n, d)``, over n - 1."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)
