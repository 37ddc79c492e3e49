"""Classes of a store: stable ids, names that may change or go, and what the shipped ones have become."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store.store import Store
from acclimate.errors import InputError

from .stores import CLASSES, WIDTH, Opener, content, fill, traces


def test_an_id_is_never_given_twice(opened: Opener) -> None:
    """A class that was removed can be added again by name, and gets a new id, also after reopening."""
    store = opened()
    store.add_classes(["crack", "rust"])
    store.remove_class(3, forget=True)
    store.remove_class(2, forget=False)
    assert store.classes() == {0: "bark", 1: "moss"}
    store.close()
    store = opened()
    store.add_classes(["rust", "crack"])
    assert store.classes() == {0: "bark", 1: "moss", 4: "rust", 5: "crack"}


def test_renaming_keeps_everything_but_the_name(opened: Opener) -> None:
    """Id, samples and that it was shipped stay; a taken name, an unknown id and a removed class are refused."""
    store = opened()
    fill(store)
    before = store.labelled()
    store.rename_class(1, "mossy")
    store.rename_class(1, "mossy")
    assert store.classes() == {0: "bark", 1: "mossy"}
    assert store.labelled().classes.tolist() == before.classes.tolist()
    assert store.shipped_classes().tolist() == [0, 1]
    with pytest.raises(InputError, match="expected a name that no other class has, found 'bark'"):
        store.rename_class(1, "bark")
    store.remove_class(0, forget=False)
    for missing in (0, 7):
        with pytest.raises(InputError, match=rf"expected ids of classes that are there, found \[{missing}\]"):
            store.rename_class(missing, "x")
    store.rename_class(1, "bark")
    store.close()
    assert opened().classes() == {1: "bark"}


def test_merging_moves_samples_and_is_remembered(opened: Opener) -> None:
    """Samples move; each class tells what it stands for, also through a second merger and a removal."""
    store = opened()
    fill(store)
    store.add_classes(["crack", "rust"])
    n = len(store.labelled().ids)
    store.merge_classes([0], 2)
    assert store.classes() == {1: "moss", 2: "crack", 3: "rust"}
    assert (store.present(), store.shipped_classes().tolist()) == ({0: 2, 1: 1, 2: 2, 3: 3}, [2, 1])
    store.merge_classes([2, 1, 2], 3)
    assert (store.present(), store.shipped_classes().tolist()) == ({0: 3, 1: 3, 2: 3, 3: 3}, [3, 3])
    assert len(store.find(label_id=3)) == n
    store.remove_class(3, forget=False)
    assert (store.present(), store.shipped_classes().tolist()) == ({}, [-1, -1])
    assert store.count() == (10, 0)


def test_a_merger_that_makes_no_sense_changes_nothing(opened: Opener, path: Path) -> None:
    """A class into itself, a missing class, a missing target: refused whole."""
    store = opened()
    fill(store)
    before = content(path)
    for ids, into in (([0, 1], 1), ([0, 9], 1), ([0], 9)):
        with pytest.raises(InputError, match="expected"):
            store.merge_classes(ids, into)
    assert content(path) == before


def test_frozen_classes_are_there_and_known(opened: Opener) -> None:
    """Freezing marks a class and nothing else; it can be undone."""
    store = opened()
    store.set_frozen(1, True)
    assert (set(store.frozen_classes()), store.classes()) == ({1}, {0: "bark", 1: "moss"})
    assert store.shipped_classes().tolist() == [0, 1]
    store.close()
    store = opened()
    store.set_frozen(1, False)
    assert store.frozen_classes() == frozenset()
    with pytest.raises(InputError, match="classes that are there"):
        store.set_frozen(5, True)


def test_a_removed_class_takes_no_more_samples(opened: Opener) -> None:
    """Neither adding nor labelling accepts the id of a class that is gone."""
    store = opened()
    fill(store)
    store.remove_class(1, forget=False)
    assert store.count() == (10, 4)
    with pytest.raises(InputError, match=r"found \[1\]\. Nothing was changed"):
        store.label([1], [1])
    with pytest.raises(InputError, match=r"found \[1\]\. Nothing was changed"):
        store.add(np.zeros((1, WIDTH), np.uint8), [1], [b"new"], [None], [None])


def test_a_forgotten_class_leaves_no_name(tmp_path: Path) -> None:
    """With forget, samples, name and earlier names are in no file, nor in the reports of versions that stay."""
    folder = tmp_path / "device"
    folder.mkdir()
    codes = np.random.default_rng(0).integers(0, 256, (40, 64)).astype(np.uint8)
    with Store(folder / "device.db", "f" * 64, 64, CLASSES) as store:
        store.add_classes([f"class {i}" for i in range(200)])
        store.add_classes(["Anna Example"])
        number = max(store.classes())
        store.rename_class(number, "Anna E. Example")
        store.rename_class(number, "Frau Beispiel")
        labels = [number if i % 2 else 1 for i in range(40)]
        ids = store.add(codes, labels, [bytes([i] * 16) for i in range(40)], [None] * 40, [None] * 40)
        report = '{"summary": "as good on Frau Beispiel as on moss", "classes": ["moss", "Frau Beispiel"], "n": 3}'
        store.add_version(report, b"others only", samples=ids[::2])
        store.add_version(report, b"both", samples=ids)
        names = (b"Anna Example", b"Anna E. Example", b"Frau Beispiel")
        assert store.remove_class(number, forget=True)
        assert traces(folder, codes[1::2], *names) == []
        assert store.ids().tolist() == ids[::2].tolist()
        (version,) = store.versions()
        assert version.intact
        assert (
            version.report == '{"summary": "as good on (removed) as on moss", "classes": ["moss", "(removed)"], "n": 3}'
        )


def test_unlabelling_a_class_keeps_samples_and_versions(opened: Opener) -> None:
    """Without forget, samples stay without their label, and so do versions."""
    store = opened()
    fill(store)
    ids = store.find(label_id=0)
    store.add_version("{}", b"x", samples=store.ids())
    assert store.remove_class(0, forget=False)
    assert store.shipped_classes().tolist() == [-1, 1]
    assert set(ids.tolist()) <= set(store.unlabelled().ids.tolist())
    assert (store.current, store.refit_pending) == (1, False)


def test_the_bundle_is_held_against_the_names_it_shipped(opened: Opener, path: Path) -> None:
    """Renamed, merged and removed shipped classes still belong to their bundle; names of other classes do not count."""
    store = opened()
    store.rename_class(0, "Rinde")
    store.remove_class(1, forget=True)
    store.add_classes(["moss"])
    store.close()
    assert opened().classes() == {0: "Rinde", 2: "moss"}
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT shipped FROM classes").fetchall() == [("bark",), ("moss",), (None,)]
    connection.close()


def test_samples_are_found_by_what_is_known_of_them(opened: Opener) -> None:
    """By class, tag, key, and any two of them; keys, tags, times and codes come back in the order asked for."""
    store = opened()
    codes = fill(store)
    store.add(255 - codes[:2], [0, None], [b"a", b"b"], ["door", None], ["anna", "anna"])
    assert store.find(tag="anna").tolist() == [11, 12]
    assert store.find(label_id=0, tag="anna").tolist() == [11]
    assert store.find(key="photo 0-4").tolist() == [5]
    assert store.find(key="none").tolist() == []
    with pytest.raises(InputError, match="expected a class, a tag or a key"):
        store.find()
    assert store.keys_of([12, 11, 5]) == [None, "door", "photo 0-4"]
    found = store.samples([12, 3, 11])
    assert found.ids.tolist() == [12, 3, 11]
    assert found.classes.tolist() == [-1, -1, 0]
    assert found.tags == ("anna", None, "anna")
    assert found.codes.tobytes() == np.stack([255 - codes[1], codes[2], 255 - codes[0]]).tobytes()
    assert found.times.shape == (3,)
    assert store.unlabelled().ids.tolist() == [3, 6, 9, 12]
    assert store.labelled().times.dtype == np.float64
    for ask in (store.samples, store.keys_of):
        with pytest.raises(InputError, match=r"expected ids that observe\(\) returned, found 13"):
            ask([1, 13])
