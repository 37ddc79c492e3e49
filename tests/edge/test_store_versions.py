"""Versions, settings and the stamp of a store."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.edge.store.saved import MAX_SAVED, Saved
from acclimate.edge.store.versions import MAX_VERSIONS, pack_ids, trained_on
from acclimate.errors import StoreCorruptError

from .stores import Opener, fill


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_runs_of_ids_mean_the_same_as_the_ids(samples: set[int], asked: set[int], evicted: set[int]) -> None:
    """A version is told to be trained on some samples exactly if the sets meet, or if one of its own is not stored."""
    stored = np.array(sorted(set(range(1, 61)) - evicted), np.int64)
    runs = pack_ids(np.array(list(samples), np.int64))
    found = trained_on(runs, np.array(sorted(asked), np.int64), stored)
    assert found == (not samples.isdisjoint(asked) or not samples.isdisjoint(evicted))
    assert len(runs) <= 16 * len(samples)


def test_a_thousand_ids_in_a_row_take_one_run() -> None:
    """What is the usual case takes sixteen bytes."""
    assert len(pack_ids(np.arange(5, 1005))) == 16
    assert pack_ids(np.empty(0, np.int64)) == b""


@pytest.mark.parametrize("hostile", [None, b"x", b"\x00" * 17, "text", 7])
def test_what_is_malformed_counts_as_trained_on_everything(hostile: object) -> None:
    """A damaged list of samples makes a version go with any erasure."""
    assert trained_on(hostile, np.array([3]), np.arange(1, 9))  # type: ignore[arg-type]


def test_the_newest_versions_are_kept(opened: Opener) -> None:
    """Beyond the newest twenty, versions go; numbers go on."""
    store = opened()
    for n in range(1, MAX_VERSIONS + 6):
        assert store.add_version("{}", bytes([n])) == n
    assert [version.id for version in store.versions()] == list(range(6, MAX_VERSIONS + 6))
    assert store.current == MAX_VERSIONS + 5
    store.current = 6
    assert store.add_version("{}", b"") == MAX_VERSIONS + 6
    assert store.versions()[0].id == 7


def test_the_number_of_the_newest_update_is_kept(opened: Opener) -> None:
    """It is 0 at first, and survives reopening."""
    store = opened()
    assert store.newest_update == 0
    store.newest_update = 2**40
    store.close()
    assert opened().newest_update == 2**40


def test_the_stamp_changes_with_every_commit_and_only_then(opened: Opener) -> None:
    """Own commits, commits of another connection and of another thread change it; reading and failing do not."""
    store, other = opened(), opened()
    seen = {store.stamp()}

    def changed() -> bool:
        stamp = store.stamp()
        new = stamp not in seen
        seen.add(stamp)
        return new

    fill(store)
    assert changed()
    store.labelled()
    store.versions()
    other.labelled()
    assert not changed()
    for change in (
        lambda: other.label([1], [None]),
        lambda: other.erase([2]),
        lambda: store.add_version("{}", b""),
        lambda: setattr(other, "current", 0),
        lambda: store.rename_class(0, "Rinde"),
    ):
        change()
        assert changed()
    with pytest.raises(ValueError, match="expected ids"):
        store.label([99], [0])
    assert not changed()
    thread = threading.Thread(target=lambda: store.label([1], [1]))
    thread.start()
    thread.join()
    assert changed()


def test_the_stamp_does_not_wait_for_a_writer(opened: Opener) -> None:
    """While another thread is inside a long transaction, the stamp is given at once, and changes after it."""
    store = opened()
    before = store.stamp()
    begun, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with store.transaction():
            store.add_classes(["crack"])
            begun.set()
            assert go_on.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(20)
    assert store.stamp() == before
    go_on.set()
    thread.join()
    assert store.stamp() != before


def test_a_clock_that_goes_backwards_changes_nothing(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Samples and versions keep the order of their numbers when each is older than the one before."""
    times = iter(range(2_000_000_000, 0, -1_000_000))
    monkeypatch.setattr("time.time", lambda: float(next(times)))
    store = opened()
    codes = [fill(store, 4, seed) for seed in range(5)]
    for n in range(3):
        store.add_version("{}", bytes([n]), samples=store.ids())
    found = store.samples(store.ids())
    assert found.codes.tobytes() == np.concatenate(codes).tobytes()
    assert (np.diff(found.times) <= 0).all()
    assert [version.head for version in store.versions()] == [b"\x00", b"\x01", b"\x02"]
    assert store.current == 3
    assert store.erase([1])
    store.close()
    assert opened().count()[0] == 19


