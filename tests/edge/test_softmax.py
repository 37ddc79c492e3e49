"""The softmax head against scikit-learn's logistic regression, finite differences and closed forms."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge.heads import ABSENT, Prior, Problem, Setting, Softmax, Weights
from acclimate.edge.heads.softmax import EWC_REGULARISATIONS, FLOOR

Blobs = Callable[..., Any]


def softmax(problem: Problem, r: float, prior: Prior = "none") -> Weights:
    """Solve one setting of the softmax head."""
    return Softmax().solve(problem, (Setting("softmax", r, prior=prior),))[0]


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


def test_sample_weights_are_scikit_learns(sklearn: ModuleType, blobs: Blobs) -> None:
    """Weights on top of the balance between classes: scikit-learn's, given the product of both."""
    from sklearn.linear_model import LogisticRegression

    whole = blobs(k=3, m=6, apart=0.5).problem(90)
    problem = whole.subset((whole.y > 0) | (np.arange(90) % 2 == 0))
    given = np.random.default_rng(0).uniform(0.2, 3, len(problem.y))
    share = given / problem.counts[problem.y]
    alpha = 0.01 * float((problem.x**2).sum(axis=1) @ given) / given.sum()
    oracle = LogisticRegression(C=1 / (alpha * share.sum()), tol=1e-12, max_iter=100_000)
    oracle.fit(problem.x, problem.y, sample_weight=share)
    found = softmax(replace(problem, weight=given), 0.01)
    np.testing.assert_allclose(found.weight, oracle.coef_, atol=1e-4 * np.abs(oracle.coef_).max())


def test_equal_weights_are_no_weights(blobs: Blobs) -> None:
    """Whatever they are."""
    problem = blobs().problem(40)
    found = softmax(replace(problem, weight=np.full(40, 7.0)), 0.01)
    np.testing.assert_allclose(found.weight, softmax(problem, 0.01).weight, atol=1e-9)


def test_a_weightless_sample_is_hardly_there(blobs: Blobs) -> None:
    """A poisoned sample of vanishing weight changes little, of usual weight much."""
    world = blobs(apart=0.7)
    problem = world.problem(60)
    y = problem.y.copy()
    rows = np.arange(0, 60, 6)
    y[rows] = (y[rows] + 1) % 3
    clean = softmax(problem.subset(np.setdiff1d(np.arange(60), rows)), 0.01)
    light = np.where(np.isin(np.arange(60), rows), 1e-9, 1.0)
    # Balance counts samples: of alike classes each loses as many, so that nothing else differs.
    gaps = [
        np.abs(softmax(replace(problem, y=y, weight=weight), 0.01).weight - clean.weight).max()
        for weight in (light, np.ones(60))
    ]
    assert gaps[0] < 0.1 * gaps[1]


def test_single_precision_samples_stay_so(blobs: Blobs) -> None:
    """A problem too large for double precision is solved to four digits in single."""
    problem = blobs(k=4, m=20, apart=0.7).problem(200)
    narrow = replace(problem, x=problem.x.astype(np.float32))
    for r in (0.1, 0.001):
        expected = softmax(problem, r).weight
        np.testing.assert_allclose(softmax(narrow, r).weight, expected, atol=1e-4 * np.abs(expected).max())


