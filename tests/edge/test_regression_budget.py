"""What adapting a regression head costs is told beforehand, and what is not allowed is refused before it is done."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from acclimate.edge import Regressor
from acclimate.edge.adaptation import costs
from acclimate.edge.regression import choice
from acclimate.edge.regression.adaptation import adapt
from acclimate.edge.regression.budget import Size, least_seconds, memory, seconds
from acclimate.edge.regression.head import RegressionHead
from acclimate.edge.regression.ridge import STRENGTHS
from acclimate.errors import BudgetError, InputError

from .regression_world import Line, regression_bundle, stored, truth

SIZE = Size(2_000, 1_280, 2, source=True, head=True)


@pytest.fixture
def observed(tiny_bundle: Path, scenes: ModuleType, tmp_path: Path) -> Iterator[Regressor]:
    """Return a regressor with sixty labelled samples."""
    home, x = scenes.frames(150, 1)[0], scenes.frames(60, 2)[0]
    bundle = regression_bundle(tiny_bundle, tmp_path / "depth.acc", home, truth(tiny_bundle, home))
    with Regressor.open(bundle, tmp_path / "device.db", threads=1) as opened:
        opened.observe(x, truth(tiny_bundle, x, 2) + 5)
        yield opened


def test_estimates_are_of_what_is_stored_or_asked_for(observed: Regressor) -> None:
    """Without a number it is the labelled samples; more samples take more memory and disk; nonsense is refused."""
    now, many = observed.estimate(), observed.estimate(50_000)
    assert (now.samples, many.samples) == (60, 50_000)
    assert 0 < now.memory < many.memory
    assert 0 < now.disk < many.disk
    assert now.seconds > 0
    with pytest.raises(InputError, match="expected a number of samples from 2 to"):
        observed.estimate(1)


def test_too_little_memory_is_refused(observed: Regressor) -> None:
    """Below the bound nothing is done; at the bound it is."""
    needed = observed.estimate().memory / 1e6
    with pytest.raises(BudgetError, match=r"expected to need at most 0\.5 MB, found that 60 samples of 52 dimensions"):
        observed.adapt(max_memory_mb=0.5)
    with pytest.raises(BudgetError, match="Allow more"):
        observed.adapt(max_memory_mb=0.99 * needed)
    assert [version.number for version in observed.versions()] == [0]
    assert observed.adapt(max_memory_mb=1.01 * needed).samples == 60


def test_too_little_time_is_refused(observed: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine too slow for the least that can be done refuses at once."""
    monkeypatch.setattr(costs, "speed", lambda: 1e6)
    with pytest.raises(BudgetError, match="expected to take at most 2 s, found that the least for 60 samples"):
        observed.adapt(max_seconds=2)
    assert [version.number for version in observed.versions()] == [0]


def test_little_time_leaves_settings_out(observed: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time is over after the first decomposition, the head is one of its settings."""
    monkeypatch.setattr(costs, "speed", lambda: 1e15)
    everything = observed.adapt()
    monkeypatch.setattr(choice, "perf_counter", lambda: float("inf"))
    hurried = observed.adapt(max_seconds=30)
    assert 0 < len(hurried.trials) < len(everything.trials)
    assert {(trial.setting.source_weight, trial.setting.prior) for trial in hurried.trials} == {(1.0, "shipped")}


def test_when_the_time_is_over_nothing_that_keeps_the_source_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What forgets too much is then rejected as it is: the second search has a deadline too."""
    world = Line()
    codes, y = world.draw(60, 1)
    y[:, 0] += 0.3 * (codes[:, 0] - 128.0) / 15
    shipped = world.shipped()
    assert shipped.head is not None
    current = RegressionHead(shipped.head)
    searched = adapt(stored(codes), y, shipped, current, max_forgetting=0.05)
    assert searched.source is not None
    assert searched.source[0] - searched.source[1] <= 0.05
    # The clock is asked before every weight of the source and prior but the first, and then once more.
    calls = iter([0.0] * 9)
    monkeypatch.setattr(choice, "perf_counter", lambda: next(calls, 2.0))
    hurried = adapt(stored(codes), y, shipped, current, max_forgetting=0.05, deadline=1.0)
    assert len(hurried.choice.trials) == 10 * len(STRENGTHS)
    assert hurried.judgement.verdict == "rejected"
    assert "forgets the source" in hurried.judgement.reason


@pytest.mark.parametrize("name", ["max_seconds", "max_memory_mb"])
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True, "1"])
def test_limits_must_be_numbers_above_0(observed: Regressor, name: str, wrong: float) -> None:
    """A budget that is none is refused."""
    with pytest.raises(InputError, match=f"expected {name} as a finite number above 0"):
        observed.adapt(**{name: wrong})  # type: ignore[arg-type]  # one of the two


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 10, float("nan"), True, "0.1"])
def test_what_may_be_forgotten_is_a_share(observed: Regressor, wrong: float) -> None:
    """Percent are not mistaken for shares, nor are texts for numbers."""
    with pytest.raises(InputError, match="expected max_forgetting from 0 to 1"):
        observed.adapt(max_forgetting=wrong)


