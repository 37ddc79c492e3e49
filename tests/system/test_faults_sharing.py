"""One store in several hands: another process that holds the lock, two that adapt, threads that predict meanwhile."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.errors import StoreBusyError

from ..edge.learners import until
from .faults.model import differences, read_state
from .faults.operations import answers, frames, perform
from .faults.process import Worker, worker

CHANGES: tuple[dict[str, Any], ...] = (
    {"kind": "observe", "seed": 7, "n": 40, "labels": ["moss"] * 40, "tag": "visit"},
    {"kind": "label", "ids": [1, 2], "labels": ["moss", None]},
    {"kind": "adapt"},
    {"kind": "forget", "ids": [10, 11]},
    {"kind": "forget", "tag": "first"},
    {"kind": "rollback", "number": 1},
    {"kind": "apply"},
    {"kind": "add", "name": "new"},
    {"kind": "rename", "name": "crack", "to": "rift"},
    {"kind": "merge", "names": ["crack", "rust"], "into": "rust"},
    {"kind": "split", "name": "crack", "ids": [4], "into": "new"},
    {"kind": "remove", "name": "crack", "forget": True},
    {"kind": "remove", "name": "crack", "forget": False},
    {"kind": "freeze", "name": "moss", "frozen": True},
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return where the store lies."""
    return tmp_path / "device.db"


