"""The objective of logistic regression and its minimiser, against finite differences and known minima."""

from dataclasses import replace

import numpy as np
import pytest

from acclimate.edge.heads import conjugate
from acclimate.edge.heads.conjugate import _line, minimise
from acclimate.edge.heads.logistic import Objective, inner, probabilities
from acclimate.edge.heads.plane import plane

from .logistic_problems import Draw, gradient


def alone(objective: Objective, place: int) -> Objective:
    """Return one of the objectives."""
    return objective.pick(np.array([place]))


@pytest.mark.parametrize("seed", range(5))
def test_the_value_is_cross_entropy_and_penalty(seed: int) -> None:
    """Sample by sample and weight by weight, in plain Python."""
    made, theta = Draw().objective(seed), Draw().point(seed)
    found = made.value(theta)
    for place in range(2):
        weights, total = theta[:, place], 0.0
        for row, label, share in zip(made.x, made.y, made.weight, strict=True):
            logits = [float(w[:-1] @ row + w[-1]) for w in weights]
            total += share * (np.log(sum(np.exp(logits))) - logits[label])
        away = weights - made.prior[:, place]
        assert found[place] == pytest.approx(total + 0.5 * (made.penalty[:, place] * away * away).sum(), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_gradient_is_the_slope_of_the_value(seed: int) -> None:
    """Along any direction the gradient equals the central difference of the value."""
    made, point, direction, step = Draw().objective(seed), Draw().point(seed), Draw().point(seed + 50), 1e-5
    slope = (made.value(point + step * direction) - made.value(point - step * direction)) / (2 * step)
    np.testing.assert_allclose(inner(gradient(made, point), direction), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [0.0, 0.7, 30.0])
def test_a_line_knows_its_slope_and_curvature(seed: int, length: float) -> None:
    """Anywhere on it, they equal central differences of the value and of the gradient, the Hessian's quadratic form."""
    made, point, direction, step = Draw().objective(seed), Draw().point(seed), Draw().point(seed + 50), 1e-5
    line, at = _line(made, point - made.prior, direction, made.logits(point)), np.full(2, length)
    probability = probabilities(line.logits + at[:, None] * line.along)
    mean = (probability * line.along).sum(axis=0)
    ends = [point + (length + h) * direction for h in (step, -step)]
    slope = (made.value(ends[0]) - made.value(ends[1])) / (2 * step)
    np.testing.assert_allclose(line.slope(at, mean), slope, rtol=1e-6, atol=1e-8)
    bent = inner(gradient(made, ends[0]) - gradient(made, ends[1]), direction) / (2 * step)
    np.testing.assert_allclose(line.curvature(probability, mean), bent, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [0.0, 0.7, 30.0])
def test_a_plane_knows_its_slopes_and_curvatures(seed: int, length: float) -> None:
    """Anywhere in it, they equal central differences of the value and of the gradient."""
    made, start, step = Draw().objective(seed), Draw().point(seed), 1e-5
    directions = (Draw().point(seed + 50), Draw().point(seed + 60))
    along = (made.logits(directions[0]), made.logits(directions[1]))
    searched = plane(made, start - made.prior, made.logits(start), directions, along)
    at = np.tile([length, -0.4], (2, 1))
    probability = probabilities(searched.at(at))
    slopes, bend = searched.slope(probability, at), searched.curvature(probability)
    point = start + length * directions[0] - 0.4 * directions[1]
    for place, direction in enumerate(directions):
        ends = [point + h * direction for h in (step, -step)]
        slope = (made.value(ends[0]) - made.value(ends[1])) / (2 * step)
        np.testing.assert_allclose(slopes[:, place], slope, rtol=1e-6, atol=1e-8)
        change = (gradient(made, ends[0]) - gradient(made, ends[1])) / (2 * step)
        bent = np.stack([inner(change, other) for other in directions], axis=1)
        np.testing.assert_allclose(bend[:, place], bent, rtol=1e-6, atol=1e-8)


def test_scale_is_the_hessians_diagonal_at_equal_probabilities() -> None:
    """With equal sample weights, against central differences of the gradient."""
    drawn = Draw()
    made = replace(drawn.objective(0), weight=np.full(drawn.n, 1 / drawn.n))
    theta, step, found = np.zeros((3, 2, 5)), 1e-6, made.scale(made.squares())
    for index in np.ndindex(theta.shape):
        away = theta.copy()
        away[index] = step
        diagonal = (gradient(made, away)[index] - gradient(made, -away)[index]) / (2 * step)
        assert found[index] == pytest.approx(diagonal, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_is_flat_and_found_from_anywhere(seed: int) -> None:
    """The gradient vanishes at what is found, and every start finds the same point."""
    made, far = Draw().objective(seed, floor=0.05), Draw().point(seed)
    found = [minimise(made, start, 1e-9) for start in (made.prior, 3 * far, np.zeros_like(far))]
    assert np.abs(gradient(made, found[0])).max() < 1e-8
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_far_start_does_not_diverge(dtype: type) -> None:
    """Where every probability is 0 or 1 and Newton's step is far too long, the minimum is still found."""
    drawn = Draw()
    made = replace(drawn.objective(0), penalty=np.full((3, 2, 5), 1e-3))
    best = made.value(minimise(made, made.prior, 1e-9))
    parts = {name: getattr(made, name).astype(dtype) for name in ("x", "weight", "penalty", "prior")}
    found = minimise(replace(made, **parts), 1e3 * drawn.point(0), 1e-4)
    assert found.dtype == dtype
    np.testing.assert_allclose(made.value(found.astype(float)), best, rtol=1e-4)


def test_weights_of_very_different_scale_are_found() -> None:
    """Columns whose squares differ by 1e8 and penalties that differ by 1e6, as Fisher information gives them."""
    drawn = Draw(n=60, m=8, s=1)
    made = drawn.objective(0)
    made = replace(made, x=made.x * np.geomspace(1e-2, 1e2, 8), penalty=made.penalty * np.geomspace(1e-6, 1, 9) + 1e-9)
    found = minimise(made, made.prior, 1e-10)
    bent = [minimise(made, found + away, 1e-10) for away in (0.01, -0.01)]
    assert made.value(found)[0] <= min(made.value(theta)[0] for theta in bent) + 1e-9


def test_objectives_do_not_disturb_one_another() -> None:
    """Minimised together or alone, easy and hard ones alike, an objective has the same minimum."""
    drawn = Draw(s=4)
    made = drawn.objective(3)
    made = replace(made, penalty=made.penalty * np.array([1e4, 1, 1e-2, 1e-3])[:, None] + 1e-4)
    together = minimise(made, made.prior, 1e-9)
    for place in range(4):
        only = alone(made, place)
        np.testing.assert_allclose(minimise(only, only.prior, 1e-9)[:, 0], together[:, place], rtol=1e-5, atol=1e-6)


def test_a_warm_start_arrives_at_once() -> None:
    """From the minimum no step is taken; from nearby a few steps do what takes more from afar."""
    drawn = Draw(n=200, m=30, s=1)
    made = drawn.objective(0, floor=1e-3)
    best = minimise(made, made.prior, 1e-8)
    np.testing.assert_allclose(minimise(made, best, 1e-6), best, rtol=1e-12)
    near, far = best + 1e-3 * drawn.point(1), best + drawn.point(1)
    gaps = [made.value(minimise(made, start, 0.0, steps=4))[0] - made.value(best)[0] for start in (near, far)]
    assert gaps[0] < 1e-3 * gaps[1]


def test_steps_bound_the_work() -> None:
    """With no step allowed, the start comes back."""
    made, start = Draw().objective(0), Draw().point(0)
    np.testing.assert_allclose(minimise(made, start, 1e-9, steps=0), start, rtol=1e-12)


def test_no_tolerance_ends_where_rounding_begins() -> None:
    """Asked for what no arithmetic can give, the search ends at the minimum all the same."""
    made = Draw().objective(0, floor=0.05)
    found = minimise(made, made.prior, 0.0)
    assert np.abs(gradient(made, found)).max() < 1e-12


def test_far_from_the_quadratic_a_plane_saves_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that can be told apart, next to no penalty: in as many steps, lines alone leave ten times the loss."""
    drawn = Draw(n=60, m=300, s=1)
    made = replace(drawn.objective(0), penalty=np.full((1, 1, 301), 1e-9), prior=np.zeros((3, 1, 301)))
    in_planes = made.value(minimise(made, made.prior, 0.0, steps=4))[0]
    monkeypatch.setattr(conjugate, "LINE_TRIES", conjugate.MAX_TRIES)
    along_lines = made.value(minimise(made, made.prior, 0.0, steps=4))[0]
    assert in_planes < 0.1 * along_lines
