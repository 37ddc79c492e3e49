"""The store between processes: one that writes, several that begin at once, one that is killed in the middle."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.store.store import Store
from acclimate.errors import StoreBusyError

WIDTH, CLASSES = 6, ("bark", "moss")
BUSY = r"device\.db: expected to write, found another process writing for over 0\.2 s\. Close it or try again; nothing"
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn(one_thread: dict[str, str]) -> Iterator[Spawn]:
    """Return a function that starts Python on a program; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", program, *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=one_thread))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def held(spawn: Spawn, path: Path) -> Iterator[None]:
    """Let another process hold the lock for writing."""
    process = spawn(HOLD, path)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"
    yield
    process.stdin.close()
    assert process.wait(10) == 0


def test_a_store_that_another_process_writes_is_busy(
    learner: Learner, dump: Callable[[], list[str]], scenes: ModuleType, spawn: Spawn, tmp_path: Path
) -> None:
    """While another process writes, each change waits, then fails in words; predicting goes on."""
    x, y = scenes.frames(60, 2, 1.0)
    ids = learner.observe(x, y)
    learner.adapt(on_insufficient="apply")
    before, versions, expected = dump(), learner.versions(), learner.predict(x).probabilities
    with held(spawn, tmp_path / "device.db"):
        for change in (
            lambda: learner.observe(*scenes.frames(5, 3)),
            lambda: learner.label(ids[:1], ["moss"]),
            lambda: learner.adapt(on_insufficient="apply"),
            lambda: learner.rollback(0),
        ):
            with pytest.raises(StoreBusyError, match=BUSY):
                change()
        assert learner.predict(x).probabilities.tobytes() == expected.tobytes()
        assert learner.versions() == versions
    assert dump() == before
    assert learner.rollback(0) == 0


def test_a_store_opens_for_predicting_while_another_process_writes(
    learner: Learner, tiny_bundle: Path, scenes: ModuleType, spawn: Spawn, tmp_path: Path
) -> None:
    """A second learner opens and predicts while a third party writes: opening a known store needs no lock."""
    x, _ = scenes.frames(8, 2)
    expected = learner.predict(x).probabilities
    with held(spawn, tmp_path / "device.db"), Learner.open(tiny_bundle, tmp_path / "device.db", timeout=0.2) as second:
        np.testing.assert_allclose(second.predict(x).probabilities, expected, atol=1e-6)


def test_a_writer_waits_for_its_turn(spawn: Spawn, tmp_path: Path) -> None:
    """A change that comes while another process writes is made once that one is done, within the timeout."""
    path = tmp_path / "device.db"
    with Store(path, "f" * 64, WIDTH, CLASSES, timeout=30) as store:
        process = spawn(HOLD, path)
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        release = threading.Timer(0.3, process.stdin.close)
        release.start()
        store.add_classes(["crack"])
        release.join()
        assert store.classes()[2] == "crack"


FIRST = """
import sys, time
from acclimate.edge.store.store import Store
while time.time() < float(sys.argv[2]):
    pass
with Store(sys.argv[1], "f" * 64, 6, ("bark", "moss"), timeout=20) as store:
    store.add_classes([sys.argv[3]])
"""


def test_processes_that_begin_at_once_make_one_store(spawn: Spawn, tmp_path: Path) -> None:
    """Four processes that make the same store at the same time all succeed, and lose nothing of each other's."""
    path = tmp_path / "device.db"
    begin = time.time() + 1.5
    processes = [spawn(FIRST, path, begin, f"class {i}") for i in range(4)]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        names = store.classes()
    assert list(names.values())[:2] == ["bark", "moss"]
    assert sorted(list(names.values())[2:]) == [f"class {i}" for i in range(4)]


KILLED = """
import sys
import numpy as np
from acclimate.edge.store.store import Store
store = Store(sys.argv[1], "f" * 64, 6, ("bark", "moss"))
row = np.zeros((1, 6), np.uint8)
print("ready", flush=True)
for batch in range(1000):
    with store.transaction():
        store.add_classes([f"class {batch}"])
        for i in range(50):
            store.add(row, [0], [store.digest(np.array([batch, i]))], [None], [None])
    print(batch, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_killed_process_leaves_whole_transactions(spawn: Spawn, tmp_path: Path, batches: int) -> None:
    """A process killed while it writes leaves all of a transaction or nothing, and loses nothing that it reported."""
    path = tmp_path / "device.db"
    process = spawn(KILLED, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    done = [process.stdout.readline() for _ in range(batches)]
    process.kill()
    done += process.stdout.read().split()
    process.wait()
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        stored, _ = store.count()
        added = len(store.classes()) - 2
    assert stored == 50 * added
    assert added - len(done) in (0, 1)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


OBSERVING = """
import sys, importlib.util
import numpy as np
from acclimate.edge import Learner
spec = importlib.util.spec_from_file_location("scenes", sys.argv[3])
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)
with Learner.open(sys.argv[1], sys.argv[2], threads=1) as learner:
    x, y = scenes.frames(100, 7, 1.0)
    learner.observe(x, y, progress=lambda done, total: done == 64 and (print("half", flush=True), sys.stdin.read()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_observe_killed_in_the_middle_stores_nothing(
    spawn: Spawn, learner: Learner, tiny_bundle: Path, tmp_path: Path, dump: Callable[[], list[str]], scenes: ModuleType
) -> None:
    """A process killed while it observes leaves the store of another as it was, and the frames can be observed anew."""
    learner.observe(*scenes.frames(20, 2))
    before = dump()
    assert scenes.__file__ is not None
    process = spawn(OBSERVING, tiny_bundle, tmp_path / "device.db", scenes.__file__)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.kill()
    process.wait()
    assert dump() == before
    assert len(learner.observe(*scenes.frames(100, 7, 1.0))) == 100


RESUME = """
import sys, numpy as np
from acclimate.edge import Learner
with Learner.open(sys.argv[1], sys.argv[2], threads=1) as learner:
    found = learner.predict(np.load(sys.argv[3]))
    sys.stdout.write(found.probabilities.tobytes().hex() + " " + ",".join(learner.classes))
"""


def test_a_new_process_goes_on_where_the_last_one_was(
    spawn: Spawn, learner: Learner, tiny_bundle: Path, scenes: ModuleType, tmp_path: Path
) -> None:
    """Another process that opens bundle and store predicts the same bits, and knows the classes that were added."""
    x, y = scenes.frames(60, 2, 1.0)
    learner.observe(x[:50], y[:50])
    learner.observe(x[50:], ["crack"] * 10)
    assert learner.adapt().applied
    np.save(tmp_path / "x.npy", x)
    found, error = spawn(RESUME, tiny_bundle, tmp_path / "device.db", tmp_path / "x.npy").communicate()
    expected = learner.predict(x).probabilities
    assert found.split() == [expected.tobytes().hex(), ",".join((*scenes.CLASSES, "crack"))], error