@pytest.fixture
def learner(tiny_bundle: Path, store: Path) -> Iterator[Learner]:
    """Open a store with eight samples without a label, sixty with one, and a version fitted on these."""
    with Learner.open(tiny_bundle, store, threads=1, timeout=0.1) as opened:
        opened.observe(frames(1, 8)[0], [None] * 8, tags=["first"] * 8)
        opened.observe(*frames(2, 60))
        assert opened.adapt(on_insufficient="apply").applied
        yield opened


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Hold the lock for writing, as another process would: a connection of its own shares nothing."""
    connection = sqlite3.connect(store, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def deaf(**_: object) -> None:
    """Hear nothing."""


def test_a_locked_store_refuses_every_change_and_serves(learner: Learner, store: Path, tmp_path: Path) -> None:
    """While another writes, each change says so, none is made in part, and answers stay; afterwards each is made."""
    update = str(tmp_path / "head.accu")
    learner.save_update(update)
    learner.label(range(1, 9), ["crack"] * 4 + ["rust"] * 4)
    # The guard finds every candidate better than the shipped head.
    learner.rollback(0)
    before, told = read_state(store), answers(learner)
    for change in CHANGES:
        with held(store), pytest.raises(StoreBusyError, match=r"another process writing for over 0\.1 s"):
            perform(learner, change | {"path": update}, deaf)
        assert not differences(read_state(store), [before]), change
        assert answers(learner) == told
    with held(store):
        # What changes nothing needs no lock.
        learner.export(tmp_path / "model.onnx")
        learner.save_update(tmp_path / "other.accu")
        assert learner.versions()[0].current
        assert len(learner.suggest(3)) == 0
    for change in CHANGES[:5]:
        perform(learner, change, deaf)
    assert not read_state(store).refit or answers(learner)


def test_a_forgotten_head_that_cannot_be_replaced_yet_gives_way_to_the_shipped_one(
    learner: Learner, store: Path, tiny_bundle: Path
) -> None:
    """After forgetting, while nothing can be written, the shipped head serves; the next change brings the refit."""
    with Learner.open(tiny_bundle, threads=1) as fresh:
        shipped = fresh.predict(frames(0, 6)[0]).probabilities
    learner.forget([10])
    assert read_state(store).refit
    with held(store):
        assert learner.predict(frames(0, 6)[0]).probabilities.tobytes() == shipped.tobytes()
        with Learner.open(tiny_bundle, store, threads=1, timeout=0.1) as second:
            assert second.predict(frames(0, 6)[0]).probabilities.tobytes() == shipped.tobytes()
    learner.label([11], ["moss"])
    learner.predict(frames(0, 6)[0])
    assert not read_state(store).refit


def test_a_version_asked_for_after_forgetting_is_the_one_in_use(learner: Learner, store: Path, tmp_path: Path) -> None:
    """Rolling back while a refit is pending gives the version asked for, in every process, not the refitted one."""
    learner.rollback(0)
    learner.save_update(tmp_path / "head.accu")
    update = learner.apply_update(tmp_path / "head.accu")
    learner.rollback(1)
    learner.forget([10])
    assert learner.rollback(update) == update
    assert [v.number for v in learner.versions() if v.current] == [update]
    assert (read_state(store).current, read_state(store).refit) == (update, False)


def test_what_is_forgotten_while_another_process_adapts_stays_forgotten(
    learner: Learner, store: Path, tiny_bundle: Path
) -> None:
    """A head that was being fitted on samples that another process forgets meanwhile is not put to use."""
    with Learner.open(tiny_bundle, store, threads=1) as other:
        gone: list[int] = []

        def progress(done: int, total: int) -> None:
            if not gone:
                gone.extend([9, 10, 11])
                other.forget(gone)

        # It begins anew, or gives up in words.
        with suppress(StoreBusyError):
            learner.adapt(on_insufficient="apply", progress=progress)
        assert gone
        learner.predict(frames(0, 6)[0])
        state = read_state(store)
        assert not any(set(gone) & trained for trained in state.versions.values())


def predicted(reader: Worker, expected: dict[str, Any]) -> Any:
    """Let a process predict until it answers as expected: it may be 10 ms behind what another one committed."""
    return until(lambda: reader.do({"kind": "predict"}), lambda found: found == expected)


def test_two_processes_adapt_at_once(learner: Learner, store: Path, tiny_bundle: Path) -> None:
    """Both finish; both versions are in the history, and all agree that the last one committed is in use."""
    with worker() as one, worker() as two:
        for each in (one, two):
            assert "ready" in each.begin(tiny_bundle, store, timeout=60)
        for seed in (21, 22, 23):
            learner.observe(*frames(seed, 12))
            before = read_state(store)
            for each in (one, two):
                each.tell({"kind": "adapt"})
            results = [each.hear()["done"] for each in (one, two)]
            after = read_state(store)
            new = sorted(after.versions.keys() - before.versions.keys())
            assert new == sorted(result["version"] for result in results if result["applied"])
            assert after.current == max([before.current, *new])
            # Whoever looks uses that version.
            told = answers(learner)
            for each in (one, two):
                assert predicted(each, told) == told
            learner.rollback(0)
        one.end()
        two.end()


def adapting(learner: Learner, store: Path, bundle: Path, rounds: int) -> None:
    """Predict in eight threads and another process while a learner adapts; every answer is that of some version."""
    x = frames(0, 6)[0]
    right = {learner.predict(x).probabilities.tobytes()}
    seen: list[list[bytes]] = [[] for _ in range(8)]
    failed: list[BaseException] = []
    over = threading.Event()

    def predict(found: list[bytes]) -> None:
        try:
            while not over.wait(0.002):
                found.append(learner.predict(x).probabilities.tobytes())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=predict, args=(found,)) for found in seen]
    versions = set()
    with worker() as reader:
        reader.begin(bundle, store)
        told = [reader.do({"kind": "predict"})]
        right_told = [answers(learner)]
        for thread in threads:
            thread.start()
        try:
            for i in range(rounds):
                learner.partial_fit(*frames(1000 + i, 4))
                right.add(learner.predict(x).probabilities.tobytes())
                right_told.append(answers(learner))
                versions.add(learner.versions()[-1].number)
                told.append(predicted(reader, right_told[-1]))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert told == right_told
        reader.end()
    assert not failed, failed
    assert all(len(found) > 1 for found in seen)
    assert {answer for found in seen for answer in found} <= right
    assert len(versions) >= rounds // 4
    assert all(np.isfinite(np.frombuffer(answer, np.float32)).all() for answer in right)


def test_threads_predict_while_the_learner_adapts(learner: Learner, store: Path, tiny_bundle: Path) -> None:
    """Twenty adaptations: each answer of eight threads is, to the bit, that of a version that was committed."""
    adapting(learner, store, tiny_bundle, 20)


@pytest.mark.slow
def test_threads_predict_during_a_hundred_adaptations(learner: Learner, store: Path, tiny_bundle: Path) -> None:
    """The same with a hundred."""
    adapting(learner, store, tiny_bundle, 100)
