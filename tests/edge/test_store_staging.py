"""Staging: what was embedded before a kill is there again, and what nobody fetches goes."""

import time
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store import staging
from acclimate.edge.store.store import Store

from .stores import CLASSES, Opener, traces

WIDTH = 64


@pytest.fixture
def codes() -> np.ndarray:
    """Return latents to stage."""
    return np.random.default_rng(0).integers(0, 256, (10, WIDTH)).astype(np.uint8)


def names(n: int) -> list[bytes]:
    """Return digests."""
    return [f"digest {i:09d}".encode() for i in range(n)]


def test_staged_codes_come_back_after_reopening(opened: Opener, codes: np.ndarray) -> None:
    """By digest, byte for byte; staging twice is one; others are not there."""
    store = opened(width=WIDTH)
    assert not store.staging
    store.stage(names(6), codes[:6])
    store.stage(names(8), 255 - codes[:8])
    store.close()
    store = opened(width=WIDTH)
    assert store.staging
    found = store.staged(names(10))
    assert sorted(found) == names(8)
    assert b"".join(found[name].tobytes() for name in names(6)) == codes[:6].tobytes()
    assert found[names(8)[7]].tobytes() == (255 - codes[7]).tobytes()
    assert store.count() == (0, 0)


def test_adding_takes_over_what_was_staged(opened: Opener, codes: np.ndarray, path: Path) -> None:
    """Afterwards it is a sample, staged no more, in the place it had; what was not added stays staged."""
    store = opened(width=WIDTH)
    store.stage(names(6), codes[:6])
    slots = store._db.number("SELECT count(*) FROM latents")
    store.add(codes[:5], [0] * 5, names(5), [None] * 5, [None] * 5)
    assert store._db.number("SELECT count(*) FROM latents") == slots
    assert store.labelled().codes.tobytes() == codes[:5].tobytes()
    assert sorted(store.staged(names(6))) == names(6)[5:]
    store.stage(names(5), codes[:5])
    assert sorted(store.staged(names(6))) == names(6)[5:]


def test_erasing_wipes_what_is_staged(tmp_path: Path, codes: np.ndarray) -> None:
    """Whatever is erased might be staged too: all of it goes, from every file."""
    folder = tmp_path / "device"
    folder.mkdir()
    with Store(folder / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        ids = store.add(codes[:2], [0] * 2, names(2), [None] * 2, [None] * 2)
        store.stage(names(10)[2:], codes[2:])
        assert len(traces(folder, codes)) >= 40
        assert store.erase(ids[:1])
        assert not store.staging
        assert traces(folder, np.delete(codes, 1, axis=0), *names(10)[2:]) == []
        assert store.labelled().codes.tobytes() == codes[1:2].tobytes()


@pytest.mark.parametrize(("shift", "stays"), [(0.9, True), (1.1, False), (-0.9, True), (-1.1, False)])
def test_staged_codes_expire(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch, shift: float, stays: bool
) -> None:
    """After a week nobody comes back for them; nor if the clock was set back by more than that."""
    folder = tmp_path / "device"
    folder.mkdir()
    with Store(folder / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        store.stage(names(10), codes)
        store.add(255 - codes[:1], [0], [b"kept"], [None], [None])
    now = time.time() + shift * staging.MAX_AGE
    monkeypatch.setattr("time.time", lambda: now)
    with Store(folder / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        assert store.staging == stays
        assert (traces(folder, codes, *names(10)) == []) == (not stays)
        assert store.count() == (1, 1)


def test_damaged_staged_codes_are_left_out(opened: Opener, codes: np.ndarray) -> None:
    """They are embedded again, rather than stopping the observation."""
    store = opened(width=WIDTH)
    store.stage(names(3), codes[:3])
    with store.transaction():
        store._db.run("UPDATE latents SET codes = zeroblob(length(codes)) WHERE slot = 2")
    assert sorted(store.staged(names(3))) == [names(3)[0], names(3)[2]]
