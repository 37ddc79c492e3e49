"""What of a head goes into an exported model: the rows that can be predicted, in the order of their classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...errors import InputError
from ...record import record
from ..head import ABSENT

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@record(eq=False)
class ExportedHead:
    """The rows of a head that can be predicted.

    Args:
        weight: ``(r, d) float32``.
        bias: ``(r,) float32``.
        columns: ``(r,) int64`` column of the probabilities that each row belongs to, ascending.
        classes: ``k`` names of the columns, each with a row.
    """

    weight: Float32
    bias: Float32
    columns: Int64
    classes: tuple[str, ...]

    @property
    def sums(self) -> Float32 | None:
        """``(r, k) float32``, 1 where a row belongs to a column; None if each column is a row."""
        if len(self.classes) == len(self.columns):
            return None
        sums: Float32 = (self.columns[:, None] == np.arange(len(self.classes))).astype(np.float32)
        return sums


def exported_head(layer: LinearLayer, width: int, classes: Sequence[str], groups: Int64 | None = None) -> ExportedHead:
    """Leave out what a head never predicts.

    Args:
        layer: The head; rows with bias `ABSENT` are left out.
        width: Number of dimensions of the latent.
        classes: Names of the classes, one per row, or per number in `groups`. A class without a row is left out.
        groups: ``(r,) int64`` place of each row's class in `classes`, None where rows and classes are the same.

    Returns:
        The rest.

    Raises:
        InputError: If head, classes and groups do not fit together, or no row is left.
    """
    rows = np.arange(len(layer.bias)) if groups is None else np.asarray(groups)
    fits = layer.weight.shape == (len(layer.bias), width) and rows.shape == layer.bias.shape
    if not fits or (groups is None and len(classes) != len(rows)) or not ((rows >= 0) & (rows < len(classes))).all():
        raise InputError(
            f"expected a head of width {width} with a row for each class, found weights {layer.weight.shape}, "
            f"{len(layer.bias)} biases and {len(classes)} classes. Pass `groups` where rows and classes differ."
        )
    kept = np.flatnonzero(layer.bias > ABSENT)
    if not len(kept):
        raise InputError("expected a head that can predict a class, found none: adapt() first.")
    kept = kept[np.argsort(rows[kept], kind="stable")]
    present, columns = np.unique(rows[kept], return_inverse=True)
    names = tuple(classes[int(i)] for i in present)
    return ExportedHead(layer.weight[kept], layer.bias[kept], columns.astype(np.int64), names)
