"""The softmax head against scikit-learn's logistic regression, finite differences and closed forms."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge.heads import ABSENT, Problem, Setting, Softmax, Weights
from acclimate.edge.heads.softmax import Objective, minimise

Blobs = Callable[..., Any]


def softmax(problem: Problem, r: float, prior: str = "none") -> Weights:
    """Solve one setting of the softmax head."""
    return Softmax().solve(problem, (Setting("softmax", r, prior="shipped" if prior == "shipped" else "none"),))[0]


def loss(problem: Problem, weights: Weights, alpha: float) -> float:
    """Return class-balanced cross-entropy plus penalty, computed directly."""
    logits = weights.logits(problem.x)
    log_share = logits - np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    log_share -= logits.max(axis=1, keepdims=True)
    own = log_share[np.arange(len(problem.y)), problem.y]
    balanced = np.mean([-own[problem.y == c].mean() for c in np.unique(problem.y)])
    return float(balanced + alpha / 2 * (weights.weight**2).sum())


@pytest.mark.parametrize("r", [0.3, 0.01, 0.001])
@pytest.mark.parametrize(("k", "n", "m"), [(3, 90, 5), (5, 60, 30), (4, 20, 60)])
def test_the_optimum_is_scikit_learns(sklearn: ModuleType, blobs: Blobs, k: int, n: int, m: int, r: float) -> None:
    """At the same objective, weights agree to 1e-4 and the loss is not above scikit-learn's by more than 1e-8."""
    from sklearn.linear_model import LogisticRegression

    whole = blobs(k=k, m=m, apart=0.7).problem(n)
    problem = whole.subset((whole.y > 0) | (np.arange(n) % 2 == 0))
    n = len(problem.y)
    alpha = r * float((problem.x**2).sum()) / n
    oracle = LogisticRegression(C=1 / (alpha * n), class_weight="balanced", tol=1e-12, max_iter=100_000)
    oracle.fit(problem.x, problem.y)
    expected, found = Weights(oracle.coef_, oracle.intercept_), softmax(problem, r)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-4 * np.abs(expected.weight).max())
    gaps = [w.bias - w.bias.mean() for w in (found, expected)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-4 * max(1, np.abs(gaps[1]).max()))
    assert loss(problem, found, alpha) - loss(problem, expected, alpha) <= 1e-8


def test_two_classes_are_scikit_learns(sklearn: ModuleType, blobs: Blobs) -> None:
    """With two classes the two rows are half of scikit-learn's one, and its opposite."""
    from sklearn.linear_model import LogisticRegression

    problem = blobs(k=2, apart=0.5).problem(80)
    alpha = 0.01 * float((problem.x**2).sum()) / 80
    oracle = LogisticRegression(C=2 / (alpha * 80), tol=1e-12, max_iter=100_000).fit(problem.x, problem.y)
    found = softmax(problem, 0.01)
    np.testing.assert_allclose(found.weight[1], oracle.coef_[0] / 2, atol=1e-5)
    np.testing.assert_allclose(found.weight[0], -oracle.coef_[0] / 2, atol=1e-5)
    np.testing.assert_allclose(found.bias[1] - found.bias[0], oracle.intercept_[0], atol=1e-4)


