"""Class scores of held-out samples, for every strength, as heads give them that were fitted without these samples.

Exact: what a refit would give, to rounding. A fold's sums are subtracted from all. Where folds are small beside the
width, the held-out samples and the class means are taken out of one eigendecomposition of all samples' second moment
(Woodbury); where they are not, each fold has its own second moment, and each strength a factorisation.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .closed import ClosedForm, Scores, mean_rows, ridges, solve_scatter, within
from .problem import ABSENT, Float64, Problem
from .sums import Sums, add_up, moment_of, source_moment, source_sums

# Off the diagonal by less than this, a second moment is in its principal axes already.
_ROUNDING = 1e-10
# Numbers held at a time when several strengths are solved together, and when the moments of all folds are kept.
_TOGETHER, _KEPT = 1 << 22, 1 << 25


@record(eq=False)
class Folds:
    """A problem cut into folds, with what all strengths and all closed-form heads share.

    Args:
        problem: Samples and source.
        held: Of each fold, the places of its samples.
        probes: ``(p, m)`` further rows to score with what each fold's others give.
    """

    problem: Problem
    held: tuple[NDArray[np.intp], ...]
    probes: Float64

    def logits(self, heads: Sequence[ClosedForm], strengths: Float64, source_weight: float) -> Iterator[list[Float64]]:
        """Predict each fold from the others.

        Args:
            heads: The heads.
            strengths: ``(r,)``, all finite or all infinite.
            source_weight: Weight of a source sample.

        Yields:
            Of each fold, one array per head: ``(r, b + p, k)`` logits of the held-out samples, then of the probes.
        """
        for scores in self._scores(strengths, source_weight):
            absent = scores.sums.count == 0
            found = []
            for head in heads:
                mixed, bias = head.mix(scores)
                mixed += bias[:, None, :]
                if absent.any():
                    mixed[:, :, absent] = ABSENT
                found.append(mixed)
            yield found

    @cached_property
    def parts(self) -> list[Sums]:
        """Sums of each fold."""
        return [add_up(self.problem, rows) for rows in self.held]

    @cached_property
    def rest(self) -> NDArray[np.intp]:
        """Places of the samples that are never held out."""
        return np.setdiff1d(np.arange(len(self.problem.y)), np.concatenate(self.held), assume_unique=True)

    @cached_property
    def moments(self) -> list[Float64]:
        """Second moments of each fold, kept where they are not too large; empty where they are."""
        m = self.problem.x.shape[1]
        return [moment_of(self.problem, rows) for rows in self.held] if len(self.held) * m * m <= _KEPT else []

    @cached_property
    def narrow(self) -> bool:
        """Whether folds, with the class means, are small beside the width."""
        return bool(2 * (max(map(len, self.held)) + self.problem.k) < self.problem.x.shape[1])

    @cached_property
    def moment(self) -> Float64:
        """Second moment of all samples."""
        if self.narrow or not self.moments:
            return moment_of(self.problem, np.arange(len(self.problem.y)))
        return sum(self.moments, start=moment_of(self.problem, self.rest))

    def _scores(self, strengths: Float64, source_weight: float) -> Iterator[Scores]:
        source = self.problem.source if source_weight > 0 else None
        joint = sum(self.parts[1:], start=self.parts[0]) + add_up(self.problem, self.rest)
        if source is not None:
            joint += source_sums(source, source_weight)
        if np.isinf(strengths).all():
            yield from self._nearest(joint, strengths)
            return
        moment = self.moment if source is None else self.moment + source_moment(source, source_weight)
        yield from (self._downdated if self.narrow else self._refitted)(joint, moment, strengths)

    def _rows(self, rows: NDArray[np.intp]) -> Float64:
        held = self.problem.x[rows]
        return np.vstack([held, self.probes]) if len(self.probes) else held

    def _nearest(self, joint: Sums, strengths: Float64) -> Iterator[Scores]:
        for rows, part in zip(self.held, self.parts, strict=True):
            left = joint - part
            solution = solve_scatter(None, left, strengths)
            yield Scores(self._rows(rows) @ solution, solution, strengths, left)

    def _refitted(self, joint: Sums, moment: Float64, strengths: Float64) -> Iterator[Scores]:
        for place, (rows, part) in enumerate(zip(self.held, self.parts, strict=True)):
            left = joint - part
            away = self.moments[place] if self.moments else moment_of(self.problem, rows)
            solution = solve_scatter(within(moment - away, left), left, strengths)
            yield Scores(self._rows(rows) @ solution, solution, strengths, left)

    def _downdated(self, joint: Sums, moment: Float64, strengths: Float64) -> Iterator[Scores]:
        values, axes = _principal(moment)
        x, probes, weights = self.problem.x, self.probes, self.problem.weights
        if axes is not None:
            x, probes, joint = x @ axes, probes @ axes, joint.turned(axes)
        for rows, part in zip(self.held, self.parts, strict=True):
            left = joint - (part if axes is None else part.turned(axes))
            away = np.vstack([x[rows] * np.sqrt(weights[rows])[:, None], mean_rows(left)[left.count > 0]])
            trace = float(values.sum() - (away**2).sum())
            inverse = 1 / (values + ridges(strengths, trace, len(values), left)[:, None])
            pieces = np.array_split(inverse, min(len(inverse), 1 + inverse.size * len(away) // _TOGETHER))
            solution = np.concatenate([_without(piece, away, left.mean) for piece in pieces])
            held = x[rows] if not len(probes) else np.vstack([x[rows], probes])
            yield Scores(held @ solution, solution, strengths, left)


def _principal(moment: Float64) -> tuple[Float64, Float64 | None]:
    """Return eigenvalues and eigenvectors of a second moment; None for the latter where it is diagonal."""
    values = np.diagonal(moment).copy()
    if np.abs(moment - np.diag(values)).max() <= _ROUNDING * values.max():
        return values, None
    values, axes = np.linalg.eigh(moment)
    return np.maximum(values, 0), axes


def _without(inverse: Float64, away: Float64, mean: Float64) -> Float64:
    """Solve for the class means after rows are taken out of a diagonal second moment.

    Args:
        inverse: ``(r, m)`` inverse of the regularised eigenvalues, at each strength.
        away: ``(s, m)`` rows that are taken out.
        mean: ``(k, m)`` class means.

    Returns:
        ``(r, m, k)``: ``(diag(1 / inverse) - away^T away)^-1 mean^T``.
    """
    # Halves on both sides, so that the product is one of a matrix with itself, which costs half.
    root = np.sqrt(inverse)[:, None, :]
    half, right = away * root, (mean * root).transpose(0, 2, 1)
    inner = half @ half.transpose(0, 2, 1)
    np.negative(inner, out=inner)
    inner[:, np.arange(len(away)), np.arange(len(away))] += 1
    bent = np.linalg.solve(inner, half @ right)
    result: Float64 = root.transpose(0, 2, 1) * (right + half.transpose(0, 2, 1) @ bent)
    return result
