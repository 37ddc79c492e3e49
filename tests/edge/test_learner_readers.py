"""Readers in other threads and processes: they see each change without opening anew, whole, and never wait for it."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.results import Prediction
from acclimate.edge.store.store import Store
from acclimate.edge.task_session import LOOK_SECONDS

from .learners import Opening, fresh, in_use, until

Bits = Callable[[Learner, np.ndarray], bytes]
N = 72


def change(learner: Learner, scenes: ModuleType, what: str) -> None:
    """Do what readers must see."""
    x, y = scenes.frames(N, 2, 1.0)
    if what == "a version":
        fresh(learner, x, y)
    elif what == "a rollback":
        learner.rollback(0)
    elif what == "a rename":
        learner.classes.rename("moss", "lichen")
    elif what == "a merge":
        learner.classes.merge(["bark", "brick"], "wall")
    elif what == "a removal":
        learner.classes.remove("gravel")
    else:
        learner.forget(ids=[1])


def told(found: Prediction) -> tuple[Any, ...]:
    """Return a prediction as what can be compared, to the bit."""
    return found.classes, found.labels.tolist(), found.probabilities.tobytes(), found.unknown.tolist()


def follow(reader: Learner, x: np.ndarray, writer: Learner) -> Prediction:
    """Predict until a reader answers as the writer does."""
    expected = told(writer.predict(x))
    return until(lambda: reader.predict(x), lambda found: told(found) == expected)


CHANGES = ["a version", "a forgetting", "a rollback", "a rename", "a merge", "a removal"]


def test_another_learner_and_thread_follow(opening: Opening, scenes: ModuleType) -> None:
    """After each change another learner answers the same bits and names, from whichever thread it is asked."""
    x, _ = scenes.frames(40, 98)
    writer, reader = opening("device.db"), opening("device.db")
    answers = {reader.predict(x).probabilities.tobytes()}
    for what in CHANGES:
        change(writer, scenes, what)
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(follow(reader, x, writer)))  # noqa: B023  joined below
        thread.start()
        thread.join()
        expected = writer.predict(x)
        assert told(seen[0]) == told(expected), what
        answers.add(expected.probabilities.tobytes() + "".join(expected.classes).encode())
    assert len(answers) == 7


READER = """
import json, sys
import numpy as np
from acclimate.edge import Learner

learner = Learner.open(sys.argv[1], sys.argv[2], runtime=sys.argv[3], threads=1)
frames = np.load(sys.argv[4])
for _ in sys.stdin:
    found = learner.predict(frames)
    print(json.dumps([found.classes, found.labels.tolist(), found.probabilities.tobytes().hex()]), flush=True)
"""


def test_another_process_follows(
    opening: Opening, scenes: ModuleType, tiny_bundle: Path, tmp_path: Path, runtime: str, one_thread: dict[str, str]
) -> None:
    """A process that opened the store once answers as the writer does after each of its changes."""
    frames = scenes.frames(20, 98)[0]
    np.save(tmp_path / "frames.npy", frames)
    writer = opening("device.db", timeout=20)
    command = [
        sys.executable,
        "-c",
        READER,
        str(tiny_bundle),
        str(tmp_path / "device.db"),
        runtime,
        str(tmp_path / "frames.npy"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for what in ["nothing yet", *CHANGES]:
            if what in CHANGES:
                change(writer, scenes, what)
            expected = writer.predict(frames)
            wanted = [list(expected.classes), expected.labels.tolist(), expected.probabilities.tobytes().hex()]

            def ask() -> Any:
                process.stdin.write("\n")  # type: ignore[union-attr]  # both are pipes
                process.stdin.flush()  # type: ignore[union-attr]
                return json.loads(process.stdout.readline())  # type: ignore[union-attr]

            assert until(ask, lambda found: found == wanted) == wanted, what  # noqa: B023  called in the loop
        process.communicate("")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that stores see, in seconds, which stands still."""
    now = [time.monotonic() + 60]
    still = SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr("acclimate.edge.store.connection.time", still)
    return now