def objective(seed: int, n: int = 20, m: int = 4, k: int = 3) -> tuple[Objective, np.ndarray, np.ndarray]:
    """Draw an objective with unequal weights, a penalty per column and a prior; a point; a direction."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.1, 1, (n, 1))
    x = np.hstack([rng.normal(size=(n, m)), np.ones((n, 1))])
    target = np.eye(k)[rng.integers(0, k, n)]
    shape = (k, m + 1)
    made = Objective(x, target, weight / weight.sum(), rng.uniform(0, 0.5, m + 1), rng.normal(size=shape))
    return made, rng.normal(size=shape), rng.normal(size=shape)


@pytest.mark.parametrize("seed", range(5))
def test_gradient_is_the_slope_of_the_value(seed: int) -> None:
    """Along any direction the gradient equals the central difference of the value."""
    made, point, direction = objective(seed)
    step = 1e-5
    slope = (made.value(point + step * direction)[0] - made.value(point - step * direction)[0]) / (2 * step)
    gradient = made.gradient(point, made.value(point)[1])
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_curvature_is_the_slope_of_the_gradient(seed: int) -> None:
    """The Hessian times a direction equals the central difference of the gradient along it."""
    made, point, direction = objective(seed)
    step = 1e-5
    ends = [made.gradient(p, made.value(p)[1]) for p in (point + step * direction, point - step * direction)]
    found = made.curvature(made.value(point)[1], direction)
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_is_flat_and_found_from_anywhere(seed: int) -> None:
    """The gradient vanishes at what is found, and every start finds the same point."""
    made, far, _ = objective(seed)
    made = replace(made, penalty=made.penalty + 0.05)
    found = [minimise(made, start, 1e-9) for start in (made.prior, 3 * far, np.zeros_like(far))]
    assert np.abs(made.gradient(found[0], made.value(found[0])[1])).max() < 1e-8
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


def test_a_far_start_does_not_diverge() -> None:
    """From a start where every probability is 0 or 1 and Newton's step is far too long, the minimum is still found."""
    made, far, _ = objective(0)
    made = replace(made, penalty=np.full(5, 1e-3))
    expected = minimise(made, made.prior, 1e-9)
    found = minimise(made, 1e3 * far, 1e-9)
    assert made.value(found)[0] == pytest.approx(made.value(expected)[0], rel=1e-6)


def test_infinite_strength_gives_the_shipped_head_back(blobs: Blobs) -> None:
    """Drawn to the shipped head with all might, the head is the shipped one."""
    problem = blobs().full(40)
    found = softmax(problem, 1e9, "shipped")
    np.testing.assert_allclose(found.weight, problem.prior.weight, atol=1e-6)
    np.testing.assert_allclose(found.bias, problem.prior.bias, atol=1e-6)


def test_vanishing_strength_forgets_the_shipped_head(blobs: Blobs) -> None:
    """The weaker the pull, the closer the head comes to the one that knows no prior."""
    problem = blobs(apart=0.5).full(300)
    free, away = softmax(problem, 1e-6).logits(problem.x), []
    for r in (1e-1, 1e-2, 1e-3, 1e-6):
        gap = softmax(problem, r, "shipped").logits(problem.x) - free
        away.append(float(np.abs(gap - gap.mean(axis=1, keepdims=True)).max()))
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.05 * away[0]


def test_a_class_that_the_shipped_head_lacks_starts_from_nothing(blobs: Blobs) -> None:
    """A new class is drawn to zero, the others to their shipped rows."""
    problem = blobs().full(40)
    bias = problem.prior.bias.copy()
    bias[2] = ABSENT
    weight = problem.prior.weight * np.array([[1.0], [1], [0]])
    found = softmax(replace(problem, prior=Weights(weight, bias)), 1e9, "shipped")
    np.testing.assert_allclose(found.weight, weight, atol=1e-6)
    assert found.bias[2] == pytest.approx(0, abs=1e-6)


def test_a_shipped_class_without_samples_is_kept_by_the_prior(blobs: Blobs) -> None:
    """A class that only the shipped head knows keeps a row with the prior, and has none without."""
    problem = blobs().full(60)
    some = problem.subset(problem.y != 1)
    assert softmax(some, 0.01).bias[1] == ABSENT
    drawn = softmax(some, 0.01, "shipped")
    assert drawn.bias[1] > ABSENT / 2
    assert np.abs(drawn.weight[1]).max() > 0


def test_weights_grow_as_the_penalty_falls(blobs: Blobs) -> None:
    """The norm of the weights rises with every step down the grid, and stays under the bound that the penalty sets."""
    problem = blobs().problem(60)
    settings = Softmax().settings(problem)
    norms = [float((w.weight**2).sum()) for w in Softmax().solve(problem, settings)]
    assert norms == sorted(norms)
    for norm, setting in zip(norms, settings, strict=True):
        alpha = setting.regularisation * float((problem.x**2).sum()) / 60
        # The minimum is no worse than zero weights, whose loss is log k.
        assert alpha / 2 * norm <= np.log(3) + 1e-9
