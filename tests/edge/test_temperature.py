"""The temperature of held-out logits: the brute-force minimum, and folded into the fitted head."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.adaptation.temperature import best_temperature, best_temperatures, usual_temperature
from acclimate.edge.heads import ABSENT, HEADS, Problem, Setting

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


def aimed(logits: np.ndarray, y: np.ndarray, samples: float) -> np.ndarray:
    """Return the logits that targets smoothed by a quarter of a sample of either kind aim at."""
    rows = np.arange(len(y))
    rest = logits.copy()
    rest[rows, y] = -np.inf
    wrong = 0.25 / (samples + 0.5)
    return np.asarray((1 - wrong) * logits[rows, y] + wrong * rest.max(axis=1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_temperature_is_the_brute_force_minimum(seed: int, scale: float) -> None:
    """No temperature on a fine grid gives a lower cross-entropy with smoothed targets, whatever the logits' scale."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 80)
    logits = rng.normal(size=(80, 3))
    logits[np.arange(80), y] += 1.5
    weight = rng.uniform(0.5, 1.5, 80) / 80
    temperature, each = best_temperature(logits * scale, y, weight)

    def loss(t: float) -> float:
        return float((np.logaddexp.reduce(logits * scale / t, axis=1) - own * scale / t) @ weight)

    aim, own = aimed(logits, y, weight.sum() ** 2 / (weight**2).sum()), logits[np.arange(80), y]
    grid = scale * np.exp(np.linspace(-4, 4, 2_001))
    values = [loss(t) - ((aim - own) * scale / t) @ weight for t in grid]
    assert each @ weight == pytest.approx(loss(temperature), rel=1e-9)
    assert temperature == pytest.approx(grid[int(np.argmin(values))], rel=0.02)


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of which the probabilities are right, and classes drawn from these."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 4))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("usual", [0.02, 1.0, 30.0])
def test_where_one_is_usual_it_is_the_brute_force_mode(usual: float) -> None:
    """It maximises the likelihood of as many samples as the weights are worth, times a gamma density of weight 8."""
    logits, y = drawn(40, 0)
    weight = np.random.default_rng(1).uniform(0.1, 3, 40)
    (found,), _ = best_temperatures(logits[None], y, weight[None], np.array([usual]))
    share, worth = weight / weight.sum(), weight.sum() ** 2 / (weight**2).sum()
    grid = np.exp(np.linspace(-6, 6, 12_001))
    own = aimed(logits, y, worth)
    losses = [worth * share @ (np.logaddexp.reduce(logits / t, axis=1) - own / t) for t in grid]
    values = np.array(losses) + 8 * (usual / grid + np.log(grid / usual))
    assert found == pytest.approx(grid[int(values.argmin())], rel=0.002)


def test_few_samples_move_the_usual_temperature_little_and_many_decide() -> None:
    """Where 1 is usual and right, twelve samples miss it by less than without; at four thousand both agree."""
    missed = np.zeros(2)
    for seed in range(40):
        logits, y = drawn(12, seed)
        both = np.repeat(logits[None], 2, axis=0)
        found, _ = best_temperatures(both, y, np.full((1, 12), 1 / 12), np.array([1.0, np.nan]))
        missed += np.abs(np.log(found)) / 40
    assert missed[0] < 0.25
    assert missed[1] > 1.5 * missed[0]
    logits, y = drawn(4_000, 0)
    many, _ = best_temperatures(np.repeat(logits[None], 2, axis=0), y, np.ones((1, 4_000)), np.array([3.0, np.nan]))
    assert many[0] == pytest.approx(many[1], rel=0.02)


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_samples_that_are_all_right_do_not_make_it_sure(n: int, scale: float) -> None:
    """Of n right samples a quarter of one more is taken to be wrong at any scale; an absent class is no rival."""
    y = np.arange(n) % 4
    logits = np.where(np.eye(5)[y] > 0, 3.0 * scale, 0.0)
    logits[:, 4] = ABSENT
    (found,), each = best_temperatures(logits[None], y, np.full((1, n), 1 / n))
    right = np.exp(3 * scale / found) / (np.exp(3 * scale / found) + 3)
    assert right == pytest.approx(1 - 0.25 / (n + 0.5), rel=1e-4)
    np.testing.assert_allclose(np.exp(-each), right, rtol=1e-4)


def test_few_samples_that_were_all_right_leave_doubt() -> None:
    """A head chosen on 20 samples without an error is not sure of its errors on samples that scatter more widely."""
    losses, sure = [], []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        means, y, fresh = 0.9 * draw.normal(size=(4, 40)), np.arange(20) % 4, np.arange(400) % 4
        problem = Problem(means[y] + draw.normal(size=(20, 40)), y, 4)
        best = cross_validate(problem).best
        assert best.accuracy == pytest.approx(1)
        logits = fit(problem, best).logits(means[fresh] + 2 * draw.normal(size=(400, 40)))
        found = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
        losses.append(-np.log(np.maximum(found[np.arange(400), fresh], 1e-30)).mean())
        sure.append((found.max(axis=1)[logits.argmax(axis=1) != fresh] > 0.999).mean())
    assert np.mean(losses) < 0.8
    assert np.mean(sure) < 0.1


def test_a_usual_temperature_stands_without_a_sample() -> None:
    """With four right samples it is lowered a little."""
    logits = np.where(np.eye(4), 3.0, 0.0)[None]
    (mild,), _ = best_temperatures(logits, np.arange(4), np.full((1, 4), 0.25), np.array([1.0]))
    (alone,), _ = best_temperatures(np.full((1, 4, 4), ABSENT), np.arange(4), np.full((1, 4), 0.25), np.array([1.0]))
    assert 0.5 < mild < 1.1
    assert alone == pytest.approx(1.0, rel=1e-3)


def test_what_is_usual_follows_the_penalty() -> None:
    """Weights that are held back more need more sharpening; of the other heads nothing is known."""
    strengths = [usual_temperature(Setting("softmax", r)) for r in (0.1, 0.004, 0.0001)]
    assert strengths == sorted(strengths)
    assert strengths[-1] == 1
    others = (Setting("lda", 1.0), Setting("prototype", 0.0), Setting("softmax", 0.1, prior="shipped"))
    assert np.isnan([usual_temperature(setting) for setting in others]).all()


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
