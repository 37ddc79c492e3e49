"""A clock that is set back, forward or to nothing: order and meaning of what is stored do not hang on it."""

import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from acclimate.edge import Learner
from acclimate.errors import UpdateReplayError

from .faults.model import read_staged, read_state
from .faults.operations import answers, frames

DAY = 24 * 3600.0
NOW = 1.7e9


@pytest.fixture
def learner(tiny_bundle: Path, tmp_path: Path) -> Iterator[Learner]:
    """Open a learner with a new store."""
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as opened:
        yield opened


def life(learner: Learner, folder: Path) -> list[object]:
    """Use a learner in every way that writes a time down, and return all that must not depend on it."""
    found: list[object] = []
    for seed in (1, 2, 3):
        x, y = frames(seed, 40)
        ids = learner.observe(x, y)
        report = learner.adapt(on_insufficient="apply")
        found += [ids.tolist(), report.applied, report.version, answers(learner)]
    found.append(learner.forget(ids[:1]).versions)
    found += [answers(learner), [(v.number, v.current) for v in learner.versions()], learner.rollback()]
    numbers = []
    for _ in range(3):
        numbers.append(learner.save_update(folder / "head.accu", overwrite=True))
        learner.apply_update(folder / "head.accu")
    assert numbers == sorted(set(numbers)), "an update that is made later has a higher number"
    with pytest.raises(UpdateReplayError):
        learner.apply_update(folder / "head.accu")
    return [*found, answers(learner), [(v.number, v.current) for v in learner.versions()]]


@pytest.mark.parametrize(
    "times",
    [
        [NOW - i * DAY for i in range(1000)],
        [NOW, 0.0],
        [0.0],
        [NOW, NOW + 4000 * DAY, NOW - 4000 * DAY],
        [-5.0, 2.0**33],
    ],
    ids=["back by the day", "back to nothing", "no clock", "to and fro", "before and after all"],
)
def test_a_clock_that_jumps_changes_nothing(
    learner: Learner, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[float]
) -> None:
    """Ids, verdicts, heads and the history are those of a life with a good clock."""
    with Learner.open(tiny_bundle, tmp_path / "good.db", threads=1) as good:
        expected = life(good, tmp_path)
    ticks = cycle(times)
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    assert life(learner, tmp_path) == expected
    monkeypatch.undo()
    told = answers(learner)
    learner.close()
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as again:
        assert answers(again) == told
    assert not read_state(tmp_path / "device.db").refit


def test_what_was_put_aside_in_the_future_goes(
    learner: Learner, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents put aside by a clock that was a year ahead do not stay for a year: the next opening drops them."""
    monkeypatch.setattr(time, "time", lambda: NOW + 365 * DAY)
    x, _ = frames(5, 3)
    store = learner._session.store
    store.stage([store.digest(frame) for frame in x], learner._session.codes(x))
    assert read_staged(tmp_path / "device.db") == 3
    learner.close()
    monkeypatch.setattr(time, "time", lambda: NOW)
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1):
        assert read_staged(tmp_path / "device.db") == 0