@pytest.mark.parametrize(
    ("steps", "trail"),
    [
        ("", []),
        ("+++", [1, 2, 3]),
        ("+++1", [1]),
        ("+++1+", [1, 4]),
        ("+++0+", [4]),
        ("+++13", [1, 3]),
        ("+++132", [1, 2]),
        ("+++3", [1, 2, 3]),
        ("+++0", []),
    ],
)
def test_what_was_gone_back_from_is_off_the_trail(opened: Opener, steps: str, trail: list[int]) -> None:
    """It holds what was in use, oldest first, and a version that was rolled back from only if it was chosen again."""
    store = opened()
    for step in steps:
        if step == "+":
            store.add_version("{}", b"")
        else:
            store.current = int(step)
    assert store.trail() == trail
    store.close()
    assert opened().trail() == trail
    assert opened().current == (trail or [0])[-1]


def test_what_is_erased_is_off_the_trail(opened: Opener) -> None:
    """The versions before one that was erased stay on it, and a new one follows them."""
    store = opened()
    fill(store)
    for ids in ([1], [2], [3], [1, 3]):
        store.add_version("{}", b"", samples=np.array(ids))
    store.current = 3
    store.erase([3])
    assert (store.current, store.refit_pending, store.trail()) == (0, True, [1, 2])
    store.add_version("{}", b"", samples=np.array([5]))
    assert store.trail() == [1, 2, 5]
    for _ in range(MAX_VERSIONS):
        store.add_version("{}", b"", samples=np.array([5]))
    assert store.trail() == [version.id for version in store.versions()]


@pytest.mark.parametrize("damaged", ["1 x", "-1", 7, b"1"])
def test_a_damaged_trail_is_told(opened: Opener, damaged: object) -> None:
    """It is not taken for another one."""
    store = opened()
    store._db.run("UPDATE settings SET value = ? WHERE name = 'trail'", (damaged,))
    with pytest.raises(StoreCorruptError, match="its setting 'trail' is"):
        store.trail()


def test_a_saved_head_is_known_by_its_digest(opened: Opener) -> None:
    """What it was trained on is known without its version, and that it was forgotten; the newest hundred are kept."""
    store = opened()
    fill(store)
    store.add_version("{}", b"", samples=np.array([2, 3]))
    store.add_version("{}", b"", samples=np.array([7]))
    store.add_version("{}", b"")
    for number in (1, 2, 3):
        store.remember_saved(bytes([number]) * 32, number)
    store.close()
    store = opened()
    known = [Saved(pack_ids(np.array([2, 3])), False), Saved(pack_ids(np.array([7])), False), Saved(None, False)]
    assert [store.saved(bytes([number]) * 32) for number in (1, 2, 3, 4)] == [*known, None]
    store.erase([3])
    gone = Saved(None, True)
    assert [store.saved(bytes([number]) * 32) for number in (1, 2, 3)] == [gone, known[1], gone]
    # A version that another process has erased by the time.
    store.remember_saved(b"late", 1)
    assert store.saved(b"late") == gone
    again = store.add_version("{}", b"", samples=known[1].samples)
    store.remember_saved(bytes([1]) * 32, again)
    assert store.saved(bytes([1]) * 32) == known[1]
    store.erase([7])
    assert store.versions() == []
    for number in range(MAX_SAVED):
        store.remember_saved(f"head {number}".encode(), 1)
    assert store.saved(b"late") is None
    assert store.saved(b"head 0") == gone
