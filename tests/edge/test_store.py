"""The local store: what is put in comes out, all of it or nothing, and only for the backbone it belongs to."""

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from acclimate.errors import (
    DuplicateSampleError,
    InputError,
    StoreCorruptError,
    StoreError,
)

from .stores import WIDTH, Opener, content, fill, sample


@pytest.mark.parametrize("in_memory", [False, True])
def test_samples_come_back_as_they_were_stored(opened: Opener, path: Path, in_memory: bool) -> None:
    """Codes, classes and ids are those that were added, in the order of the ids; samples without a label stay out."""
    store = opened(at=None if in_memory else path)
    codes = fill(store)
    found = store.labelled()
    rows = [i for i in range(10) if i % 3 != 2]
    assert found.ids.tolist() == [i + 1 for i in rows]
    assert found.classes.tolist() == [i % 3 for i in rows]
    assert found.codes.tobytes() == codes[rows].tobytes()
    assert store.count() == (10, 7)
    assert path.exists() != in_memory


def test_a_reopened_store_goes_on_where_it_was(opened: Opener) -> None:
    """Samples, classes, versions, settings and the key of the digests survive closing."""
    store = opened()
    codes = fill(store)
    store.add_classes(["crack"])
    assert store.add_version("{}", b"weights") == 1
    store.conformed = "this machine"
    digest = store.digest(codes)
    store.close()
    again = opened()
    assert again.labelled().codes.tobytes() == codes[[i for i in range(10) if i % 3 != 2]].tobytes()
    assert again.classes() == {0: "bark", 1: "moss", 2: "crack"}
    assert (again.current, again.conformed, again.version(1).head) == (1, "this machine", b"weights")
    assert again.digest(codes) == digest
    assert fill(again, seed=1) is not None
    assert again.count() == (20, 14)


def test_digests_tell_inputs_apart_and_identify_nothing_elsewhere(opened: Opener, tmp_path: Path) -> None:
    """Equal inputs have equal digests in one store, other inputs others, and another store gives others altogether."""
    here, there = opened(), opened(at=tmp_path / "other.db")
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert here.digest(frame) == here.digest(np.asfortranarray(frame)) != here.digest(frame + 1)
    assert here.digest(frame) != there.digest(frame)


def test_ids_are_never_used_again(opened: Opener, path: Path) -> None:
    """The id of a sample that is gone is not given to another, so that an application's notes never lie."""
    store = opened()
    fill(store, 3)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM samples")
    connection.commit()
    connection.close()
    fill(store, 2, seed=1)
    assert store.labelled().ids.tolist() == [4, 5]


def test_a_failed_transaction_leaves_nothing(opened: Opener, path: Path) -> None:
    """Classes, samples, labels and versions written before an error inside a transaction are gone after it."""
    store = opened()
    fill(store)
    before = content(path)

    def write_and_fail() -> None:
        with store.transaction():
            store.add_classes(["crack"])
            fill(store, seed=1)
            store.label([1], [1])
            store.add_version("{}", b"weights")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert content(path) == before
    assert store.current == 0


def test_a_duplicate_rolls_the_whole_call_back(opened: Opener, path: Path) -> None:
    """When the last of several samples is stored already, none of them is added."""
    store = opened()
    codes = fill(store)
    before = content(path)
    new = [store.digest(codes[:1] * 0 + i) for i in range(3)]
    known = store.digest(codes[0] + np.float32(0))
    with pytest.raises(DuplicateSampleError, match=r"found sample 3 again\. Nothing was stored\. Leave it out"):
        store.add(codes[:4], [None] * 4, [*new, known], [None] * 4, [None] * 4)
    assert content(path) == before


@pytest.mark.parametrize("seed", range(12))
def test_whether_samples_are_stored(opened: Opener, seed: int) -> None:
    """The answer is that of the set of all ids, for ids in any order, twice, in long runs and scattered."""
    rng = np.random.default_rng(seed)
    store = opened()
    for i in range(4):
        fill(store, 500, i)
    if seed % 3:
        store.erase(rng.choice(2000, (0, 3, 900)[seed % 3], replace=False) + 1)
    stored = set(store.ids().tolist())
    for _ in range(30):
        n = int(rng.integers(0, 1500))
        pool = np.array(sorted(stored)) if rng.random() < 0.7 else np.arange(1, 2003)
        ids = rng.choice(pool, n) if rng.random() < 0.5 else pool[: n + 1 : int(rng.integers(1, 4))]
        asked = rng.permutation(ids)
        assert store.holds(asked) == (set(asked.tolist()) <= stored)
    assert store.holds([])
    assert store.holds(list(stored))
    assert not store.holds([*stored, 0])
    assert not store.holds([-1])


