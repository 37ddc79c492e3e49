"""A store damaged on purpose gives right answers or errors of ours, and never another error, a hang or a crash."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge import Learner

from .faults.operations import answers, codes, frames, keys
from .faults.process import EndedError, Worker, worker

PAGE = 512
NAMES = {"bark", "brick", "gravel", "moss", "crack"}
AFTER = (
    {"kind": "predict"},
    {"kind": "versions"},
    {"kind": "read"},
    {"kind": "observe", "seed": 77, "n": 5, "labels": ["moss"] * 5, "tag": "late"},
    {"kind": "label", "ids": [3], "labels": ["moss"]},
    {"kind": "forget", "ids": [2]},
    {"kind": "predict"},
    {"kind": "rollback", "number": 1},
    {"kind": "remove", "name": "crack", "forget": True},
    {"kind": "adapt"},
    {"kind": "predict"},
)


@dataclass(frozen=True)
class Sound:
    """A store before it is damaged.

    Args:
        folder: Where database and log lie.
        answers: What its versions answer.
        codes: Latent codes, class and tag of its samples by id.
    """

    folder: Path
    answers: set[str]
    codes: dict[str, str]


@pytest.fixture(scope="module")
def sound(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Make a store with a log, and tell every answer that one of its versions gives."""
    folder = tmp_path_factory.mktemp("sound")
    path = folder / "device.db"
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        right = {answers(learner)["answers"]}
        learner.observe(*frames(1, 60), keys=keys(1, 60), tags=["visit"] * 60)
        assert learner.adapt(on_insufficient="apply").applied
        right.add(answers(learner)["answers"])
        learner.observe(frames(2, 4)[0], ["crack"] * 4)
        learner.save_update(folder / "head.accu")
        learner.apply_update(folder / "head.accu")
        right.add(answers(learner)["answers"])
        (folder / "copy").mkdir()
        for name in ("device.db", "device.db-wal"):
            shutil.copy(folder / name, folder / "copy" / name)
        latents = codes(learner)
    return Sound(folder / "copy", right, latents)


@pytest.fixture(scope="module")
def victim() -> Iterator[Worker]:
    """Return a worker."""
    with worker() as started:
        yield started


def damage(folder: Path, seed: int) -> str:
    """Damage a store in a way that a seed draws: bits, a run of noise or zeros, a page in another's place, a cut."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        # Without its log, all of it in the file.
        connection = sqlite3.connect(folder / "device.db")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    log = folder / "device.db-wal"
    target = log if log.exists() and rng.random() < 0.5 else folder / "device.db"
    content = bytearray(target.read_bytes())
    n, kind = len(content), ("bits", "noise", "zeros", "page", "cut", "header")[seed % 6]
    at = int(rng.integers(n))
    if kind == "bits":
        for i in rng.integers(0, n, int(rng.integers(1, 50))):
            content[i] ^= 1 << int(rng.integers(8))
    elif kind == "noise":
        content[at : at + PAGE] = rng.bytes(len(content[at : at + PAGE]))
    elif kind == "zeros":
        content[at : at + 8 * PAGE] = bytes(len(content[at : at + 8 * PAGE]))
    elif kind == "page":
        size = 4096
        one, two = (int(rng.integers(n // size)) * size for _ in range(2))
        content[one : one + size] = content[two : two + size]
    elif kind == "cut":
        del content[at:]
    else:
        content[int(rng.integers(100))] = int(rng.integers(256))
    target.write_bytes(content)
    return f"{kind} in {target.name}"


def fuzz(seeds: range, victim: Worker, bundle: Path, sound: Sound, folder: Path) -> Counter[str]:
    """Damage the store once for each seed, use it, and count what came of it."""
    met: Counter[str] = Counter()
    for seed in seeds:
        place = folder / str(seed)
        shutil.copytree(sound.folder, place)
        what = damage(place, seed)
        try:
            said = victim.begin(bundle, place / "device.db")
            met["refused" if "error" in said else "opened"] += 1
            checked(said, f"seed {seed}, {what}, opening")
            if "error" in said:
                with pytest.raises(EndedError):
                    victim.hear()
                continue
            changed = False
            for order in AFTER[: None if seed % 5 == 0 else 5]:
                said = victim.ask(order)
                checked(said, f"seed {seed}, {what}, {order}")
                met["error" if "error" in said else "answer"] += 1
                if order["kind"] == "predict" and "done" in said and not changed:
                    # Names and versions are sealed. A class that is not there any more is not predicted.
                    names = said["done"]["classes"]
                    assert set(names) <= NAMES, (seed, what, said)
                    assert len(names) != 4 or said["done"]["answers"] in sound.answers, (seed, what, said)
                if order["kind"] == "read" and "done" in said:
                    # What is damaged is refused; what is given was stored.
                    assert said["done"].items() <= sound.codes.items(), (seed, what)
                changed = changed or order["kind"] not in ("predict", "versions", "read")
            victim.kill()
        except EndedError:
            raise AssertionError(f"seed {seed}, {what}: it ended with {victim.status}") from None
        shutil.rmtree(place)
    return met


def checked(said: dict[str, object], what: str) -> None:
    """Check that an answer is one, or an error of ours that names the store."""
    assert "error" not in said or said["ours"], (what, said)


def test_no_damage_gets_past_our_errors(victim: Worker, tiny_bundle: Path, sound: Sound, tmp_path: Path) -> None:
    """Damaged stores are opened and used: right answers, errors of ours, and some of each."""
    met = fuzz(range(36), victim, tiny_bundle, sound, tmp_path)
    assert min(met[name] for name in ("refused", "opened", "error", "answer")) > 0, met


@pytest.mark.slow
def test_much_damage_does_not_get_past_our_errors(
    victim: Worker, tiny_bundle: Path, sound: Sound, tmp_path: Path
) -> None:
    """The same with three hundred."""
    met = fuzz(range(1000, 1300), victim, tiny_bundle, sound, tmp_path)
    assert min(met[name] for name in ("refused", "opened", "error", "answer")) > 20, met
