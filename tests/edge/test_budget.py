"""What adapting costs is told beforehand, and what is not allowed is refused before anything is done."""

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.adaptation import costs, selection
from acclimate.edge.adaptation.adapt import adapt
from acclimate.edge.adaptation.costs import Size, least_seconds, memory, seconds
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.head import LinearHead
from acclimate.edge.heads import AUTO
from acclimate.edge.store.samples import StoredSamples
from acclimate.edge.unknown.fit import fit_novelty
from acclimate.errors import BudgetError, InputError

from ..fixtures.worlds import HOME, World, stored

Blobs = Callable[..., Any]
Dump = Callable[[], list[str]]
SIZE = Size(2_000, 1_280, 10, source=True)


@pytest.fixture
def observed(learner: Learner, scenes: ModuleType) -> Learner:
    """Return a learner with sixty labelled samples."""
    learner.observe(*scenes.frames(60, 2, 1.0))
    return learner


def test_estimates_are_of_what_is_stored_or_asked_for(observed: Learner) -> None:
    """Without a number it is the labelled samples; more samples take more memory and disk."""
    stored_now, many = observed.estimate(), observed.estimate(50_000)
    assert (stored_now.samples, many.samples) == (60, 50_000)
    assert 0 < stored_now.memory < many.memory
    assert 0 < stored_now.disk < many.disk
    assert stored_now.seconds > 0


def test_estimate_before_anything_is_stored(learner: Learner) -> None:
    """An empty store is estimated too."""
    found = learner.estimate()
    assert found.samples == 0
    assert found.memory > 0


@pytest.mark.parametrize("samples", [1, -5, True, 2.5, "10", 10**9 + 1, 10**400])
def test_estimate_refuses_what_is_no_number_of_samples(learner: Learner, samples: int) -> None:
    """Fewer than two samples, more than any store holds, or something else than a whole number, is an input error."""
    with pytest.raises(InputError, match="expected a number of samples from 2 to"):
        learner.estimate(samples)


def test_disk_is_what_the_file_takes(observed: Learner, scenes: ModuleType, tmp_path: Path) -> None:
    """After many samples the file with its log is within a fifth of the bytes told beforehand."""
    told = observed.estimate(1_500).disk
    observed.observe(*scenes.frames(1_440, 3, 1.0))
    observed.close()
    assert told == pytest.approx((tmp_path / "device.db").stat().st_size, rel=0.2)


def test_too_little_memory_is_refused(observed: Learner, dump: Dump) -> None:
    """Below the bound nothing is done; at the bound it is."""
    needed, before = observed.estimate().memory / 1e6, dump()
    with pytest.raises(BudgetError, match=r"expected to need at most 0\.5 MB, found that 60 samples"):
        observed.adapt(max_memory_mb=0.5)
    with pytest.raises(BudgetError, match="Allow more"):
        observed.adapt(max_memory_mb=0.99 * needed)
    assert dump() == before
    assert observed.adapt(max_memory_mb=1.01 * needed).samples == 60


