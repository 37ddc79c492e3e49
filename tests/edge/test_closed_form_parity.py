"""Closed-form heads against scikit-learn, and the joint solution of source and local samples against pooling them."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.coordinates import Coordinates, fit_coordinates
from acclimate.edge.heads import HEADS, LDA, Head, Problem, Prototype, Ridge, Setting, Weights
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.latent import LatentCode

Blobs = Callable[..., Any]
Pool = tuple[np.ndarray, np.ndarray]


def lda(problem: Problem, r: float, source_weight: float = 0.0) -> Weights:
    """Solve one setting of the lda head."""
    return LDA().solve(problem, (Setting("lda", r, source_weight),))[0]


@pytest.mark.parametrize("n", [9, 200])
def test_prototype_is_nearest_centroid(sklearn: ModuleType, blobs: Blobs, n: int) -> None:
    """The prototype head predicts what scikit-learn's NearestCentroid predicts."""
    from sklearn.neighbors import NearestCentroid

    world = blobs(apart=0.7)
    problem, (x, _) = world.problem(n), world.draw(500, 5)
    (weights,) = Prototype().solve(problem, (Setting("prototype", 0.0),))
    expected = NearestCentroid().fit(problem.x, problem.y).predict(x)
    assert (weights.logits(x).argmax(axis=1) == expected).all()


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("r", [0.1, 1.0, 30.0])
def test_lda_is_scikit_learns(sklearn: ModuleType, blobs: Blobs, r: float, solver: str) -> None:
    """With shrinkage r / (1 + r), scikit-learn finds the same discriminants, but for its divisor n instead of n - k."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    n, k = 90, 3
    problem = blobs(k=k, apart=1.0).problem(n)
    found = lda(problem, r)
    oracle = LinearDiscriminantAnalysis(solver=solver, shrinkage=r / (1 + r), priors=np.full(k, 1 / k))
    x = blobs(k=k, apart=1.0).draw(200, 5)[0]
    expected = oracle.fit(problem.x, problem.y).decision_function(x) - np.log(1 / k)
    np.testing.assert_allclose(differences(found.logits(x)) * n / (n - k), differences(expected), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_lda_is_scikit_learns_with_unequal_classes(sklearn: ModuleType, blobs: Blobs, r: float) -> None:
    """Classes of unequal size weigh by their samples in the covariance, and not at all in the decision."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    whole = blobs(apart=1.0).problem(150)
    problem = whole.subset((whole.y > 0) | (np.arange(150) % 5 == 0))
    n, k = len(problem.y), problem.k
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=r / (1 + r)).fit(problem.x, problem.y)
    expected = oracle.decision_function(whole.x) - np.log(problem.counts / n)
    found = lda(problem, r).logits(whole.x) * n / (n - k)
    np.testing.assert_allclose(differences(found), differences(expected), rtol=1e-8, atol=1e-8)


def differences(logits: np.ndarray) -> np.ndarray:
    """Return logits less the first class's, which is all that a decision depends on."""
    result: np.ndarray = logits[:, 1:] - logits[:, :1]
    return result


def test_infinite_regularisation_is_the_nearest_mean(blobs: Blobs) -> None:
    """Shrunk all the way, the discriminants are the prototypes."""
    world = blobs(apart=0.7)
    problem, (x, _) = world.problem(60), world.draw(500, 5)
    (prototypes,) = Prototype().solve(problem, (Setting("prototype", 0.0),))
    assert (lda(problem, 1e9).logits(x).argmax(axis=1) == prototypes.logits(x).argmax(axis=1)).all()


def ridge(problem: Problem, r: float, source_weight: float = 0.0) -> Weights:
    """Solve one setting of the ridge head."""
    return Ridge().solve(problem, (Setting("ridge", r, source_weight),))[0]