def test_a_prediction_is_at_most_ten_milliseconds_behind(
    opening: Opening, scenes: ModuleType, clock: list[float]
) -> None:
    """It follows another learner when 10 ms are over, and not before; everything but predicting follows at once."""
    x, y = scenes.frames(40, 98)
    writer, reader = opening("device.db"), opening("device.db")
    writer.classes.rename("moss", "lichen")
    assert LOOK_SECONDS == 0.01
    for passed, name in ((0, "moss"), (0.009, "moss"), (0.0011, "lichen")):
        clock[0] += passed
        assert reader.predict(x).classes[3] == name
    names = np.where(y == "moss", "lichen", y)
    best = writer.score(x, names)
    writer.classes.rename("lichen", "moss")
    assert reader.predict(x).classes[3] == "lichen"
    assert reader.classes[3] == "moss"
    assert reader.score(x, y) == best > 0.5
    assert reader.predict(x).classes[3] == "moss"
    fresh(writer, *scenes.frames(N, 2, 1.0))
    assert told(reader.predict(x)) != told(writer.predict(x))
    assert reader.versions() == writer.versions()
    clock[0] += 0.011
    assert told(reader.predict(x)) == told(writer.predict(x))


def test_what_a_learner_did_itself_counts_at_once(opening: Opening, scenes: ModuleType, clock: list[float]) -> None:
    """After each of its own changes a learner answers as one that opens the store anew, though no time has passed."""
    x, _ = scenes.frames(40, 98)
    learner = opening("device.db")
    seen = {told(learner.predict(x))[0:3:2]}
    for what in CHANGES:
        change(learner, scenes, what)
        found = told(learner.predict(x))
        assert found == told(opening("device.db").predict(x)), what
        seen.add(found[0:3:2])
    # The rollback gives the shipped head again.
    assert len(seen) == 6


def test_predicting_does_not_wait_for_adapting(opening: Opening, scenes: ModuleType, bits: Bits) -> None:
    """While an adaptation stands still midway, other threads and learners predict with the head of before."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, other = opening("device.db"), opening("device.db")
    learner.observe(x, y)
    shipped, midway, go_on = bits(learner, x), threading.Event(), threading.Event()

    def stand_still(done: int, total: int) -> None:
        midway.set()
        assert go_on.wait(60)

    adapting = threading.Thread(target=learner.adapt, kwargs={"progress": stand_still, "on_insufficient": "apply"})
    adapting.start()
    try:
        assert midway.wait(60)
        for reader in (learner, other):
            answers: list[bytes] = []
            thread = threading.Thread(target=lambda: answers.append(bits(reader, x)))  # noqa: B023  joined in the loop
            thread.start()
            thread.join(60)
            assert answers == [shipped]
        assert [version.current for version in learner.versions()] == [True]
        # Observing, labelling and renaming go on as well.
        assert len(learner.observe(255 - x[:4])) == 4
        learner.classes.rename("moss", "lichen")
    finally:
        go_on.set()
        adapting.join()
    found = follow(other, x, learner)
    assert bits(learner, x) == found.probabilities.tobytes() != shipped
    assert learner.predict(x).classes == found.classes == ("bark", "brick", "gravel", "lichen")


def test_predicting_does_not_wait_where_another_learner_forgets(
    opening: Opening, scenes: ModuleType, bits: Bits
) -> None:
    """A refit that is due waits for an adaptation in another thread; predictions do not, and have the shipped head."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, other = opening("device.db"), opening("device.db")
    shipped = bits(learner, x)
    fresh(learner, x, y)
    midway, go_on = threading.Event(), threading.Event()

    def stand_still(done: int, total: int) -> None:
        midway.set()
        assert go_on.wait(60)

    adapting = threading.Thread(target=learner.adapt, kwargs={"progress": stand_still, "on_insufficient": "keep"})
    adapting.start()
    try:
        assert midway.wait(60)
        other.forget([1])
        answers: list[bytes] = []
        look = partial(until, lambda: bits(learner, x), lambda found: found == shipped)
        thread = threading.Thread(target=lambda: answers.extend(look() for _ in range(3)))
        thread.start()
        thread.join(20)
        assert answers == [shipped] * 3
    finally:
        go_on.set()
        adapting.join()
    # Once it is done, what is left is fitted, and served.
    assert until(lambda: bits(learner, x), lambda found: found != shipped) != shipped
    assert learner._session.store.refit_pending is False


@pytest.fixture
def in_between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store, str, int, Callable[[], None]], None]:
    """Return a function that lets something happen right after a store was asked for something for the n-th time."""

    def arrange(store: Store, name: str, number: int, happens: Callable[[], None]) -> None:
        real, calls = getattr(store, name), itertools.count(1)

        def ask() -> Any:
            found = real()
            if next(calls) == number:
                happens()
            return found

        monkeypatch.setattr(store, name, ask)

    return arrange


