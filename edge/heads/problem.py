"""What every head solves: labelled latents, what is known of the source, and a prior, in one set of coordinates."""

from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..head import ABSENT as ABSENT

Float64 = NDArray[np.float64]
Prior = Literal["none", "shipped", "ewc"]


@record(eq=False)
class SourceTerm:
    """The source statistics in the coordinates of a problem.

    Args:
        count: ``(k,)`` samples of each class; 0 for classes that the source does not have.
        mean: ``(k, m)`` class means.
        scatter: ``(m, m)`` scatter within the classes.
    """

    count: Float64
    mean: Float64
    scatter: Float64


@record(eq=False)
class Weights:
    """A linear head in the coordinates of a problem: ``logits = x @ weight.T + bias``.

    Args:
        weight: ``(k, m)``.
        bias: ``(k,)``.
    """

    weight: Float64
    bias: Float64

    def logits(self, x: Float64) -> Float64:
        """Return ``(n, k)`` logits of ``(n, m)`` samples."""
        result: Float64 = x @ self.weight.T + self.bias
        return result


@record(eq=False)
class Problem:
    """Labelled samples and what may help to classify more like them.

    Args:
        x: ``(n, m)`` samples, standardised; float32 where there are very many.
        y: ``(n,)`` classes, 0 to k - 1.
        k: Number of classes.
        source: Source statistics, or None.
        prior: The shipped head, or None; rows of classes that it does not have are 0 with bias `ABSENT`.
        weight: ``(n,)`` weights of the samples, above 0; None for equal ones. Within a class, a weight of 2 is the
            sample twice. They come on top of the balance between classes: a class counts as much as its mean weight
            says, where the head weighs classes at all.
        fisher: ``(k, m + 1)`` diagonal of the shipped head's Fisher information, the bias last, or None; 0 for classes
            that it does not have.
    """

    x: Float64
    y: NDArray[np.int64]
    k: int
    source: SourceTerm | None = None
    prior: Weights | None = None
    weight: Float64 | None = None
    fisher: Float64 | None = None

    def subset(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Problem":
        """Return the problem with only some of the samples."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], weight=weight)

    @property
    def weights(self) -> Float64:
        """``(n,)`` weights of the samples."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def counts(self) -> Float64:
        """``(k,)`` samples of each class."""
        return np.bincount(self.y, minlength=self.k).astype(np.float64)


@record()
class Setting:
    """One way to fit a head.

    Args:
        head: Name of the head.
        regularisation: Its strength; what it means, each head says.
        source_weight: Weight of one source sample against one local sample, 0 (local only) to 1 (pooled).
        prior: What the head is drawn towards.
    """

    head: str
    regularisation: float
    source_weight: float = 0.0
    prior: Prior = "none"


class Head(Protocol):
    """A kind of head. Deterministic: equal problems give equal weights."""

    @property
    def name(self) -> str:
        """Its name, as in a `Setting`."""

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return the settings worth trying on a problem, from the strongest regularisation to the weakest."""

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Fit one head per setting.

        Args:
            problem: Samples and source.
            settings: Some of what `settings` returned.
            draft: Whether three digits are enough, as when settings are only compared.

        Returns:
            Weights in the order of the settings. A class that neither samples nor source show has bias `ABSENT`.
        """
