"""The space that a shipped head sees: where its source's classes lie in it, and how a change there becomes a head."""

import numpy as np

from ...bundle import LinearLayer
from ...errors import InputError
from ...latent import Codes, LatentCode
from ...record import record
from ..adaptation.shipped import Shipped
from ..head import ABSENT, Ids
from ..statistics import Float64, SourceStatistics

# Directions whose spread within the classes is less than this share of the widest are rounding.
_LEAST_SPREAD = 1e-8
_ROWS = 1_024


@record(eq=False)
class HeadSpace:
    """What a linear head sees of a latent, in units of the source's spread within its classes.

    Two latents that differ by what is not in here get the same answer, so that whatever is learnt of a place without
    labels needs as many dimensions as there are classes less one, however wide the latent is.

    Args:
        rows: ``(k,) int64`` place of each class among the shipped ones; removed ones are missing.
        classes: ``(k,) int64`` what each of them stands for now; alike where they were merged.
        projection: ``(m, d)`` from codes to coordinates ``u``; the source's covariance within the classes is the
            identity there.
        mean: ``(k, m)`` class means of the source.
        prior: ``(k,)`` share of each class in the source.
        weight: ``(k, m)`` the head in these coordinates: its logits are ``weight @ u + bias``, but for a term that all
            classes share.
        bias: ``(k,)``.
        layer: The shipped head's rows of these classes, on latents.
    """

    rows: Ids
    classes: Ids
    projection: Float64
    mean: Float64
    prior: Float64
    weight: Float64
    bias: Float64
    layer: LinearLayer

    def of(self, codes: Codes) -> Float64:
        """Return the ``(n, m)`` coordinates of ``(n, d) uint8`` codes."""
        found = np.empty((len(codes), len(self.projection)))
        for start in range(0, len(codes), _ROWS):
            found[start : start + _ROWS] = codes[start : start + _ROWS].astype(np.float64) @ self.projection.T
        return found

    def fold(self, weight: Float64, bias: Float64, code: LatentCode) -> LinearLayer:
        """Write a head in these coordinates as one on latents: exact, and where nothing changes to the bit.

        Args:
            weight: ``(k, m)``.
            bias: ``(k,)``.
            code: Quantization of the latents.

        Returns:
            The layer; it predicts at the same cost as the shipped one.
        """
        change = (weight - self.weight) @ self.projection / code.scale
        moved = (bias - self.bias) - change @ code.offset
        return LinearLayer(
            (self.layer.weight + change).astype(np.float32), (self.layer.bias + moved).astype(np.float32)
        )


def head_space(shipped: Shipped) -> HeadSpace:
    """Find the space that a shipped head sees.

    Args:
        shipped: What the bundle brings along, as it was shipped, and what has become of its classes.

    Returns:
        The space of the classes that are left.

    Raises:
        InputError: If the bundle lacks a head or source statistics, if fewer than two classes are left, if the
            statistics say nothing of a class, or if they have no spread that the head sees.
    """
    if shipped.head is None or shipped.source is None or not shipped.source.count.any():
        lacking = "a head" if shipped.head is None else "source statistics"
        raise InputError(
            f"expected a bundle with a head and source statistics to align with, found one without {lacking}. Label "
            f"samples and adapt(), or convert the model with samples of its source."
        )
    source, code = shipped.source, shipped.code
    known = shipped.head.bias > ABSENT
    rows = np.flatnonzero((shipped.classes >= 0) & known).astype(np.int64)
    silent = rows[source.count[rows] == 0]
    if len(silent):
        raise InputError(
            f"expected source statistics of every class to align with, found none of {len(silent)} of {len(rows)}. "
            f"Label samples and adapt(), or remove the classes."
        )
    if len(np.unique(shipped.classes[rows])) < 2:
        raise InputError(
            f"expected at least two shipped classes to align, found {len(np.unique(shipped.classes[rows]))}. Label "
            f"samples and adapt()."
        )
    layer = LinearLayer(shipped.head.weight[rows], shipped.head.bias[rows])
    whole = layer.weight.astype(np.float64) * code.scale
    apart = whole - whole.mean(axis=0)
    values, axes = np.linalg.eigh(_scatter(apart, source))
    kept = values > max(_LEAST_SPREAD * values[-1], 1e-18)
    if not kept.any():
        raise InputError(
            "expected source statistics with some spread within the classes, found none that the head sees. Convert "
            "the model with more samples of its source."
        )
    roots, axes = np.sqrt(values[kept]), axes[:, kept]
    projection = (axes / roots).T @ apart
    return HeadSpace(
        rows,
        shipped.classes[rows],
        projection,
        source.mean()[rows] @ projection.T,
        source.count[rows] / source.count[rows].sum(),
        axes * roots,
        layer.bias.astype(np.float64) + layer.weight.astype(np.float64) @ code.offset,
        layer,
    )


def _scatter(weight: Float64, source: SourceStatistics) -> Float64:
    """Return the ``(k, k)`` covariance within the source's classes of ``(k, d)`` linear functions of codes."""
    freedom = max(source.samples - np.count_nonzero(source.count), 1.0)
    if source.moment is not None:
        along = weight @ source.mean().T
        found: Float64 = weight @ source.moment @ weight.T - along @ (source.sum @ weight.T)
    else:
        if source.factor is None or source.diagonal is None:
            raise AssertionError("source statistics hold a moment or a factor with its diagonal")
        part = weight @ source.factor.T.astype(np.float64)
        found = part @ part.T + (weight * source.diagonal) @ weight.T
    return (found + found.T) / (2 * freedom)
