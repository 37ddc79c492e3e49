"""Fisher information of the shipped head on the source: how much the source says of each of its weights."""

from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...latent import Codes, LatentCode
from ...record import record
from ...tensors import Arrays
from ..distinct import distinct
from ..heads.problem import Float64, SourceTerm
from ..statistics import SourceStatistics
from .coordinates import Coordinates

Float32 = NDArray[np.float32]
_BLOCK = 1_024


@record(eq=False)
class Fisher:
    """The diagonal of the Fisher information of a softmax head on codes.

    ``diagonal[c, j] = mean_i E[(p_ic - y_ic)^2] (code_ij - centre_j)^2`` with the class ``y_i`` drawn from the head's
    own probabilities ``p_i``, so that ``E[(p - y)^2] = p (1 - p)``: a mean of squared gradients sample by sample, which
    no batch size enters, and, for a softmax head, the diagonal of the Hessian of the mean cross-entropy, whatever the
    labels. Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"; Martens 2020, "New
    insights and perspectives on the natural gradient method", for ``y`` from the head instead of the labels.

    Weights act on codes less the source's mean: so the bias has little to do with the weights, and a diagonal says
    nearly all there is to say of the two.

    Args:
        centre: ``(d,)`` mean of the source's codes.
        diagonal: ``(k, d + 1) float32``, the bias last; 0 for a class that the head does not have.
    """

    centre: Float64
    diagonal: Float32

    @classmethod
    def of(cls, codes: Codes, centre: Float64, head: LinearLayer, code: LatentCode) -> Self:
        """Compute it.

        Args:
            codes: ``(n, d) uint8`` codes of the source, at least one.
            centre: ``(d,)`` their mean.
            head: The shipped head, on latents.
            code: Quantization of the latents.

        Returns:
            The information.
        """
        k, d = head.weight.shape
        total = np.zeros((k, d + 1))
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK]
            logits = (code.decode(block) @ head.weight.T + head.bias).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            share = np.exp(logits)
            share /= share.sum(axis=1, keepdims=True)
            share *= 1 - share
            total[:, :d] += share.T @ (block - centre) ** 2
            total[:, d] += share.sum(axis=0)
        return cls(centre, (total / len(codes)).astype(np.float32))

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self | None:
        """Read it from the arrays of a bundle's `source.safetensors`; None where there is none."""
        if "fisher" not in arrays:
            return None
        total, count = cast(Float64, arrays["sum"]), cast(Float64, arrays["count"])
        return cls(total.sum(axis=0) / max(float(count.sum()), 1), cast(Float32, arrays["fisher"]))

    def merged(self, classes: NDArray[np.int64]) -> "Fisher":
        """Return what is left of it after classes were merged or removed.

        The information of a merged class is at most the sum of its parts', which stands for it.

        Args:
            classes: ``(k,)`` class of each row; -1 for one to remove.

        Returns:
            The information with one row per class, in ascending order.
        """
        kept = classes >= 0
        ids = distinct(classes[kept])
        result = np.zeros((len(ids), self.diagonal.shape[1]), np.float32)
        np.add.at(result, np.searchsorted(ids, classes[kept]), self.diagonal[kept])
        return Fisher(self.centre, result)

    def into(
        self, coordinates: Coordinates, source: SourceStatistics, term: SourceTerm, shipped: NDArray[np.int64], k: int
    ) -> Float64:
        """Express it in the coordinates of a problem.

        Centring and scaling are exact for a diagonal matrix. Turned to other axes it is no longer diagonal: what goes
        on is its diagonal there, with each axis scaled to what the source's second moment says of it. That is exact
        where a class's uncertainty has nothing to do with the latent (then the information is a Kronecker product;
        Martens and Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate curvature"), and where
        the coordinates are not turned. Without the scaling, turning would make all axes look alike.

        Args:
            coordinates: The coordinates.
            source: The source's statistics.
            term: The same, in these coordinates.
            shipped: Place of each row among the problem's k classes.
            k: Number of classes of the problem.

        Returns:
            ``(k, m + 1)`` for `Problem.fisher`; 0 for classes that the head does not have.
        """
        own, bias = self.diagonal[:, :-1].astype(np.float64), self.diagonal[:, -1:].astype(np.float64)
        weight = own / coordinates.spread**2
        if coordinates.basis is not None:
            squares = coordinates.basis.matrix**2
            weight = weight @ squares * _scaling(coordinates, source, term, squares)
        weight += bias * coordinates.of(self.centre[None]) ** 2
        result = np.zeros((k, coordinates.width + 1))
        result[shipped] = np.hstack([weight, bias])
        return result


def _scaling(coordinates: Coordinates, source: SourceStatistics, term: SourceTerm, squares: Float64) -> Float64:
    """Return ``(m,)`` the source's variance along each axis, over what the variances of the dimensions alone give."""
    samples = max(float(term.count.sum()), 1)
    away = term.mean - term.count @ term.mean / samples
    variance = (np.diagonal(term.scatter) + term.count @ away**2) / samples
    alone = (source.variance() / coordinates.spread**2) @ squares
    result: Float64 = np.maximum(variance, 0) / np.maximum(alone, 1e-12)
    return result