def test_too_little_time_is_refused(observed: Learner, dump: Dump, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine too slow for the least that can be done refuses at once, and changes nothing."""
    before = dump()
    monkeypatch.setattr(costs, "speed", lambda: 1e6)
    with pytest.raises(BudgetError, match="expected to take at most 2 s, found that the least for 60 samples"):
        observed.adapt(max_seconds=2)
    assert dump() == before


def test_little_time_leaves_settings_out(observed: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time is over after the first head, the head is chosen from what was tried by then."""
    monkeypatch.setattr(costs, "speed", lambda: 1e15)
    everything = observed.adapt()
    monkeypatch.setattr(selection, "perf_counter", lambda: float("inf"))
    hurried = observed.adapt(max_seconds=30)
    assert 0 < len(hurried.trials) < len(everything.trials)
    assert {trial.setting.head for trial in hurried.trials} == {"prototype"}


def test_time_is_told_of_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product that is timed runs on one thread, as a small adaptation does; the least is a third of it or less."""
    inside: list[bool] = []

    @contextmanager
    def watched() -> Iterator[None]:
        inside.append(True)
        yield
        inside.append(False)

    def clock() -> float:
        assert inside[-1], "timed outside"
        return time.process_time()

    monkeypatch.setattr(costs, "one_thread", watched)
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=clock))
    assert costs.speed() > 0
    assert inside == [True, False]
    monkeypatch.setattr(costs, "speed", lambda: 1e10)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    little, much = Size(100, 64, 10, source=True), Size(20_000, 1_280, 10, source=True)
    assert least_seconds(little) == pytest.approx(costs._least(little) / 3e10)
    assert least_seconds(much) == pytest.approx(costs._least(much) / 24e10)
    # With a source most of a small one is calls of numpy, which samples hardly lengthen.
    assert seconds(replace(little, samples=20)) > seconds(little) / 2
    assert seconds(little) > 3 * seconds(replace(little, source=False))


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True])
def test_time_must_be_a_number_above_0(observed: Learner, wrong: float) -> None:
    """A budget of time that is none is refused."""
    with pytest.raises((InputError, BudgetError)):
        observed.adapt(max_seconds=wrong)


@pytest.mark.parametrize(
    ("n", "d", "k", "source"),
    [
        (60, 300, 6, False),  # in the span of the samples
        (60, 600, 6, True),  # the same, with a source of low rank
        (1_500, 150, 20, False),  # folds with second moments of their own
        (400, 120, 6, True),  # the same, with a whole second moment
        (150, 700, 3, False),  # wide
        (300, 64, 100, True),  # many classes
    ],
)
def test_memory_is_an_upper_bound(n: int, d: int, k: int, source: bool) -> None:
    """The arrays of an adaptation never take more than told; what is told is not many times as much."""
    world = World(k=k, d=d, distance=4.0)
    shipped = world.shipped(2 * max(d, k), rank=256 if d > 512 else None)
    shipped = shipped if source else Shipped(np.empty(0, np.int64), shipped.code, None, None)
    samples, names = stored(*world.draw(n, 1, HOME)), {i: f"class {i}" for i in range(k)}
    current = shipped.predictor()
    tracemalloc.start()
    try:
        _adapt(samples, shipped, current, names)
        peak = tracemalloc.get_traced_memory()[1] + samples.codes.nbytes
    finally:
        tracemalloc.stop()
    told = memory(Size(n, d, k, source))
    # A few MB are what a process takes for anything at all.
    assert peak <= told <= 2 * peak + 5e6


def _adapt(samples: StoredSamples, shipped: Shipped, current: LinearHead | None, names: dict[int, str]) -> None:
    candidate = adapt(samples, shipped, current, names)
    y = np.searchsorted(candidate.head.classes, samples.classes)
    fit_novelty(samples.codes, y, candidate.selection.fold, len(names), shipped.code, shipped.source)


@pytest.mark.parametrize("factor", ["samples", "width", "classes"])
def test_costs_grow_with_every_factor(monkeypatch: pytest.MonkeyPatch, factor: str) -> None:
    """Twice the samples, dimensions or classes take no less memory and time, and not more than ten times as much."""
    monkeypatch.setattr(costs, "speed", lambda: 1e10)
    twice = replace(SIZE, **{factor: 2 * getattr(SIZE, factor)})
    for cost in (memory, seconds, least_seconds):
        assert cost(SIZE) <= cost(twice) <= 10 * cost(SIZE)


def test_a_source_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the source are tried besides."""
    monkeypatch.setattr(costs, "speed", lambda: 1e10)
    assert seconds(replace(SIZE, source=False)) < seconds(SIZE)
    assert memory(replace(SIZE, source=False)) < memory(SIZE)
    assert least_seconds(SIZE) < seconds(SIZE)


def test_settings_are_those_that_are_tried(blobs: Blobs) -> None:
    """The number of settings that costs are reckoned with is what the heads offer, without a source and with all."""
    bare, full = blobs().problem(20), blobs().full(20)
    full = replace(full, fisher=np.ones((full.k, full.x.shape[1] + 1)))
    for problem, source in ((bare, False), (full, True)):
        assert Size(20, 5, 3, source).settings == sum(len(head.settings(problem)) for head in AUTO)


def test_speed_is_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """One measurement during which the process had to wait does not count."""
    ticks = iter(np.cumsum([*[0.0, 1e-3] * 8, 0.0, 10.0]).tolist())
    monkeypatch.setattr("acclimate.edge.adaptation.costs.time.perf_counter", lambda: next(ticks))
    assert costs.speed() == pytest.approx(2 * 192**3 / 1e-3)
