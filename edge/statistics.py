"""Sufficient statistics of latents: counts, class sums and one second moment.

They are sums of integer latent codes held in float64, exact below 2**53: they do not depend on the order of the rows or
on the number of threads, statistics of several sets add up, and subtracting a sample leaves no trace.
"""

from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleFormatError, InputError
from ..latent import Codes
from ..record import record
from ..tensors import Arrays

Float64 = NDArray[np.float64]
# Codes are centred to -128..127; 1,024 products of two of them stay within 2**24, which float32 holds exactly.
_EXACT_ROWS = 1_024
# Rows of the second moment that are changed at a time.
_STRIP = 64
_CENTRE = 128
_MAX_CODE, _EXACT = 255.0, 2.0**53
_HOSTILE = "expected {} in the source statistics, found others. Get the bundle again from where it came from."
# Up to this width the second moment travels whole; above, as low rank + diagonal.
FULL_WIDTH = 512
RANK = 256


@record(eq=False)
class Statistics:
    """Exact statistics of labelled codes.

    Args:
        count: ``(k,) float64`` samples of each class.
        sum: ``(k, d) float64`` sums of codes of each class.
        moment: ``(d, d) float64`` sum of outer products of codes, over all classes, not centred.
    """

    count: Float64
    sum: Float64
    moment: Float64

    @classmethod
    def empty(cls, k: int, d: int) -> Self:
        """Return the statistics of no samples."""
        return cls(np.zeros(k), np.zeros((k, d)), np.zeros((d, d)))

    @classmethod
    def of(cls, codes: Codes, classes: NDArray[np.integer], k: int) -> Self:
        """Compute statistics.

        Args:
            codes: ``(n, d) uint8``.
            classes: ``(n,)`` class of each row, 0 to k - 1.
            k: Number of classes.

        Returns:
            The statistics, exact.
        """
        d = codes.shape[1]
        count = np.bincount(classes, minlength=k).astype(np.float64)
        total, sums = np.zeros((d, d)), np.zeros((k, d))
        for start in range(0, len(codes), _EXACT_ROWS):
            rows = codes[start : start + _EXACT_ROWS].astype(np.float32) - _CENTRE
            total += rows.T @ rows
            chosen = np.zeros((k, len(rows)), np.float32)
            chosen[classes[start : start + len(rows)], np.arange(len(rows))] = 1
            sums += chosen @ rows
        # Undo the centring: all terms are integers, so this is exact too.
        column = sums.sum(axis=0)
        total += _CENTRE * (column[:, None] + column[None, :]) + _CENTRE**2 * count.sum()
        return cls(count, sums + _CENTRE * count[:, None], total)

    def __add__(self, other: "Statistics") -> "Statistics":
        """Return the statistics of both sets together."""
        return Statistics(self.count + other.count, self.sum + other.sum, self.moment + other.moment)

    def __sub__(self, other: "Statistics") -> "Statistics":
        """Return the statistics without those of a subset."""
        return Statistics(self.count - other.count, self.sum - other.sum, self.moment - other.moment)

    def include(self, codes: Codes, classes: NDArray[np.integer]) -> None:
        """Add samples in place, without looking at the others.

        Args:
            codes: ``(n, d) uint8``.
            classes: ``(n,)`` class of each row, 0 to k - 1.
        """
        self._shift(codes, classes, 1.0)

    def exclude(self, codes: Codes, classes: NDArray[np.integer]) -> None:
        """Take samples out in place, without looking at the others: what is left never had them, to the bit.

        Args:
            codes: ``(n, d) uint8``, all of them included before.
            classes: ``(n,)`` class of each row.

        Raises:
            InputError: If a class has fewer samples than are to be taken out; nothing is changed then.
        """
        asked = np.bincount(classes, minlength=len(self.count))
        if len(asked) > len(self.count) or (asked > self.count).any():
            raise InputError(
                f"expected samples that were included, at most {self.count.astype(int).tolist()} of each class, found "
                f"{asked.tolist()}. Compute the statistics anew from the samples that are left."
            )
        self._shift(codes, classes, -1.0)

    def without(self, codes: Codes, classes: NDArray[np.integer]) -> "Statistics":
        """Return the statistics less those of some samples. See `exclude`."""
        left = Statistics(self.count.copy(), self.sum.copy(), self.moment.copy())
        left.exclude(codes, classes)
        return left

    def _shift(self, codes: Codes, classes: NDArray[np.integer], sign: float) -> None:
        for start in range(0, len(codes), _EXACT_ROWS):
            rows = codes[start : start + _EXACT_ROWS].astype(np.float64)
            labels = classes[start : start + _EXACT_ROWS]
            np.add.at(self.count, labels, sign)
            np.add.at(self.sum, labels, sign * rows)
            # In strips, so that no second moment of its own is made for a few samples.
            for strip in range(0, len(self.moment), _STRIP):
                part = slice(strip, strip + _STRIP)
                self.moment[part] += (sign * rows[:, part].T) @ rows

    def within(self) -> Float64:
        """Return the ``(d, d)`` scatter within the classes: sums of products of deviations from the class mean."""
        mean = self.sum / np.maximum(self.count, 1)[:, None]
        result: Float64 = self.moment - mean.T @ self.sum
        return (result + result.T) / 2


