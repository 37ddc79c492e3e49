"""The softmax head against scikit-learn's LogisticRegression at the same objective: time to the same loss."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from acclimate.edge.heads.softmax import Objective, minimise

from .harness import Row, alternate, finish

GAP = 1e-6
# Samples, width, classes: a device's usual job, a wide latent, many samples.
PROBLEMS = ((200, 1280, 10), (200, 2064, 10), (2000, 256, 10), (2000, 1280, 10))
STRENGTHS = (1e-3, 1e-1)


def main() -> None:
    """Measure and print."""
    rows = []
    for n, d, k in PROBLEMS:
        x, y = _clusters(n, d, k)
        for strength in STRENGTHS:
            objective = _objective(x, y, k, strength * d)
            best = _loss(objective, minimise(objective, objective.prior, 1e-12))
            ours = _loosest(lambda t: minimise(objective, objective.prior, t), objective, best)  # noqa: B023
            theirs = _loosest(lambda t: _sklearn(x, y, strength * d, t), objective, best)  # noqa: B023
            works = {
                "ours": lambda: minimise(objective, objective.prior, ours),  # noqa: B023
                "sklearn": lambda: _sklearn(x, y, strength * d, theirs),  # noqa: B023
            }
            cost = alternate(works, 7)
            spent = f"CPU {cost['ours'].cpu * 1e3:.1f} against {cost['sklearn'].cpu * 1e3:.1f} ms"
            note = f"{spent}; tolerances {ours:g}, {theirs:g}"
            rows.append(
                Row(
                    f"softmax, {n} x {d}, {k} classes, penalty {strength:g}",
                    cost["ours"].wall * 1e3,
                    "ms",
                    cost["sklearn"].wall * 1e3,
                    note=note,
                )
            )
    finish("heads", rows, ["scikit-learn"])


def _clusters(n: int, d: int, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Gaussian classes that overlap, with features of unequal and correlated spread, standardised."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    mixing = rng.normal(size=(d, d)) / np.sqrt(d) * np.geomspace(1, 0.01, d)
    x = (rng.normal(size=(k, d))[y] * 0.2 + rng.normal(size=(n, d))) @ mixing
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def _objective(x: NDArray[np.float64], y: NDArray[np.int64], k: int, alpha: float) -> Objective:
    n, d = x.shape
    penalty = np.full(d + 1, alpha)
    penalty[-1] = 0
    return Objective(
        np.hstack([x, np.ones((n, 1))]), np.eye(k)[y], np.full((n, 1), 1 / n), penalty, np.zeros((k, d + 1))
    )


def _sklearn(x: NDArray[np.float64], y: NDArray[np.int64], alpha: float, tolerance: float) -> NDArray[np.float64]:
    model = LogisticRegression(C=1 / (alpha * len(y)), tol=tolerance, max_iter=10_000)
    with warnings.catch_warnings():
        # A tolerance that is out of reach is tried too.
        warnings.simplefilter("ignore")
        model.fit(x, y)
    return np.hstack([model.coef_, model.intercept_[:, None]])


def _loosest(solve: Callable[[float], NDArray[np.float64]], objective: Objective, best: float) -> float:
    """Return the loosest tolerance with which a solver's loss is within the gap of the best."""
    for tolerance in np.geomspace(1e-1, 1e-10, 19):
        if _loss(objective, solve(float(tolerance))) <= best * (1 + GAP):
            return float(tolerance)
    raise ValueError("the solver does not reach the gap")


def _loss(objective: Objective, theta: NDArray[np.float64]) -> float:
    return objective.value(theta)[0]


if __name__ == "__main__":
    main()