@pytest.mark.parametrize(
    ("n", "d", "t", "rank", "source"),
    [
        (150, 700, 1, None, False),  # in the span of the samples
        (60, 600, 2, 256, True),  # the same, with a source of low rank
        (1_500, 150, 2, None, False),  # all dimensions, turned
        (500, 300, 1, None, True),  # the same, with a whole second moment
        (300, 64, 8, None, True),  # many targets
        (3_000, 40, 1, None, True),  # many samples
    ],
)
@pytest.mark.parametrize("tagged", [False, True])
def test_memory_is_an_upper_bound(n: int, d: int, t: int, rank: int | None, source: bool, tagged: bool) -> None:
    """The arrays of an adaptation never take more than told, also where nearly all samples are of one tag."""
    world = Line(d=d, t=t)
    shipped = world.shipped(2 * max(d, 300), rank)
    if not source:
        shipped = replace(shipped, head=None, source=None)
    codes, y = world.draw(n, 1, offset=1.0)
    # Eight tags of one sample, and one of all others.
    tags = tuple(f"rig {max(i - n + 8, 0)}" for i in range(n)) if tagged else None
    current = None if shipped.head is None else RegressionHead(shipped.head)
    samples = stored(codes, tags)
    adapt(samples, y, shipped, current)
    tracemalloc.start()
    try:
        # No loss is allowed, so that what keeps the source is searched for as well.
        adapt(samples, y, shipped, current, max_forgetting=0.0)
        peak = tracemalloc.get_traced_memory()[1] + codes.nbytes
    finally:
        tracemalloc.stop()
    told = memory(Size(n, d, t, source, source))
    # A few MB are what a process takes for anything at all.
    assert peak <= told - 4e6
    # Fewer units have fewer errors.
    assert tagged or told - 4e6 <= 2 * peak


@pytest.mark.parametrize("factor", ["samples", "width", "targets"])
def test_costs_grow_with_every_factor(monkeypatch: pytest.MonkeyPatch, factor: str) -> None:
    """Twice the samples, dimensions or targets take no less memory and time, and not more than ten times as much."""
    monkeypatch.setattr(costs, "speed", lambda: 1e10)
    twice = replace(SIZE, **{factor: 2 * getattr(SIZE, factor)})
    for cost in (memory, seconds, least_seconds):
        assert cost(SIZE) <= cost(twice) <= 10 * cost(SIZE)


def test_a_source_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the source are tried besides, and the settings are those that a search reports."""
    monkeypatch.setattr(costs, "speed", lambda: 1e10)
    bare = replace(SIZE, source=False, head=False)
    assert seconds(bare) < seconds(SIZE)
    assert memory(bare) < memory(SIZE)
    assert least_seconds(SIZE) < seconds(SIZE)
    world = Line()
    codes, y = world.draw(20, 1)
    shipped = world.shipped()
    assert len(adapt(stored(codes), y, shipped, None).choice.trials) == Size(20, 24, 1, True, True).settings
    shipped = replace(shipped, head=None, source=None)
    assert len(adapt(stored(codes), y, shipped, None).choice.trials) == Size(20, 24, 1, False, False).settings
