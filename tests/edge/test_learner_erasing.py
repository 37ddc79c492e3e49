"""After forgetting, no file of the store holds a byte of what was forgotten; who stands in the way delays that."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner

from .learners import Opening, fresh, in_use
from .stores import traces

N = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the store."""
    (tmp_path / "device").mkdir()
    return tmp_path / "device"


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Return frames whose latents have no run of bytes in common."""
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)


def filled(learner: Learner, n: int = N) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """Store noise of two classes with keys and tags, adapt, and return ids, codes, and what else tells of each."""
    x = noise(n)
    keys, tags = [f"photo-{i:07d}" for i in range(n)], [f"person-{i:07d}" for i in range(n)]
    ids = learner.observe(x, ["crack", "dent"] * (n // 2), keys=keys, tags=tags)
    assert learner.adapt(on_insufficient="apply", max_forgetting=100).applied
    store = learner._session.store
    words = [f"{key}".encode() for key in keys] + [tag.encode() for tag in tags] + [store.digest(row) for row in x]
    return ids, store.samples(ids).codes, words


def test_no_byte_is_left(opening: Opening, folder: Path) -> None:
    """Latents, keys, tags, digests and the weights learnt from them are gone from every file; the others' are there."""
    learner = opening("device/device.db")
    ids, codes, words = filled(learner)
    weights = in_use(learner).head.layer.weight.view(np.uint8)
    gone = np.arange(N) % 3 == 0
    forgotten = [word for i, word in enumerate(words) if gone[i % N]]
    assert len(traces(folder, codes[gone], *forgotten)) >= 4 * gone.sum()
    assert traces(folder, weights)
    assert learner.forget(ids[gone]).erased
    for _ in ("at once", "after the refit"):
        assert traces(folder, codes[gone], *forgotten) == []
        assert traces(folder, weights) == []
        learner.predict(noise(1))
    kept = [word for i, word in enumerate(words) if not gone[i % N]]
    assert len(traces(folder, codes[~gone], *kept)) >= len(kept)


def test_a_removed_class_leaves_no_name(opening: Opening, folder: Path) -> None:
    """Removing a class with its samples takes its name out of every file, too."""
    learner = opening("device/device.db")
    _, codes, _ = filled(learner)
    assert traces(folder, codes[:0], b"crack")
    learner.classes.remove("crack", forget=True)
    assert traces(folder, codes[::2], b"crack") == []
    assert traces(folder, codes[1::2], b"dent")


def test_a_removed_class_leaves_no_name_in_versions(opening: Opening, folder: Path, scenes: ModuleType) -> None:
    """A version that knows a class and was trained on no sample of it stays; its report loses the name."""
    learner = opening("device/device.db")
    learner.classes.rename("moss", "Rumpelstilz")
    x, y = scenes.frames(N, 2, 1.0)
    fresh(learner, x[y != "moss"], y[y != "moss"])
    assert "Rumpelstilz" in learner.versions()[-1].summary
    nothing = np.empty((0, 52), np.uint8)
    assert traces(folder, nothing, b"Rumpelstilz")
    learner.classes.remove("Rumpelstilz", forget=True)
    assert traces(folder, nothing, b"Rumpelstilz") == []
    assert [version.number for version in learner.versions()] == [0, 1]
    assert "how well it knows (removed) here" in learner.versions()[-1].summary


READING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM samples").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("after", ["predicting", "forgetting again", "reopening"])
def test_a_reader_in_the_way(opening: Opening, folder: Path, after: str) -> None:
    """While another process reads an older state the bytes stay, and it says so; what comes next finishes it."""
    learner = opening("device/device.db")
    ids, codes, _ = filled(learner)
    command = [sys.executable, "-c", READING, str(folder / "device.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        done = learner.forget(ids[:20])
        assert (done.samples, done.versions, done.erased) == (20, 1, False)
        assert learner.samples == (40, 40)
        assert traces(folder, codes[:20]) != []
        process.communicate("")
    if after == "predicting":
        # The refit that is due is a change, and changes finish what is pending.
        learner.predict(noise(1))
    elif after == "forgetting again":
        assert learner.forget([]).erased is False
        assert learner.forget(ids[20:21]).erased
    else:
        learner.close()
        learner = opening("device/device.db")
    assert traces(folder, codes[:20]) == []
    assert learner.forget([]).erased


def test_what_was_put_aside_goes_too(opening: Opening, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents of an observation that was cut off, which nobody can name any more, go with the next forgetting."""
    monkeypatch.setattr("acclimate.edge.embedding.STAGE_SECONDS", -1.0)
    learner = opening("device/device.db")
    x = noise(200, 1)

    def stop(done: int, total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner.observe(x, progress=stop)
    codes = learner._session.codes(x[:4])
    assert traces(folder, codes)
    ids = learner.observe(noise(2, 2))
    assert learner.forget(ids[:1]).erased
    assert traces(folder, codes) == []


def test_memory_is_forgotten_as_well(opening: Opening, scenes: ModuleType) -> None:
    """Without a store the same calls work, and nothing is ever pending."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening(), x, y)
    assert learner.forget(label="moss").erased
    assert learner.samples == (45, 45)
