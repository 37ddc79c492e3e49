"""Sums of samples in coordinates: all that a closed-form head is a function of."""

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .problem import Float64, Problem, SourceTerm

# Rows taken at a time, so that no more than these are copied.
_BLOCK = 4_096


@record(eq=False)
class Sums:
    """What is left of samples when they are added up, class by class. Sums of several sets add up.

    Args:
        size: ``(k,)`` number of samples.
        weight: ``(k,)`` sum of their weights.
        source: ``(k,)`` number of samples of the source, each times its weight.
        total: ``(k, m)`` weighted sum of all.
    """

    size: Float64
    weight: Float64
    source: Float64
    total: Float64

    def __add__(self, other: "Sums") -> "Sums":
        """Return the sums of both sets together."""
        size, weight = self.size + other.size, self.weight + other.weight
        return Sums(size, weight, self.source + other.source, self.total + other.total)

    def __sub__(self, other: "Sums") -> "Sums":
        """Return the sums without a subset of the samples; of a class of which none is left, exactly 0."""
        size = self.size - other.size
        total = np.where(((size > 0) | (self.source > 0))[:, None], self.total - other.total, 0)
        return Sums(size, np.where(size > 0, self.weight - other.weight, 0), self.source, total)

    def turned(self, axes: Float64) -> "Sums":
        """Return the sums of the same samples along other axes, the columns of a matrix."""
        return Sums(self.size, self.weight, self.source, self.total @ axes)

    @property
    def count(self) -> Float64:
        """``(k,)`` total weight, of samples and source."""
        return self.weight + self.source

    @property
    def mean(self) -> Float64:
        """``(k, m)`` class means; 0 for a class without samples."""
        result: Float64 = self.total / np.where(self.count > 0, self.count, 1)[:, None]
        return result

    @property
    def share(self) -> Float64:
        """``(k,)`` how much each class counts: as the mean weight of its samples, 1 for a class of the source alone.

        The shares add up to 1; a class that nothing shows has 0.
        """
        mean = np.where(self.size > 0, self.weight / np.where(self.size > 0, self.size, 1), self.source > 0)
        result: Float64 = mean / mean.sum()
        return result

    @property
    def freedom(self) -> float:
        """Total weight less one per class, at least 1."""
        return max(float(self.count.sum()) - float(np.count_nonzero(self.count)), 1.0)


def add_up(problem: Problem, rows: NDArray[np.intp]) -> Sums:
    """Return the sums of some samples of a problem.

    Args:
        problem: The problem; its source is left out.
        rows: ``(s,)`` places of the samples.
    """
    k, weights = problem.k, problem.weights
    total = np.zeros((k, problem.x.shape[1]))
    for block in blocks(rows):
        shown = (problem.y[block] == np.arange(k)[:, None]) * weights[block]
        total += shown @ problem.x[block]
    y = problem.y[rows]
    size = np.bincount(y, minlength=k).astype(np.float64)
    weight = np.bincount(y, weights[rows], minlength=k).astype(np.float64)
    return Sums(size, weight, np.zeros(k), total)


def moment_of(problem: Problem, rows: NDArray[np.intp]) -> Float64:
    """Return the ``(m, m)`` weighted sum of outer products of some samples, not centred."""
    m = problem.x.shape[1]
    moment = np.zeros((m, m))
    for block in blocks(rows):
        x = problem.x[block].astype(np.float64, copy=False)
        if problem.weight is not None:
            x = x * np.sqrt(problem.weight[block])[:, None]
        moment += x.T @ x
    return moment


def source_sums(source: SourceTerm, weight: float) -> Sums:
    """Return the sums of the source, each sample counting ``weight``."""
    count, none = weight * source.count, np.zeros(len(source.count))
    return Sums(none, none, count, count[:, None] * source.mean)


def source_moment(source: SourceTerm, weight: float) -> Float64:
    """Return the source's ``(m, m)`` sum of outer products, not centred, each sample counting ``weight``."""
    rows = source.mean * np.sqrt(source.count)[:, None]
    result: Float64 = weight * (source.scatter + rows.T @ rows)
    return result


def blocks(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut a list of rows into blocks that are small enough to copy."""
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
