"""Versions: each predicts the same bits whenever it is in use, in any thread, after any restart."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.errors import InputError

from .learners import in_use

Bits = Callable[[Learner, np.ndarray], bytes]


def test_rolling_back_restores_every_bit(learner: Learner, scenes: ModuleType, bits: Bits) -> None:
    """Each version predicts the same bits whenever it is in use, and going back keeps samples and later versions."""
    x, y = scenes.frames(160, 2, 1.0)
    seen = {0: bits(learner, x)}
    for version, rows in ((1, slice(0, 60)), (2, slice(60, 160))):
        learner.observe(x[rows], y[rows])
        assert learner.adapt(on_insufficient="apply").version == version
        seen[version] = bits(learner, x)
    assert len(set(seen.values())) == 3
    assert learner.rollback() == 1
    assert bits(learner, x) == seen[1]
    assert learner.rollback() == 0
    assert bits(learner, x) == seen[0]
    assert learner.rollback(2) == 2
    assert bits(learner, x) == seen[2]
    assert learner.samples == (160, 160)
    assert [(v.number, v.current) for v in learner.versions()] == [(0, False), (1, False), (2, True)]


def with_one_rolled_back(learner: Learner, scenes: ModuleType, bits: Bits) -> tuple[np.ndarray, bytes]:
    """Adapt, adapt, go back, adapt; return frames, and what the first version says of them."""
    x, y = scenes.frames(120, 2, 1.0)
    seen = []
    for rows in (slice(0, 40), slice(40, 80), slice(80, 120)):
        learner.observe(x[rows], y[rows])
        assert learner.adapt(on_insufficient="apply", max_forgetting=100).applied
        seen.append(bits(learner, x))
        if len(seen) == 2:
            assert learner.rollback() == 1
    assert len(set(seen)) == 3
    return x, seen[0]


def test_forgetting_does_not_bring_back_what_was_rolled_back_from(
    learner: Learner, scenes: ModuleType, bits: Bits
) -> None:
    """Where nothing can be fitted from what is left, what was in use before serves, not a newer one given up before."""
    x, first = with_one_rolled_back(learner, scenes, bits)
    learner.label(range(1, 81), [None] * 80)
    assert learner.forget(range(81, 121)).versions == 1
    assert bits(learner, x) == first
    assert [(v.number, v.current) for v in learner.versions()] == [(0, False), (1, True), (2, False)]


def test_damage_does_not_bring_back_what_was_rolled_back_from(
    learner: Learner, tmp_path: Path, scenes: ModuleType, bits: Bits
) -> None:
    """The version that stands in for a damaged one is what was in use before it."""
    x, first = with_one_rolled_back(learner, scenes, bits)
    connection = sqlite3.connect(tmp_path / "device.db")
    connection.execute("UPDATE versions SET head = zeroblob(100) WHERE id = 3")
    connection.commit()
    connection.close()
    learner.classes.add("crack")
    assert bits(learner, x) == first
    # What is told is what is served, and what is damaged says so.
    told = {version.number: version for version in learner.versions()}
    assert [number for number, version in told.items() if version.current] == [in_use(learner).version] == [1]
    assert told[3].summary.startswith("damaged: ")
    assert not told[1].summary.startswith("damaged")
    learner.rollback(1)
    assert [v.number for v in learner.versions() if v.current] == [1]


def test_a_reopened_learner_predicts_the_same(
    learner: Learner, tiny_bundle: Path, tmp_path: Path, scenes: ModuleType, bits: Bits
) -> None:
    """Head, history and samples are where they were after opening anew."""
    x, y = scenes.frames(80, 2, 1.0)
    learner.fit(x, y)
    expected, versions = bits(learner, x), learner.versions()
    learner.close()
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as again:
        assert bits(again, x) == expected
        assert again.versions() == versions
        assert again.samples == (80, 80)


def test_equal_histories_give_equal_heads(tiny_bundle: Path, scenes: ModuleType, bits: Bits) -> None:
    """Two devices that see the same frames in the same order predict the same bits."""
    x, y = scenes.frames(80, 2, 1.0)
    found = set()
    for _ in range(2):
        with Learner.open(tiny_bundle, threads=1) as learner:
            found.add(bits(learner.fit(x, y), x))
    assert len(found) == 1


def test_predicting_goes_on_while_adapting(learner: Learner, scenes: ModuleType, bits: Bits) -> None:
    """Eight threads that predict during adaptations see whole heads only: each answer is some version's, to the bit."""
    x, y = scenes.frames(120, 2, 1.0)
    seen, wrong, stop = {bits(learner, x[:16])}, [], threading.Event()
    answers: list[set[bytes]] = [set() for _ in range(8)]

    def work(place: int) -> None:
        try:
            while not stop.is_set():
                answers[place].add(bits(learner, x[:16]))
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for rows in (slice(0, 60), slice(60, 120)):
        learner.observe(x[rows], y[rows])
        learner.adapt(on_insufficient="apply")
        seen.add(bits(learner, x[:16]))
    learner.rollback(0)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(answers)
    assert set().union(*answers) <= seen


def test_another_learner_may_commit_in_between(
    learner: Learner, tiny_bundle: Path, tmp_path: Path, scenes: ModuleType
) -> None:
    """A learner that adapts after another one has compares with the version that is current by then."""
    x, y = scenes.frames(120, 2, 1.0)
    learner.observe(x, y)
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as other:
        assert other.adapt().version == 1
    report = learner.adapt(on_insufficient="keep")
    assert (report.applied, report.version, report.judgement.gained, report.judgement.lost) == (False, 1, 0, 0)


def test_without_a_store_nothing_is_written(
    tiny_bundle: Path, tmp_path: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store nothing is written anywhere, and everything works."""
    monkeypatch.chdir(tmp_path)
    with Learner.open(tiny_bundle, threads=1) as learner:
        learner.fit(*scenes.frames(80, 2, 1.0))
        assert learner.rollback() == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [True, 0.0, "0", [0], 10**30, -1])
def test_rollback_to_what_is_no_number_of_a_version(learner: Learner, scenes: ModuleType, number: object) -> None:
    """Anything but a version's number is refused and changes nothing; an integer of numpy is one, and stays usable."""
    learner.fit(*scenes.frames(40, 1, 1.0))
    with pytest.raises(InputError, match=r"expected one of the versions \[0, 1\], found"):
        learner.rollback(number)  # type: ignore[arg-type]
    assert [version.number for version in learner.versions() if version.current] == [1]
    assert learner.rollback(np.int64(0)) == 0  # type: ignore[arg-type]
    assert [version.number for version in learner.versions() if version.current] == [0]