@pytest.mark.parametrize("into", ["soft", "crust"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("after", ["classes", "present"])
def test_a_reader_never_sees_half_of_a_change(
    opening: Opening,
    scenes: ModuleType,
    in_between: Callable[[Store, str, int, Callable[[], None]], None],
    after: str,
    number: int,
    into: str,
) -> None:
    """Classes are merged, some into a new one, between two looks of a reader: it answers as before, or as after."""
    x, y = scenes.frames(N, 2, 1.0)
    writer, reader = fresh(opening("device.db"), x, y), opening("device.db")
    # Something that makes the reader look anew.
    writer.classes.rename("gravel", "stones")
    answers = [writer.predict(x)]
    happened: list[None] = []

    def meanwhile() -> None:
        happened.append(None)
        if into == "crust":
            writer.classes.add("crust")
        writer.classes.merge(["bark", "moss"], into)

    in_between(reader._session.store, after, number, meanwhile)
    seen = until(lambda: reader.predict(x), lambda _: bool(happened))
    answers.append(writer.predict(x))
    whole = [(found.classes, found.probabilities.tobytes()) for found in answers]
    assert (seen.classes, seen.probabilities.tobytes()) in whole
    assert into in answers[1].classes
    found = follow(reader, x, writer)
    assert (found.classes, found.probabilities.tobytes()) == whole[1]


def merge_into_a_new_one(other: Learner) -> None:
    other.classes.add("crust")
    other.classes.merge(["moss", "bark"], "crust")


MEANWHILE: dict[str, Callable[[Learner], object]] = {
    "merging": lambda other: other.classes.merge(["moss", "bark"], "bark"),
    "merging into a new one": merge_into_a_new_one,
    "removing": lambda other: other.classes.remove("moss"),
    "removing and forgetting": lambda other: other.classes.remove("moss", forget=True),
    "renaming": lambda other: other.classes.rename("moss", "lichen"),
    "forgetting": lambda other: other.forget(ids=[1]),
    "labelling": lambda other: other.label([1, 2], ["crack", "crack"]),
    "freezing": lambda other: other.classes.freeze("moss"),
    "adapting": lambda other: other.adapt(on_insufficient="apply"),
}


@pytest.mark.parametrize("when", ["labelled", "classes", "in the middle"])
@pytest.mark.parametrize("what", MEANWHILE)
def test_whatever_happens_while_adapting(
    opening: Opening,
    scenes: ModuleType,
    in_between: Callable[[Store, str, int, Callable[[], None]], None],
    what: str,
    when: str,
) -> None:
    """Another learner changes classes or samples while one adapts: that ends well, and both answer the same then."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, other = opening("device.db"), opening("device.db")
    learner.observe(x, y)
    left = [MEANWHILE[what]]

    def meanwhile(*_: int) -> None:
        if left:
            left.pop()(other)

    if when != "in the middle":
        in_between(learner._session.store, when, 1, meanwhile)
    learner.adapt(on_insufficient="apply", progress=meanwhile if when == "in the middle" else None)
    assert not left
    assert learner.classes == other.classes
    # Reads what the other one did last, whenever that was.
    in_use(learner)
    mine, theirs = learner.predict(x), follow(other, x, learner)
    assert (mine.classes, mine.probabilities.tobytes()) == (theirs.classes, theirs.probabilities.tobytes())
    assert set(mine.classes) <= set(learner.classes)
    assert set(in_use(learner).head.judged.tolist()) <= set(learner._session.store.ids().tolist())


def test_two_learners_change_one_store(opening: Opening, scenes: ModuleType) -> None:
    """What one adds, labels, removes and forgets, the other has: ids, classes and versions are those of the store."""
    x, y = scenes.frames(N, 2, 1.0)
    one, two = opening("device.db"), opening("device.db")
    first, second = one.observe(x[:36], y[:36]), two.observe(x[36:])
    assert sorted([*first, *second]) == list(range(1, N + 1))
    one.label(second, y[36:])
    assert one.adapt(on_insufficient="apply").version == 1
    assert two.adapt(on_insufficient="apply").samples == N
    two.classes.remove("moss")
    one.forget(label="brick")
    assert one.samples == two.samples == (54, 36)
    assert one.classes == two.classes == ("bark", "brick", "gravel")
    assert told(follow(two, x, one)) == told(one.predict(x))
    assert one.versions() == two.versions()
