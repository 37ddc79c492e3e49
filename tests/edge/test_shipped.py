"""Merging and removing shipped classes: exact where it says so, near the truth where it says that."""

import numpy as np
import pytest

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.adapt import Shipped
from acclimate.edge.adaptation.shipped import merge_rows, merge_statistics
from acclimate.edge.heads import ABSENT
from acclimate.edge.statistics import SourceStatistics, Statistics

from ..fixtures.worlds import World

WORLD = World(3, k=5, d=20)
MERGED = np.array([0, 1, 1, 3, 0])


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Return codes and classes of the source."""
    return WORLD.draw(600, 1)


def test_merging_the_full_form_is_exact() -> None:
    """Statistics of merged classes are to the bit those of samples that were labelled so from the beginning."""
    x, y = samples()
    found = merge_statistics(SourceStatistics.compress(Statistics.of(x, y, 5)), MERGED)
    ids, again = np.unique(MERGED[y], return_inverse=True)
    expected = SourceStatistics.compress(Statistics.of(x, again, len(ids)))
    assert found.moment is not None
    assert expected.moment is not None
    assert np.array_equal(found.count, expected.count)
    assert np.array_equal(found.sum, expected.sum)
    assert np.array_equal(found.moment, expected.moment)


def test_merging_the_low_rank_form_adds_what_lies_between_the_means() -> None:
    """At full rank, merged factor and diagonal give the scatter within the merged classes."""
    x, y = samples()
    found = merge_statistics(SourceStatistics.compress(Statistics.of(x, y, 5), rank=20), MERGED)
    within = Statistics.of(x, np.unique(MERGED[y], return_inverse=True)[1], 3).within()
    assert found.factor is not None
    assert found.diagonal is not None
    factor = found.factor.astype(np.float64)
    assert np.allclose(factor.T @ factor + np.diag(found.diagonal), within, rtol=1e-4, atol=1e-4 * within.max())
    assert np.allclose(found.within_diagonal(), np.diag(within), rtol=1e-5)


@pytest.mark.parametrize("rank", [None, 20])
def test_removing_comes_near_the_statistics_of_the_others(rank: int | None) -> None:
    """Without a class, counts and sums are exact, and the scatter within is that of the others to a few percent."""
    x, y = samples()
    classes = np.array([0, -1, 2, 3, 4])
    found = merge_statistics(SourceStatistics.compress(Statistics.of(x, y, 5), rank), classes)
    left = np.flatnonzero(y != 1)
    expected = Statistics.of(x[left], np.searchsorted([0, 2, 3, 4], y[left]), 4)
    assert np.array_equal(found.count, expected.count)
    assert np.array_equal(found.sum, expected.sum)
    assert np.allclose(found.within_diagonal(), np.diag(expected.within()), rtol=0.15)
    assert found.within_diagonal().sum() == pytest.approx(np.trace(expected.within()), rel=0.03)


def test_what_did_not_change_is_not_touched() -> None:
    """With every class in its place the shipped things are the same objects."""
    shipped = WORLD.shipped()
    assert shipped.present() is shipped


def test_a_merged_row_is_a_tangent_of_the_sum() -> None:
    """A merged logit equals the log-sum-exp of its rows where they agree, and is nowhere above it."""
    rng = np.random.default_rng(0)
    layer = LinearLayer(rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32))
    found = merge_rows(layer, MERGED)
    x = rng.normal(size=(200, 3)) * 3
    own, merged = x @ layer.weight.T + layer.bias, x @ found.weight.T + found.bias
    exact = np.logaddexp(own[:, 1], own[:, 2])
    assert (merged[:, 1] <= exact + 1e-5).all()
    assert np.allclose(merged[:, 2], own[:, 3], atol=1e-5)
    apart = layer.weight[1] - layer.weight[2]
    middle = x - np.outer((own[:, 1] - own[:, 2]) / (apart @ apart), apart)
    there = middle @ layer.weight.T + layer.bias
    assert np.allclose((middle @ found.weight.T + found.bias)[:, 1], np.logaddexp(there[:, 1], there[:, 2]), atol=1e-4)


def test_a_row_that_cannot_be_predicted_stays_so() -> None:
    """An absent row adds nothing to the class that it is merged into, and alone it stays absent."""
    layer = LinearLayer(np.eye(3, dtype=np.float32), np.array([1, ABSENT, ABSENT], np.float32))
    found = merge_rows(layer, np.array([0, 0, 2]))
    assert np.array_equal(found.weight[0], layer.weight[0])
    assert found.bias.tolist() == [1, np.float32(ABSENT)]


def test_the_predictor_adds_probabilities_of_merged_rows() -> None:
    """What is compared with keeps every row: a merged class is as probable as its parts together."""
    shipped = WORLD.shipped()
    whole = shipped.predictor()
    changed = Shipped(np.array([0, 1, 1, -1, 4]), shipped.code, shipped.head, shipped.source)
    merged = changed.predictor()
    assert whole is not None
    assert merged is not None
    latents = shipped.code.decode(samples()[0][:50])
    before, after = whole.probabilities(latents).astype(np.float64), merged.probabilities(latents)
    assert merged.ids.tolist() == changed.ids.tolist() == [0, 1, 4]
    left = before[:, [0, 1, 2, 4]] / before[:, [0, 1, 2, 4]].sum(axis=1, keepdims=True)
    assert np.allclose(after, np.column_stack([left[:, 0], left[:, 1] + left[:, 2], left[:, 3]]), atol=1e-4)
    assert Shipped(np.full(5, -1), shipped.code, shipped.head, shipped.source).predictor() is None
