"""The temperature of held-out logits: the brute-force minimum, and folded into the fitted head."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.adaptation.temperature import best_temperature
from acclimate.edge.heads import ABSENT, HEADS

Blobs = Callable[..., Any]


def test_the_temperature_is_folded_into_the_fit(blobs: Blobs) -> None:
    """The fitted head is the chosen setting's, its logits divided by the temperature found; absent classes stay so."""
    problem = replace(blobs().problem(60), k=4)
    found = cross_validate(problem)
    head = next(head for head in HEADS if head.name == found.best.setting.head)
    (plain,) = head.solve(problem, (found.best.setting,))
    scaled = fit(problem, found.best)
    np.testing.assert_allclose(scaled.weight * found.best.temperature, plain.weight, rtol=1e-12)
    np.testing.assert_allclose(scaled.bias[:3] * found.best.temperature, plain.bias[:3], rtol=1e-12)
    assert scaled.bias[3] == ABSENT


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_temperature_is_the_brute_force_minimum(seed: int, scale: float) -> None:
    """No temperature on a fine grid gives a lower weighted cross-entropy, whatever the scale of the logits."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 80)
    logits = rng.normal(size=(80, 3))
    logits[np.arange(80), y] += 1.5
    weight = rng.uniform(0.5, 1.5, 80) / 80
    temperature, each = best_temperature(logits * scale, y, weight)

    def loss(t: float) -> float:
        share = np.exp(logits * scale / t - (logits * scale / t).max(axis=1, keepdims=True))
        return float(-np.log((share / share.sum(axis=1, keepdims=True))[np.arange(80), y]) @ weight)

    grid = scale * np.exp(np.linspace(-4, 4, 2_001))
    values = [loss(t) for t in grid]
    assert each @ weight == pytest.approx(loss(temperature), rel=1e-9)
    assert each @ weight <= min(values) + 1e-5
    assert temperature == pytest.approx(grid[int(np.argmin(values))], rel=0.02)


def test_a_class_that_training_lacked_costs_ten_nats_and_moves_no_temperature() -> None:
    """Samples that cannot be predicted cost a fixed amount, whatever the temperature of the others."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 50)
    logits = np.hstack([rng.normal(size=(50, 2)), np.full((50, 1), ABSENT)])
    logits[np.arange(50), y] += 1
    alone, _ = best_temperature(logits, y, np.full(50, 1 / 50))
    more = np.vstack([logits, logits[:5]])
    together, each = best_temperature(more, np.append(y, [2] * 5), np.full(55, 1 / 55))
    assert together == pytest.approx(alone, rel=0.02)
    assert (each[50:] == 10).all()


def test_logits_without_information_have_a_temperature() -> None:
    """Logits that are all equal give a finite temperature and the loss of a blind guess."""
    temperature, each = best_temperature(np.zeros((9, 3)), np.arange(9) % 3, np.full(9, 1 / 9))
    assert np.isfinite(temperature)
    np.testing.assert_allclose(each, np.log(3))