@record(eq=False)
class SourceStatistics:
    """What the device knows of the source domain, in units of latent codes.

    Args:
        count: ``(k,) float64`` samples of each shipped class.
        sum: ``(k, d) float64`` sums of codes of each shipped class.
        moment: ``(d, d) float64``, as in `Statistics`, or None.
        factor: ``(r, d) float32`` with ``factor.T @ factor + diag(diagonal)`` close to the scatter within the classes,
            where `moment` is None.
        diagonal: ``(d,) float64``; the scatter's own diagonal is kept exactly.
    """

    count: Float64
    sum: Float64
    moment: Float64 | None
    factor: NDArray[np.float32] | None
    diagonal: Float64 | None

    @classmethod
    def compress(cls, statistics: Statistics, rank: int | None = None) -> Self:
        """Choose the form that travels in a bundle.

        Args:
            statistics: Exact statistics of the source.
            rank: Rank of the low-rank form; by default whole up to a width of 512, rank 256 above.

        Returns:
            The statistics to ship.
        """
        if rank is None and len(statistics.moment) <= FULL_WIDTH:
            return cls(statistics.count, statistics.sum, statistics.moment, None, None)
        scatter = statistics.within()
        # Directions are ranked in units of each dimension's own spread, the units the device solves in.
        spread = np.sqrt(np.maximum(np.diag(scatter), 1e-12))
        values, vectors = np.linalg.eigh(scatter / np.outer(spread, spread))
        top = slice(-min(rank or RANK, len(values)), None)
        factor = ((vectors[:, top] * np.sqrt(np.maximum(values[top], 0))) * spread[:, None]).T.astype(np.float32)
        left = np.maximum(np.diag(scatter) - (factor.astype(np.float64) ** 2).sum(axis=0), 0)
        return cls(statistics.count, statistics.sum, None, factor, left)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read the arrays of a bundle's `source.safetensors`.

        Raises:
            BundleFormatError: If counts, sums or scatter are not what 8-bit codes can give.
        """
        count, total = cast(Float64, arrays["count"]), cast(Float64, arrays["sum"])
        d, most = total.shape[1], _MAX_CODE**2 * count.sum()
        if (count < 0).any() or most > _EXACT:
            raise BundleFormatError(_HOSTILE.format("counts from 0 up to what float64 holds exactly"))
        if (total < 0).any() or (total > _MAX_CODE * count[:, None]).any():
            raise BundleFormatError(_HOSTILE.format("sums of 8-bit codes"))
        if "moment" not in arrays:
            factor, diagonal = cast(NDArray[np.float32], arrays["factor"]), cast(Float64, arrays["diagonal"])
            whole = (factor.astype(np.float64) ** 2).sum(axis=0) + diagonal
            # Rounded to float32, the factor may give a little more than the scatter that it comes from.
            if (diagonal < 0).any() or (whole > 1.001 * most).any():
                raise BundleFormatError(_HOSTILE.format("a scatter of 8-bit codes"))
            return cls(count, total, None, factor, diagonal)
        moment = np.zeros((d, d))
        moment[np.triu_indices(d)] = arrays["moment"]
        moment += np.triu(moment, 1).T
        between = (total**2 / np.maximum(count, 1)[:, None]).sum(axis=0)
        if (moment < 0).any() or (moment > most).any() or (np.diag(moment) < between - 1e-9 * most).any():
            raise BundleFormatError(_HOSTILE.format("a second moment of 8-bit codes"))
        return cls(count, total, moment, None, None)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store in a bundle; of a symmetric matrix the upper triangle, row by row."""
        shared: dict[str, NDArray[np.generic]] = {"count": self.count, "sum": self.sum}
        if self.moment is not None:
            return {**shared, "moment": self.moment[np.triu_indices(len(self.moment))]}
        if self.factor is None or self.diagonal is None:
            raise InputError("expected a second moment, whole or as factor and diagonal, found neither.")
        return {**shared, "factor": self.factor, "diagonal": self.diagonal}

    @property
    def samples(self) -> float:
        """Number of samples."""
        return float(self.count.sum())

    def mean(self) -> Float64:
        """Return the ``(k, d)`` class means in codes; 0 for a class without samples."""
        return self.sum / np.maximum(self.count, 1)[:, None]

    def within_diagonal(self) -> Float64:
        """Return the ``(d,)`` diagonal of the scatter within the classes."""
        if self.moment is not None:
            result: Float64 = np.diag(self.moment) - (self.mean() * self.sum).sum(axis=0)
            return np.maximum(result, 0)
        factor, diagonal = cast(NDArray[np.float32], self.factor), cast(Float64, self.diagonal)
        result = (factor.astype(np.float64) ** 2).sum(axis=0)
        result += diagonal
        return result

    def variance(self) -> Float64:
        """Return the ``(d,)`` variance over all samples, in squared codes."""
        total = max(self.samples, 1)
        centred = self.mean() - self.sum.sum(axis=0) / total
        result: Float64 = (self.within_diagonal() + (self.count[:, None] * centred**2).sum(axis=0)) / total
        return result
