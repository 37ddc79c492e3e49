"""The heads: softmax against scikit-learn at the same objective, cross-validation, one class more, one sample less."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from acclimate.edge.heads import LDA, Problem, Prototype, Setting, Softmax
from acclimate.edge.heads.closed import ClosedForm, solve_sums
from acclimate.edge.heads.conjugate import minimise
from acclimate.edge.heads.logistic import Objective, Real
from acclimate.edge.heads.sums import Sums, add_up, moment_of
from acclimate.edge.statistics import Statistics

from .harness import Row, alternate, finish

GAP = 1e-6
# Samples, width, classes: a device's usual job, a wide latent, many samples.
PROBLEMS = ((200, 1280, 10), (200, 2064, 10), (2000, 256, 10), (2000, 1280, 10))
STRENGTHS = (1e-3, 1e-1)
# In double precision from the tolerance on at which single precision ends.
SINGLE = 1e-5
Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]


def main() -> None:
    """Measure and print."""
    rows = [*_against_sklearn(), _cross_validation(), *_one_more(), *_one_less()]
    finish("heads", rows, ["scikit-learn"])


def _against_sklearn() -> Iterator[Row]:
    """Each solver at the loosest tolerance that comes within the gap of the optimum, both given float64."""
    for n, d, k in PROBLEMS:
        x, y = _clusters(n, d, k)
        for strength in STRENGTHS:
            judge = _objective(x, y, k, strength * d)
            best = _loss(judge, minimise(judge, judge.prior, 1e-10))
            ours = _loosest(lambda t: _ours(x, y, k, strength * d, t), judge, best)  # noqa: B023
            theirs = _loosest(lambda t: _sklearn(x, y, strength * d, t), judge, best)  # noqa: B023
            works = {
                "ours": lambda: _ours(x, y, k, strength * d, ours),  # noqa: B023
                "sklearn": lambda: _sklearn(x, y, strength * d, theirs),  # noqa: B023
            }
            for threads in (1, None):
                with nullcontext() if threads is None else threadpool_limits(threads):
                    cost = alternate(works, 5)
                spent = f"CPU {cost['ours'].cpu * 1e3:.1f} against {cost['sklearn'].cpu * 1e3:.1f} ms"
                where = "one thread" if threads else "all threads"
                yield Row(
                    f"softmax, {n} x {d}, {k} classes, penalty {strength:g}, {where}",
                    cost["ours"].wall * 1e3,
                    "ms",
                    cost["sklearn"].wall * 1e3,
                    goal="scikit_learn",
                    note=f"{spent}; tolerances {ours:g}, {theirs:g}",
                )


def _cross_validation() -> Row:
    """All settings of the softmax head on five folds of a device's usual job, in its principal axes."""
    x, y = _clusters(200, 1280, 10)
    axes = np.linalg.svd(x, full_matrices=False)[2]
    problem = Problem(x @ axes.T, y, 10)
    folds = [problem.subset(np.arange(200) % 50 // 10 != fold) for fold in range(5)]
    head = Softmax()

    def drafts() -> None:
        for fold in folds:
            head.solve(fold, head.settings(fold), draft=True)

    with threadpool_limits(1):
        cost = alternate({"drafts": drafts}, 15)["drafts"]
    settings = len(head.settings(problem))
    return Row(
        f"softmax, {settings} settings on 5 folds of 160 x 200, 10 classes, one thread",
        cost.wall * 1e3,
        "ms",
        note=f"CPU {cost.cpu * 1e3:.1f} ms",
    )


def _one_more() -> Iterator[Row]:
    """From five latents of a new class to a head that knows it: their sums are added to those of 2,000 samples."""
    for d in (256, 1280):
        x, y = _clusters(2000, d, 10)
        whole = Problem(np.vstack([x, x[:5] + 1]), np.append(y, np.full(5, 10)), 11)
        rows = np.arange(len(whole.y))
        known, moment = add_up(whole, rows[:2000]), moment_of(whole, rows[:2000])
        for head in (Prototype(), LDA()):
            setting = next(s for s in head.settings(whole) if s.source_weight == 0)

            def grow(
                whole: Problem = whole, head: ClosedForm = head, setting: Setting = setting, known: Sums = known
            ) -> None:
                new = np.arange(2000, 2005)
                if np.isinf(head.strength(setting)):
                    solve_sums(head, known + add_up(whole, new), None, (setting,))
                else:
                    solve_sums(head, known + add_up(whole, new), moment + moment_of(whole, new), (setting,))  # noqa: B023

            cost = alternate({"grow": grow}, 10)["grow"]
            goal = "add_class" if head.name == "prototype" else ""
            yield Row(f"{head.name}, one class more from 5 latents, width {d}", cost.wall * 1e3, "ms", 0.0, goal)


def _one_less() -> Iterator[Row]:
    """Statistics less one of 2,000 samples, in place: the others are not looked at."""
    rng = np.random.default_rng(0)
    for d in (256, 1280):
        codes, y = rng.integers(0, 256, (2000, d), dtype=np.uint8), np.arange(2000) % 10
        statistics = Statistics.of(codes, y, 10)

        def exclude(statistics: Statistics = statistics, codes: NDArray[np.uint8] = codes) -> None:
            statistics.exclude(codes[7:8], y[7:8])  # noqa: B023
            statistics.include(codes[7:8], y[7:8])  # noqa: B023

        # Twice: the sample goes, and comes back for the next turn.
        cost = alternate({"exclude": exclude}, 30)["exclude"].wall / 2
        anew = alternate({"anew": lambda: Statistics.of(codes[1:], y[1:], 10)}, 3)["anew"].wall  # noqa: B023
        yield Row(
            f"statistics without one of 2,000 samples, width {d}",
            cost * 1e3,
            "ms",
            0.0,
            "forget",
            f"anew {anew * 1e3:.0f} ms",
        )


def _clusters(n: int, d: int, k: int) -> tuple[Float64, Labels]:
    """Gaussian classes that overlap, with features of unequal and correlated spread, standardised."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    mixing = rng.normal(size=(d, d)) / np.sqrt(d) * np.geomspace(1, 0.01, d)
    x = (rng.normal(size=(k, d))[y] * 0.2 + rng.normal(size=(n, d))) @ mixing
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def _objective(x: Float64 | NDArray[np.float32], y: Labels, k: int, alpha: float) -> Objective:
    n, d = x.shape
    penalty = np.full((1, 1, d + 1), alpha, x.dtype)
    penalty[..., -1] = 0
    return Objective(x, y, np.full(n, 1 / n, x.dtype), penalty, np.zeros((k, 1, d + 1), x.dtype))


def _ours(x: Float64, y: Labels, k: int, alpha: float, tolerance: float) -> Float64:
    objective = _objective(x if tolerance < SINGLE else x.astype(np.float32), y, k, alpha)
    return minimise(objective, objective.prior, tolerance).astype(np.float64)


def _sklearn(x: Float64, y: Labels, alpha: float, tolerance: float) -> Float64:
    model = LogisticRegression(C=1 / (alpha * len(y)), tol=tolerance, max_iter=10_000)
    with warnings.catch_warnings():
        # A tolerance that is out of reach is tried too.
        warnings.simplefilter("ignore")
        model.fit(x, y)
    return np.hstack([model.coef_, model.intercept_[:, None]])[:, None]


def _loosest(solve: Callable[[float], Float64], objective: Objective, best: float) -> float:
    """Return the loosest tolerance with which a solver's loss is within the gap of the best."""
    for tolerance in np.geomspace(1e-1, 1e-10, 19):
        if _loss(objective, solve(float(tolerance))) <= best * (1 + GAP):
            return float(tolerance)
    raise ValueError("the solver does not reach the gap")


def _loss(objective: Objective, theta: Real) -> float:
    return float(objective.value(theta)[0])


if __name__ == "__main__":
    main()
