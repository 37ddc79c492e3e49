"""Ridge regression in closed form, against refits, pooled samples and scikit-learn."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge.adaptation.coordinates import fit_coordinates
from acclimate.edge.heads.problem import Float64
from acclimate.edge.regression.choice import choose
from acclimate.edge.regression.ridge import SOURCE_WEIGHTS, Problem, Ridge, SourceMoments, System
from acclimate.edge.regression.source import RegressionSource

from .regression_world import Line


def problem(n: int = 40, m: int = 6, t: int = 2, seed: int = 0) -> Problem:
    """Return a problem with weights, units of one and of two samples, and targets far from zero."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, m)) @ draw.normal(size=(m, m)) + 3
    y = x @ draw.normal(size=(m, t)) + draw.normal(size=(n, t)) + 100
    units = np.where(np.arange(n) < 10, np.arange(n), 10 + (np.arange(n) - 10) // 2)
    return Problem(x, y, draw.uniform(0.5, 2, n), units, prior=draw.normal(size=(t, m)))


def normal_equations(x: Float64, y: Float64, s: Float64, penalty: float, start: Float64) -> tuple[Float64, Float64]:
    """Return weights and bias from the plain normal equations, the bias being a column of ones."""
    wide = np.hstack([x, np.ones((len(x), 1))])
    ridge = penalty * np.diag([1.0] * x.shape[1] + [0.0])
    left = (wide * s[:, None]).T @ wide + ridge
    right = (wide * s[:, None]).T @ y + ridge @ np.vstack([start.T, np.zeros((1, y.shape[1]))])
    found = np.linalg.solve(left, right).astype(np.float64)
    return found[:-1].T, found[-1]


def test_it_is_ridge_regression_as_scikit_learn_has_it(sklearn: ModuleType) -> None:
    """Same objective, sample weights and all: the penalty is the strength times the total weight."""
    from sklearn.linear_model import Ridge as Reference

    p = problem()
    for strength in (1e-3, 0.1, 10.0):
        (found,) = System.of(p, 0).solve("none", [strength])
        reference = Reference(strength * p.weight.sum()).fit(p.x, p.y, p.weight)
        np.testing.assert_allclose(found.weight, reference.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.bias, reference.intercept_, rtol=1e-8)


@pytest.mark.parametrize("prior", ["none", "shipped"])
def test_a_held_out_unit_is_predicted_as_a_refit_without_it_would(prior: str) -> None:
    """Single samples and pairs, at every strength, with and without a prior: brute force gives the same."""
    p = problem()
    assert p.prior is not None
    start = p.prior if prior == "shipped" else np.zeros_like(p.prior)
    strengths = [1e-4, 0.1, 10.0]
    found = System.of(p, 0).held_out(prior, strengths)  # type: ignore[arg-type]  # both are priors
    for unit in np.unique(p.units):
        left = p.units != unit
        for place, strength in enumerate(strengths):
            weight, bias = normal_equations(p.x[left], p.y[left], p.weight[left], strength * p.weight.sum(), start)
            np.testing.assert_allclose(found[place][~left], p.x[~left] @ weight.T + bias, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prior", ["none", "shipped"])
def test_units_of_more_samples_than_coordinates_too(prior: str) -> None:
    """Units of 25, 10 and 5 samples in six coordinates: brute force gives the same, at infinite strength as well."""
    p = replace(problem(), units=np.repeat([0, 1, 2], [25, 10, 5]))
    assert p.prior is not None
    strengths = [0.1, 10.0, np.inf]
    found = System.of(p, 0).held_out(prior, strengths)  # type: ignore[arg-type]  # both are priors
    start = p.prior if prior == "shipped" else np.zeros_like(p.prior)
    for unit in range(3):
        left = p.units != unit
        for place, strength in enumerate(strengths):
            penalty = min(strength, 1e9) * p.weight.sum()
            weight, bias = normal_equations(p.x[left], p.y[left], p.weight[left], penalty, start)
            np.testing.assert_allclose(found[place][~left], p.x[~left] @ weight.T + bias, rtol=1e-5)


def test_at_infinite_strength_only_the_constant_is_learnt() -> None:
    """Without a prior that is the mean of the others; with one, the prior with an offset."""
    p = problem()
    held = System.of(p, 0).held_out("none", [np.inf])[0]
    (offset,) = System.of(p, 0).solve("shipped", [np.inf])
    left = p.units != 3
    np.testing.assert_allclose(held[3], np.average(p.y[left], axis=0, weights=p.weight[left]))
    np.testing.assert_array_equal(offset.weight, p.prior)
    np.testing.assert_allclose(
        np.average(p.x @ offset.weight.T + offset.bias - p.y, axis=0, weights=p.weight), 0, atol=1e-9
    )


def test_joint_at_weight_one_is_training_on_the_pooled_samples() -> None:
    """From the source's statistics alone, held-out predictions too; at other weights, on weighted ones."""
    world = Line(t=2)
    (x, y), (sx, sy) = world.draw(30, 1, shift=1.0, offset=2.0), world.draw(200, 2)
    source = RegressionSource.of(sx, sy)
    coordinates = fit_coordinates(x, source.codes, None, world.code)
    p = Problem(coordinates.of(x), y, np.ones(30), np.arange(30) // 3, source.moments(coordinates))
    start = np.zeros((2, p.x.shape[1]))
    for weight in SOURCE_WEIGHTS[1:]:
        system = System.of(p, weight)
        (found,) = system.solve("none", [0.1])
        pooled, targets = np.vstack([p.x, coordinates.of(sx)]), np.vstack([y, sy])
        weights = np.concatenate([np.ones(30), np.full(200, weight)])
        expected, bias = normal_equations(pooled, targets, weights, 0.1 * weights.sum(), start)
        np.testing.assert_allclose(found.weight, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(found.bias, bias, atol=1e-5)
        left = np.concatenate([p.units != 4, np.ones(200, np.bool_)])
        expected, bias = normal_equations(pooled[left], targets[left], weights[left], 0.1 * weights.sum(), start)
        held = system.held_out("none", [0.1])[0][~left[:30]]
        np.testing.assert_allclose(held, (pooled[~left]) @ expected.T + bias, atol=1e-6)


def test_low_rank_statistics_of_full_rank_lose_nothing() -> None:
    """A factor of full rank gives the solution of the second moment, also in a basis of few samples."""
    world = Line(d=40)
    (x, y), (sx, sy) = world.draw(8, 1), world.draw(300, 2)
    found = []
    for rank in (None, 40):
        source = RegressionSource.of(sx, sy, rank)
        coordinates = fit_coordinates(x, source.codes, None, world.code)
        p = Problem(coordinates.of(x), y, np.ones(8), np.arange(8), source.moments(coordinates))
        (weights,) = System.of(p, 1.0).solve("none", [0.01])
        found.append(coordinates.layer(weights, world.code).weight)
    np.testing.assert_allclose(found[1], found[0], atol=1e-3 * np.abs(found[0]).max())


def test_a_prediction_does_not_depend_on_the_labels_of_its_own_unit() -> None:
    """Other labels of a sample change what is predicted for others, and not for itself."""
    p = problem()
    y = p.y.copy()
    y[0] += 1e3
    one, other = choose(p, [Ridge(0.1)]).predicted, choose(replace(p, y=y), [Ridge(0.1)]).predicted
    np.testing.assert_allclose(other[0], one[0], rtol=1e-9)
    assert np.abs(other[1:] - one[1:]).min() > 1e-6


def test_each_unit_is_predicted_by_the_setting_that_the_others_would_choose() -> None:
    """Nested: the loss of a unit has no part in choosing the setting that predicts it."""
    p = replace(problem(n=12), units=np.arange(12), weight=np.ones(12))
    strengths = [0.05, 0.1]
    held = System.of(p, 0).held_out("none", strengths)
    loss = ((held - p.y) ** 2 / p.y.var(axis=0)).sum(axis=2)
    picks = [int((loss.sum(axis=1) - loss[:, i]).argmin()) for i in range(12)]
    assert set(picks) == {0, 1}, "the settings must be close for this to show anything"
    found = choose(p, [Ridge(strength) for strength in strengths])
    np.testing.assert_allclose(found.predicted, held[picks, np.arange(12)])


def test_the_best_setting_comes_first_and_was_fitted_on_all() -> None:
    """The trial of the least loss is chosen; its weights are those of a plain solve."""
    choice = choose(problem())
    losses = [trial.loss for trial in choice.trials]
    assert choice.best is choice.trials[0]
    assert losses == sorted(losses)
    (again,) = System.of(problem(), 0).solve(choice.best.setting.prior, [choice.best.setting.strength])
    np.testing.assert_array_equal(choice.weights.weight, again.weight)


def test_a_misleading_source_is_not_listened_to() -> None:
    """A source whose targets mean the opposite gets no weight; one of the same world does, with few samples."""
    world = Line()
    (x, y), (sx, sy) = world.draw(30, 1), world.draw(1_000, 2)
    chosen = []
    for sign in (1, -1):
        source = RegressionSource.of(sx, sign * sy)
        coordinates = fit_coordinates(x, source.codes, None, world.code)
        p = Problem(coordinates.of(x), y, np.ones(30), np.arange(30), source.moments(coordinates))
        chosen.append(choose(p).best.setting.source_weight)
    assert chosen[0] > 0
    assert chosen[1] == 0


def test_samples_that_are_all_alike_give_finite_numbers() -> None:
    """A dead sensor: no variance, nothing to decompose, and still an answer: the mean."""
    p = Problem(np.zeros((5, 3)), np.arange(5.0)[:, None], np.ones(5), np.arange(5))
    choice = choose(p)
    assert np.isfinite(choice.weights.weight).all()
    np.testing.assert_allclose(choice.weights.bias, 2)


def test_moments_of_nothing_are_not_asked_for() -> None:
    """Without a source no setting has a source weight; without a prior none is drawn to one."""
    p = replace(problem(), prior=None)
    assert {(s.source_weight, s.prior) for s in p.settings()} == {(0.0, "none")}
    moments = SourceMoments(1.0, np.zeros(6), np.eye(6), np.zeros(2), np.zeros((2, 6)))
    assert {s.source_weight for s in replace(p, source=moments).settings()} == set(SOURCE_WEIGHTS)