def test_whether_samples_are_stored_is_asked_once(opened: Opener) -> None:
    """However many there are, a run of ids is one question, and no row of the table is handed over."""
    store = opened()
    fill(store, 3000)
    sample(store, np.zeros(WIDTH, np.uint8), 9)
    asked: list[str] = []
    store._db.raw.set_trace_callback(asked.append)
    store._db.raw.row_factory = lambda cursor, row: asked.append(str(row)) or row  # type: ignore[func-returns-value]
    assert store.holds(store_ids := np.arange(1, 3002))
    assert [line for line in asked if line not in ("BEGIN", "ROLLBACK", "BEGIN ", "ROLLBACK ")][1:] == ["(3001,)"]
    assert len(asked) == 4
    asked.clear()
    assert store.holds(store_ids[::2])
    assert len(asked) == 2 + 2 * 4


def test_new_inputs_are_told_from_stored_ones(opened: Opener) -> None:
    """Duplicates are found in the store and in the call; what is new is listed once, in order."""
    store = opened()
    stored = store.digest(np.zeros(1))
    store.add(np.zeros((1, WIDTH), np.uint8), [0], [stored], [None], [None])
    a, b = store.digest(np.ones(1)), store.digest(np.ones(2))
    assert store.unstored([b, stored, a, b], refuse=False) == ([0, 2], {stored: 1})
    with pytest.raises(DuplicateSampleError, match="found sample 1 again: it is stored as id 1"):
        store.unstored([a, stored], refuse=True)
    with pytest.raises(DuplicateSampleError, match="found sample 2 again: it equals sample 0 of the call"):
        store.unstored([a, b, a], refuse=True)
    assert store.unstored([a, b], refuse=True) == ([0, 1], {})


def test_labels_change_and_go(opened: Opener, path: Path) -> None:
    """A sample can be labelled, relabelled and unlabelled; an unknown id changes nothing for the others."""
    store = opened()
    fill(store, 6)
    store.label([3, 1], [1, None])
    found = store.labelled()
    assert dict(zip(found.ids.tolist(), found.classes.tolist(), strict=True)) == {2: 1, 3: 1, 4: 0, 5: 1}
    before = content(path)
    with pytest.raises(InputError, match=r"expected ids that observe\(\) returned, found 99"):
        store.label([1, 99], [0, 0])
    assert content(path) == before


def test_a_label_must_be_a_class(opened: Opener, path: Path) -> None:
    """A class id that no class has is refused, and changes nothing."""
    store = opened()
    fill(store)
    before = content(path)
    with pytest.raises(InputError, match=r"ids of classes that are there, found \[77\]\. Nothing was changed"):
        store.label([1], [77])
    with pytest.raises(InputError, match=r"ids of classes that are there, found \[77\]\. Nothing was changed"):
        store.add(np.zeros((1, WIDTH), np.uint8), [77], [b"new"], [None], [None])
    assert content(path) == before


def test_versions_are_numbered_and_one_is_current(opened: Opener) -> None:
    """A new version becomes the current one; going back keeps it; a missing one is an error."""
    store = opened()
    assert (store.current, store.versions()) == (0, [])
    assert [store.add_version(f'{{"n": {n}}}', bytes([n])) for n in (1, 2)] == [1, 2]
    assert [(v.id, v.report, v.head) for v in store.versions()] == [(1, '{"n": 1}', b"\x01"), (2, '{"n": 2}', b"\x02")]
    assert store.versions()[0].time <= store.versions()[1].time
    store.current = 1
    assert store.current == 1
    assert len(store.versions()) == 2
    assert store.add_version("{}", b"") == 3
    with pytest.raises(StoreCorruptError, match="version 9 is missing"):
        store.version(9)


def test_classes_get_ids_in_order_and_once(opened: Opener) -> None:
    """Shipped classes have the ids 0, 1, ...; added ones follow; a known name adds nothing."""
    store = opened()
    store.add_classes(["crack", "moss", "rust", "crack"])
    assert store.classes() == {0: "bark", 1: "moss", 2: "crack", 3: "rust"}


def test_classes_without_shipped_ones_start_at_one_or_later(opened: Opener) -> None:
    """A bundle may ship no class; the first that is added gets an id all the same."""
    store = opened(classes=())
    store.add_classes(["a", "b"])
    assert sorted(store.classes().values()) == ["a", "b"]


def test_threads_share_a_store(opened: Opener) -> None:
    """Eight threads that add and read at once lose nothing and see whole transactions only."""
    store = opened()
    torn: list[int] = []

    def work(seed: int) -> None:
        for turn in range(5):
            fill(store, 6, seed=seed * 100 + turn)
            torn.extend(n % 4 for n in [len(store.labelled().ids)] if n % 4)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert store.count() == (240, 160)


def test_a_closed_store_says_so(opened: Opener) -> None:
    """Closing twice is allowed; using it afterwards is our error, not SQLite's."""
    store = opened()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count()
