"""The probe: drawn from the statistics of the source, whichever form they travel in."""

import numpy as np
import pytest

from acclimate.edge.adaptation.adapt import Shipped
from acclimate.edge.adaptation.probe import (
    IN_ALL,
    PER_CLASS,
    ClassRecall,
    ProbeReport,
    compare_on_probe,
    draw_probe,
    forgets,
)
from acclimate.edge.statistics import SourceStatistics, Statistics

from ..fixtures.worlds import World

WORLD = World(0, k=4, d=24, distance=20.0)


def drawn(statistics: SourceStatistics, seed: int = 0, each: int = PER_CLASS) -> tuple[np.ndarray, np.ndarray]:
    """Return all of a probe."""
    chunks = list(draw_probe(statistics, seed, each))
    return np.vstack([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def source(rank: int | None) -> SourceStatistics:
    """Return the source statistics of the world."""
    found = WORLD.shipped(rank=rank).source
    assert found is not None
    return found


@pytest.mark.parametrize("rank", [None, 6])
def test_means_and_spread_are_those_of_the_source(rank: int | None) -> None:
    """A thousand draws a class have the class's means and the shared variance, of the full and of the low-rank form."""
    statistics = source(rank)
    x, y = drawn(statistics, each=1_000)
    variance = statistics.within_diagonal() / (statistics.samples - 4)
    for label in range(4):
        own = x[y == label]
        error = np.sqrt(variance / len(own))
        assert (np.abs(own.mean(axis=0) - statistics.mean()[label]) < 5 * error).all()
    spread = np.mean([x[y == label].var(axis=0) for label in range(4)], axis=0)
    assert np.allclose(spread, variance, rtol=0.1)


def test_the_full_form_keeps_the_correlations() -> None:
    """The covariance of the draws is that of the source, not only its diagonal."""
    statistics = source(None)
    assert statistics.moment is not None
    x, y = drawn(statistics, each=1_000)
    centred = x - np.stack([x[y == label].mean(axis=0) for label in range(4)])[y]
    expected = (statistics.moment - statistics.mean().T @ statistics.sum) / (statistics.samples - 4)
    correlation = np.corrcoef((centred.T @ centred / len(x)).ravel(), expected.ravel())[0, 1]
    assert correlation > 0.99


def test_a_probe_is_the_same_every_time_and_its_size_is_bounded() -> None:
    """Equal seeds give equal samples, others others; a thousand classes get four each, one without samples none."""
    assert np.array_equal(drawn(source(None))[0], drawn(source(None))[0])
    assert not np.array_equal(drawn(source(None))[0], drawn(source(None), 1)[0])
    count = np.ones(1_001)
    count[7] = 0
    many = SourceStatistics(count, count[:, None] * np.full(3, 100.0), np.zeros((3, 3)), None, None)
    x, y = drawn(many)
    assert len(x) == IN_ALL
    assert 7 not in y
    assert x.min() >= 0
    assert x.max() <= 255


def test_statistics_that_are_no_covariance_are_drawn_from_all_the_same() -> None:
    """A moment below what its means imply, as a forged bundle may hold, gives finite samples within the range."""
    statistics = SourceStatistics(np.array([5.0, 5.0]), np.full((2, 3), 500.0), np.eye(3) * 99_000, None, None)
    x, _ = drawn(statistics)
    assert np.isfinite(x).all()


def test_one_sample_a_class_is_enough() -> None:
    """With no degree of freedom left there is no spread, and no division by zero."""
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4) * 9
    x, y = drawn(SourceStatistics.compress(Statistics.of(codes, np.arange(3), 3)))
    assert np.allclose(x, codes[y], atol=0.01)


def report(after: tuple[float, ...], local: tuple[bool, ...]) -> ProbeReport:
    """Return a report of classes that were all known before."""
    classes = tuple(
        ClassRecall(f"c{i}", 20, seen, 1.0, a) for i, (a, seen) in enumerate(zip(after, local, strict=True))
    )
    return ProbeReport(1.0, float(np.mean(after)), classes)


def test_what_a_head_may_forget() -> None:
    """Ten points, what is gained besides, or what the caller says; a class without samples never."""
    assert forgets(report((0.9, 0.9), (True, True)), 0.0) is None
    assert "forgets the source" in str(forgets(report((0.8, 0.8), (True, True)), 0.0))
    assert forgets(report((0.8, 0.8), (True, True)), 15.0) is None
    assert forgets(report((0.8, 0.8), (True, True)), float("nan")) is not None
    assert forgets(report((0.8, 0.8), (True, True)), 15.0, most=5.0) is not None
    assert forgets(report((0.4, 1.0), (True, True)), 40.0) is None
    assert "c0, of which there are no samples here" in str(forgets(report((0.4, 1.0), (False, True)), 90.0))
    assert forgets(report((0.6, 1.0), (False, True)), 40.0) is None


def test_a_head_that_forgets_a_class_is_seen() -> None:
    """The shipped head keeps everything; without the row of a class it loses that class and no other."""
    shipped = WORLD.shipped()
    head = shipped.predictor()
    assert head is not None
    without = head.present({1: 1, 2: 2, 3: 3})
    same, less = compare_on_probe(shipped, head, [head, without], np.array([1, 2, 3]), WORLD.names)
    assert same.forgotten == 0
    assert same.lost == ()
    assert less.lost == ("class 0",)
    assert less.forgotten == pytest.approx(25, abs=5)
    assert [c.samples for c in less.classes] == [PER_CLASS] * 4
    assert [c.local for c in less.classes] == [False, True, True, True]
    assert isinstance(shipped, Shipped)
