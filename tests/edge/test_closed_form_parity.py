"""Closed-form heads against scikit-learn, and the joint solution of source and local samples against pooling them."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge.coordinates import Coordinates, fit_coordinates
from acclimate.edge.heads import HEADS, LDA, Head, Problem, Prototype, Setting, Weights
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


@pytest.mark.parametrize("head", [Prototype(), LDA()], ids=lambda head: head.name)
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
    for r in (0.1, 10.0):
        a, b = lda(joint, r, 1.0), lda(pooled, r)
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
    for r in (0.1, 10.0):
        a, b = lda(joint, r, 1.0), lda(pooled, r)
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
        scaled = replace(setting, regularisation=setting.regularisation * (80 / m if head.name == "lda" else 1))
        factor = {"lda": (1 + setting.regularisation) / (1 + scaled.regularisation), "prototype": 80 / m}
        (a,), (b,) = head.solve(problems[0], (setting,)), head.solve(problems[1], (scaled,))
        other, _ = pools(200, 15, d=80)[0]
        near, far = (
            c.layer(w, code).weight @ code.decode(other).T + c.layer(w, code).bias[:, None]
            for c, w in ((narrow, a), (wide, b))
        )
        expected = (far - far.mean(axis=0)) * factor.get(head.name, 1.0)
        np.testing.assert_allclose(near - near.mean(axis=0), expected, atol=1e-3 * np.abs(expected).max())