def mean_variance(problem: Problem) -> float:
    """Return the mean of the diagonal of the scatter within the classes, which is the unit of the regularisation."""
    means = np.stack([problem.x[problem.y == c].mean(axis=0) for c in range(problem.k)])
    return float(((problem.x - means[problem.y]) ** 2).sum() / problem.x.shape[1])


@pytest.mark.parametrize("r", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("n", "m"), [(90, 5), (30, 60)])
def test_ridge_is_scikit_learns(sklearn: ModuleType, blobs: Blobs, r: float, n: int, m: int) -> None:
    """With classes of one size it is ridge regression on the class indicators, to the last weight."""
    from sklearn.linear_model import Ridge as Oracle

    problem = blobs(m=m, apart=0.7).problem(n)
    oracle = Oracle(alpha=r * mean_variance(problem)).fit(problem.x, np.eye(3)[problem.y])
    found = ridge(problem, r)
    np.testing.assert_allclose(found.weight, oracle.coef_, atol=1e-9 * np.abs(oracle.coef_).max())
    np.testing.assert_allclose(found.bias, oracle.intercept_, atol=1e-9)


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_ridge_decides_as_the_ridge_classifier(sklearn: ModuleType, blobs: Blobs, r: float) -> None:
    """With classes of one size it predicts what scikit-learn's RidgeClassifier with balanced classes predicts."""
    from sklearn.linear_model import RidgeClassifier

    world = blobs(k=4, m=20, apart=0.5)
    problem, (x, _) = world.problem(120), world.draw(500, 5)
    oracle = RidgeClassifier(alpha=r * mean_variance(problem), class_weight="balanced").fit(problem.x, problem.y)
    assert (ridge(problem, r).logits(x).argmax(axis=1) == oracle.predict(x)).all()


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_ridge_with_unequal_classes_shares_the_covariance(sklearn: ModuleType, blobs: Blobs, r: float) -> None:
    """Classes of unequal size and weight: ridge regression on points that have the means and the shared covariance."""
    from sklearn.linear_model import Ridge as Oracle

    whole = blobs(apart=0.7).problem(150)
    problem = whole.subset((whole.y > 0) | (np.arange(150) % 5 == 0))
    problem = replace(problem, weight=np.where(problem.y == 1, 3.0, 1.0))
    w, k, m = problem.weights, problem.k, problem.x.shape[1]
    mean = np.stack([problem.x[problem.y == c].mean(axis=0) for c in range(k)])
    away = (problem.x - mean[problem.y]) * np.sqrt(w)[:, None]
    scatter, n = away.T @ away, w.sum()
    # Per class 2 m points about its mean whose covariance is scatter / n, with the class's share of the weight.
    spokes = np.linalg.cholesky(scatter / n).T * np.sqrt(m)
    points = np.concatenate([mean[c] + np.vstack([spokes, -spokes]) for c in range(k)])
    share = np.array([1, 3, 1]) / 5
    oracle = Oracle(alpha=r * np.trace(scatter) / m / n)
    y = np.repeat(np.arange(k), 2 * m)
    oracle.fit(points, np.eye(k)[y], sample_weight=share[y] / (2 * m))
    found = ridge(problem, r)
    np.testing.assert_allclose(found.weight, oracle.coef_, atol=1e-9 * np.abs(oracle.coef_).max())
    np.testing.assert_allclose(found.bias, oracle.intercept_, atol=1e-9)


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_a_weight_is_so_many_samples_in_lda(sklearn: ModuleType, blobs: Blobs, r: float) -> None:
    """Whole weights, alike on average in each class, give what scikit-learn gives for the samples repeated."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    problem = blobs(apart=0.7).problem(60)
    weight = np.empty(60)
    for label in range(3):
        weight[problem.y == label] = np.arange(20) % 4 + 1
    rows = np.repeat(np.arange(60), weight.astype(int))
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=r / (1 + r)).fit(problem.x[rows], problem.y[rows])
    expected = differences(oracle.decision_function(problem.x))
    found = differences(lda(replace(problem, weight=weight), r).logits(problem.x)) * len(rows) / (len(rows) - 3)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_a_heavier_class_is_a_likelier_one_in_lda(blobs: Blobs) -> None:
    """A class of three times the weight has the logarithm of three more, apart from the covariance."""
    problem = Problem(np.repeat(np.eye(3), 2, axis=0), np.repeat(np.arange(3), 2), 3)
    weight = np.where(problem.y == 1, 3.0, 1.0)
    found = [lda(replace(problem, weight=w), 0.1).bias - lda(problem, 0.1).bias for w in (weight, np.ones(6))]
    # The scatter is 0 here, so that the weights depend on the degrees of freedom alone.
    free = [float(w.sum()) - 3 for w in (weight, np.ones(6))]
    assert free == [7, 3]
    assert (found[0] - found[0][0])[1] == pytest.approx(np.log(3))
    assert not found[1].any()


@pytest.mark.parametrize("head", [Prototype(), LDA(), Ridge()], ids=lambda head: head.name)
def test_source_weight_one_is_training_on_everything(head: Head, blobs: Blobs) -> None:
    """Local samples with the source's statistics at weight 1 give what the pooled samples give."""
    world = blobs()
    (x, y), (x_source, y_source) = world.draw(20, 1), world.draw(70, 2)
    joint = replace(world.problem(20), source=world.source(70))
    pooled = Problem(np.vstack([x, x_source]), np.append(y, y_source), 3)
    for setting in head.settings(pooled):
        (a,) = head.solve(joint, (replace(setting, source_weight=1.0),))
        (b,) = head.solve(pooled, (setting,))
        np.testing.assert_allclose(a.weight, b.weight, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(a.bias, b.bias, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_ridge_at_source_weight_one_is_scikit_learns_on_everything(sklearn: ModuleType, blobs: Blobs, r: float) -> None:
    """Joint from statistics, it is scikit-learn's ridge regression on the pooled samples."""
    from sklearn.linear_model import Ridge as Oracle

    world = blobs()
    (x, y), (x_source, y_source) = world.draw(21, 1), world.draw(72, 2)
    pooled = Problem(np.vstack([x, x_source]), np.append(y, y_source), 3)
    oracle = Oracle(alpha=r * mean_variance(pooled)).fit(pooled.x, np.eye(3)[pooled.y])
    found = ridge(replace(world.problem(21), source=world.source(72)), r, 1.0)
    np.testing.assert_allclose(found.weight, oracle.coef_, atol=1e-9 * np.abs(oracle.coef_).max())
    np.testing.assert_allclose(found.bias, oracle.intercept_, atol=1e-9)


@pytest.mark.parametrize("r", [0.1, 10.0])
def test_source_weight_counts_samples(blobs: Blobs, r: float) -> None:
    """At weight 1/4 the source counts as if every local sample were there four times: same directions, other scale."""
    world = blobs()
    (x, y), (x_source, y_source) = world.draw(20, 1), world.draw(70, 2)
    joint = lda(replace(world.problem(20), source=world.source(70)), r, 0.25)
    pooled = lda(Problem(np.vstack([np.tile(x, (4, 1)), x_source]), np.append(np.tile(y, 4), y_source), 3), r)
    ratio = joint.weight / pooled.weight
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
    np.testing.assert_allclose(joint.bias / pooled.bias, ratio[0, 0], rtol=1e-9)


def pools(n: int, n_source: int, d: int, k: int = 3) -> tuple[Pool, Pool]:
    """Draw local and source codes of the same classes, the local ones shifted."""
    rng = np.random.default_rng(d)
    mean, mixing = rng.uniform(90, 160, (k, d)), rng.normal(size=(d, d)) * 8 / np.sqrt(d)

    def draw(count: int, shift: float) -> Pool:
        y = np.arange(count) % k
        values = mean[y] + shift + rng.normal(size=(count, d)) @ mixing + rng.normal(size=(count, d)) * 4
        return np.clip(np.rint(values), 0, 255).astype(np.uint8), y

    return draw(n, 15.0), draw(n_source, 0.0)


def joint_and_pooled(coordinates: Coordinates, local: Pool, source: Pool, shipped: SourceStatistics) -> list[Problem]:
    """Return the problem with the source as statistics, and the one with its samples, in the same coordinates."""
    term = coordinates.source(shipped, np.arange(3), 3)
    joint = Problem(coordinates.of(local[0]), local[1], 3, term)
    codes, y = np.vstack([local[0], source[0]]), np.append(local[1], source[1])
    return [joint, Problem(coordinates.of(codes), y, 3)]


def code_of(d: int) -> LatentCode:
    """Return a quantization of latents."""
    rng = np.random.default_rng(0)
    return LatentCode(rng.uniform(0.01, 0.1, d).astype(np.float32), rng.normal(size=d).astype(np.float32))


def test_whole_moment_gives_the_pooled_solution_on_codes() -> None:
    """From integer codes through the coordinates, joint and pooled head agree to rounding."""
    local, source = pools(20, 300, d=12)
    shipped = SourceStatistics.compress(Statistics.of(*source, 3))
    coordinates = fit_coordinates(local[0], shipped, None, code_of(12))
    assert coordinates.width == 12
    joint, pooled = joint_and_pooled(coordinates, local, source, shipped)
    for solve in (lda, ridge):
        for r in (0.1, 10.0):
            a, b = solve(joint, r, 1.0), solve(pooled, r)
            np.testing.assert_allclose(a.weight, b.weight, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-8, atol=1e-10)


def test_low_rank_gives_the_pooled_solution_where_it_is_complete() -> None:
    """In a basis narrower than the latent, a factor that holds the whole scatter gives the pooled head to 1e-5."""
    local, source = pools(20, 15, d=80)
    shipped = SourceStatistics.compress(Statistics.of(*source, 3), rank=12)
    coordinates = fit_coordinates(local[0], shipped, None, code_of(80))
    assert coordinates.basis is not None
    assert coordinates.width < 80
    joint, pooled = joint_and_pooled(coordinates, local, source, shipped)
    for solve in (lda, ridge):
        for r in (0.1, 10.0):
            a, b = solve(joint, r, 1.0), solve(pooled, r)
            np.testing.assert_allclose(a.weight, b.weight, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_a_basis_changes_no_decision(head: Head) -> None:
    """Solved in the basis or in the whole space, a head decides alike; lda at the same absolute shrinkage."""
    (codes, y), source = pools(20, 15, d=80)
    shipped, code = SourceStatistics.compress(Statistics.of(*source, 3), rank=12), code_of(80)
    narrow = fit_coordinates(codes, shipped, None, code)
    assert narrow.basis is not None
    wide, m = replace(narrow, basis=None), narrow.width
    problems = [Problem(c.of(codes), y, 3, c.source(shipped, np.arange(3), 3)) for c in (narrow, wide)]
    for setting in head.settings(problems[0]):
        # lda shrinks towards the mean of the diagonal over the coordinates, prototype divides by their number.
        scaled = replace(
            setting, regularisation=setting.regularisation * (80 / m if head.name in ("lda", "ridge") else 1)
        )
        factor = {"lda": (1 + setting.regularisation) / (1 + scaled.regularisation), "prototype": 80 / m}
        (a,), (b,) = head.solve(problems[0], (setting,)), head.solve(problems[1], (scaled,))
        other, _ = pools(200, 15, d=80)[0]
        near, far = (
            c.layer(w, code).weight @ code.decode(other).T + c.layer(w, code).bias[:, None]
            for c, w in ((narrow, a), (wide, b))
        )
        expected = (far - far.mean(axis=0)) * factor.get(head.name, 1.0)
        np.testing.assert_allclose(near - near.mean(axis=0), expected, atol=1e-3 * np.abs(expected).max())
