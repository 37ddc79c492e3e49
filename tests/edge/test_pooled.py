"""Heads from statistics alone: those of the samples, of several learners together, and with samples taken out."""

import numpy as np
import pytest

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.coordinates import LEAST_SPREAD, Coordinates, embed
from acclimate.edge.heads import LDA, Problem, Prototype, Ridge, Setting
from acclimate.edge.heads.closed import ClosedForm, solve_sums
from acclimate.edge.heads.sums import Sums
from acclimate.edge.statistics import Statistics
from acclimate.latent import LatentCode

D, K = 12, 3
HEADS: tuple[ClosedForm, ...] = (Prototype(), LDA(), Ridge())


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw correlated codes with classes."""
    rng = np.random.default_rng(9)
    means, mixing = rng.uniform(90, 160, (K, D)), rng.normal(size=(D, D)) * 5
    draw = np.random.default_rng(seed)
    y = draw.integers(0, K, n)
    return np.clip(np.rint(means[y] + draw.normal(size=(n, D)) @ mixing), 0, 255).astype(np.uint8), y


def code() -> LatentCode:
    """Return a quantization with a scale of its own per dimension."""
    rng = np.random.default_rng(1)
    return LatentCode(rng.uniform(0.01, 0.1, D).astype(np.float32), rng.normal(size=D).astype(np.float32))


def setting(head: ClosedForm) -> Setting:
    """Return a setting of a head."""
    return Setting(head.name, 0.0 if head.name == "prototype" else 1.0)


def solve_statistics(head: ClosedForm, statistics: Statistics, setting: Setting, code: LatentCode) -> LinearLayer:
    """Fit a head on statistics alone, in the coordinates that their own samples would be standardised to."""
    n = float(statistics.count.sum())
    centre = statistics.sum.sum(axis=0) / n
    spread = np.maximum(np.sqrt(np.maximum(np.diag(statistics.moment) / n - centre**2, 0)), LEAST_SPREAD)
    sums = (statistics.sum - statistics.count[:, None] * centre) / spread
    moment = (statistics.moment - n * np.outer(centre, centre)) / np.outer(spread, spread)
    local = Sums(statistics.count, statistics.count, np.zeros(len(sums)), sums)
    (weights,) = solve_sums(head, local, moment, (setting,))
    return Coordinates(centre, spread, None).layer(weights, code)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_statistics_give_the_head_of_the_samples(head: ClosedForm) -> None:
    """A head from statistics has the weights of one that is fitted on the samples, to float32."""
    codes, y = world(200, 0)
    found = solve_statistics(head, Statistics.of(codes, y, K), setting(head), code())
    turned, _ = embed(codes, None, None, code())
    coordinates = Coordinates(turned.centre, turned.spread, None)
    (weights,) = head.solve(Problem(coordinates.of(codes), y, K), (setting(head),))
    expected = coordinates.layer(weights, code())
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-6 * np.abs(expected.weight).max())
    np.testing.assert_allclose(found.bias, expected.bias, atol=1e-5 * np.abs(expected.bias).max())


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_statistics_of_several_learners_give_the_head_of_the_union(head: ClosedForm) -> None:
    """Added up in any order, statistics of three devices give, bit for bit, the head of all their samples."""
    pools = [world(n, seed) for seed, n in enumerate((40, 7, 90))]
    parts = [Statistics.of(*pool, K) for pool in pools]
    union = Statistics.of(np.vstack([codes for codes, _ in pools]), np.concatenate([y for _, y in pools]), K)
    expected = solve_statistics(head, union, setting(head), code())
    for order in ((0, 1, 2), (2, 0, 1)):
        total = parts[order[0]] + parts[order[1]] + parts[order[2]]
        found = solve_statistics(head, total, setting(head), code())
        assert found.weight.tobytes() == expected.weight.tobytes()
        assert found.bias.tobytes() == expected.bias.tobytes()


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_a_sample_taken_out_leaves_no_trace_in_the_head(head: ClosedForm) -> None:
    """Statistics less some samples give, bit for bit, the head that never saw them."""
    codes, y = world(80, 0)
    left = Statistics.of(codes, y, K).without(codes[[3, 50]], y[[3, 50]])
    kept = np.setdiff1d(np.arange(80), [3, 50])
    found = solve_statistics(head, left, setting(head), code())
    expected = solve_statistics(head, Statistics.of(codes[kept], y[kept], K), setting(head), code())
    assert found.weight.tobytes() == expected.weight.tobytes()
    assert found.bias.tobytes() == expected.bias.tobytes()