def test_few_settings_at_a_time_give_the_same(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are minimised together, and in whatever order they are asked for."""
    problem = blobs().full(40)
    settings = Softmax().settings(problem)[::-1]
    together = Softmax().solve(problem, settings)
    monkeypatch.setattr("acclimate.edge.heads.softmax._TOGETHER", 3 * 40 * 2)
    for a, b in zip(Softmax().solve(problem, settings), together, strict=True):
        np.testing.assert_allclose(a.weight, b.weight, atol=1e-5)


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


def with_fisher(problem: Problem) -> tuple[Problem, Weights, np.ndarray]:
    """Add Fisher information; return it and the shipped head too."""
    fisher = np.random.default_rng(0).uniform(0.1, 1, (problem.k, problem.x.shape[1] + 1))
    assert problem.prior is not None
    return replace(problem, fisher=fisher), problem.prior, fisher


def test_ewc_is_offered_with_a_head_and_its_fisher_information(blobs: Blobs) -> None:
    """And not without either; the strongest pull first."""
    problem, _, _ = with_fisher(blobs().full(40))
    offered = [s for s in Softmax().settings(problem) if s.prior == "ewc"]
    assert [s.regularisation for s in offered] == sorted(EWC_REGULARISATIONS, reverse=True)
    for lacking in (replace(problem, fisher=None), replace(problem, prior=None)):
        assert not [s for s in Softmax().settings(lacking) if s.prior == "ewc"]


@pytest.mark.parametrize("r", [10.0, 0.1])
def test_the_ewc_optimum_is_a_general_optimisers(blobs: Blobs, r: float) -> None:
    """SciPy's BFGS on the loss written out, with a penalty of its own for each weight."""
    minimize = pytest.importorskip("scipy.optimize", reason="SciPy, the oracle, is not installed").minimize
    problem, prior, fisher = with_fisher(blobs(apart=0.5).full(60))
    shipped = np.hstack([prior.weight, prior.bias[:, None]])
    penalty = r * fisher + FLOOR * float((problem.x**2).sum()) / 60

    def value(flat: np.ndarray) -> float:
        theta = flat.reshape(shipped.shape)
        weights = Weights(theta[:, :-1], theta[:, -1])
        return loss(problem, weights, 0) + 0.5 * float((penalty * (theta - shipped) ** 2).sum())

    oracle = minimize(value, shipped.ravel(), method="BFGS", options={"gtol": 1e-7}).x.reshape(shipped.shape)
    found = softmax(problem, r, "ewc")
    np.testing.assert_allclose(np.hstack([found.weight, found.bias[:, None]]), oracle, atol=1e-4)


def test_infinite_ewc_strength_gives_the_shipped_head_back(blobs: Blobs) -> None:
    """Where there is information on every weight."""
    problem, prior, _ = with_fisher(blobs().full(40))
    found = softmax(problem, 1e9, "ewc")
    np.testing.assert_allclose(found.weight, prior.weight, atol=1e-6)
    np.testing.assert_allclose(found.bias, prior.bias, atol=1e-6)


def test_without_information_a_dimension_is_free(blobs: Blobs) -> None:
    """All others are held at the shipped head; this one goes where the samples alone, given the others, want it."""
    problem, prior, fisher = with_fisher(blobs(apart=0.5).full(300))
    fisher[:, 2] = 0
    found = softmax(problem, 1e9, "ewc")
    others = np.array([0, 1, 3, 4])
    np.testing.assert_allclose(found.weight[:, others], prior.weight[:, others], atol=1e-6)
    step, slopes = 1e-5, []
    for c in range(3):
        ends = []
        for h in (step, -step):
            weight = found.weight.copy()
            weight[c, 2] += h
            ends.append(loss(problem, Weights(weight, found.bias), 0))
        slopes.append((ends[0] - ends[1]) / (2 * step))
    held = FLOOR * float((problem.x**2).sum()) / 300 * (found.weight - prior.weight)[:, 2]
    np.testing.assert_allclose(slopes, -held, atol=1e-6)
    assert np.abs(found.weight - prior.weight)[:, 2].max() > 0.1


def test_equal_information_is_l2_sp(blobs: Blobs) -> None:
    """With the same for every weight, both penalties are one."""
    problem = blobs().full(40)
    square = float((problem.x**2).sum()) / 40
    problem = replace(problem, fisher=np.full((3, 6), square))
    a, b = softmax(problem, 0.02, "ewc"), softmax(problem, 0.02 + FLOOR, "shipped")
    np.testing.assert_allclose(a.weight, b.weight, atol=1e-6)


def test_a_class_without_information_is_held_like_the_others(blobs: Blobs) -> None:
    """A class that the shipped head lacks is drawn to 0 by the mean of the others' information."""
    problem, shipped, fisher = with_fisher(blobs().full(40))
    prior = Weights(shipped.weight * np.array([[1.0], [1], [0]]), np.append(shipped.bias[:2], ABSENT))
    fisher = fisher * np.array([[1.0], [1], [0]])
    problem = replace(problem, prior=prior, fisher=fisher)
    filled = fisher.copy()
    filled[2] = fisher[:2].mean(axis=0)
    known = replace(problem, prior=Weights(prior.weight, np.append(prior.bias[:2], 0)), fisher=filled)
    np.testing.assert_allclose(softmax(problem, 1.0, "ewc").weight, softmax(known, 1.0, "ewc").weight, atol=1e-9)
    assert not fisher[2].any()
