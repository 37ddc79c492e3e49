"""Opening a learner: what does not belong together, or does not compute what it should, is refused."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import choose_runtime
from acclimate.errors import (
    AcclimateError,
    BundleFormatError,
    BundleIntegrityError,
    ConformanceError,
    InputError,
    StoreError,
    StoreMismatchError,
)

Dump = Callable[[], list[str]]
Remake = Callable[..., Path]


def test_a_store_of_another_backbone(
    adapted: Learner, tiny_bundle: Path, remake: Remake, tmp_path: Path, dump: Dump
) -> None:
    """A bundle with other latents, be it by their scale alone, or with other classes, does not open the store."""
    with Bundle(tiny_bundle) as bundle:
        code = bundle.code(bundle.manifest.variants[0].runtime)
    other = remake("scale.acc", code=replace(code, scale=code.scale * 2))
    renamed = remake("renamed.acc", classes=("bark", "brick", "gravel", "mould"))
    before, versions = dump(), adapted.versions()
    with pytest.raises(StoreMismatchError, match=r"latents of backbone .*, found those of .*start a new store"):
        Learner.open(other, tmp_path / "device.db", threads=1)
    with pytest.raises(StoreMismatchError, match=r"the classes .*'mould'\] of this bundle, found .*'moss'\]"):
        Learner.open(renamed, tmp_path / "device.db", threads=1)
    assert (dump(), adapted.versions()) == (before, versions)


def test_a_damaged_bundle_makes_no_store(tiny_bundle: Path, tmp_path: Path) -> None:
    """A truncated or bit-flipped bundle, or none at all, is refused before a store is made."""
    content, store = tiny_bundle.read_bytes(), tmp_path / "device.db"
    copy = tmp_path / "copy.acc"
    copy.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleFormatError, match=r"copy\.acc is not a readable bundle"):
        Learner.open(copy, store)
    flipped = bytearray(content)
    with Bundle(tiny_bundle) as bundle:
        runtime = choose_runtime(bundle)
        backbone = bundle.backbone(runtime)
    flipped[content.index(backbone) + len(backbone) // 2] ^= 1
    copy.write_bytes(flipped)
    with pytest.raises(BundleIntegrityError, match=r"expected '.*/backbone\..*' with .*, found .* was damaged"):
        Learner.open(copy, store, runtime=runtime)
    with pytest.raises(FileNotFoundError):
        Learner.open(tmp_path / "none.acc", store)
    assert not store.exists()


def test_a_backbone_that_computes_something_else(tiny_bundle: Path, remake: Remake, tmp_path: Path) -> None:
    """If the runtime's latents are not those that the bundle promises, it is not opened, and no store is made."""
    with Bundle(tiny_bundle) as bundle:
        promised = bundle.conformance(choose_runtime(bundle))
    wrong = remake(conformance=replace(promised, latent=promised.latent + np.abs(promised.latent).max()))
    with pytest.raises(ConformanceError, match=r"other\.acc: expected latents within .* found .*use the other"):
        Learner.open(wrong, tmp_path / "device.db", threads=1)
    # The remedy may be another variant: no store was bound to this one.
    assert not (tmp_path / "device.db").exists()


def test_a_first_prediction_without_any_head(remake: Remake, scenes: ModuleType) -> None:
    """A bundle that ships no head predicts nothing until something was learnt, and says how."""
    with Learner.open(remake(head=None), threads=1) as learner:
        with pytest.raises(InputError, match=r"a head to predict with, found none: observe labelled samples"):
            learner.predict(scenes.frames(4, 3)[0])
        assert learner.versions()[0].summary == "no head was shipped"


def test_a_closed_learner_says_so(learner: Learner, scenes: ModuleType) -> None:
    """After closing, what needs the store is refused with our error."""
    learner.close()
    learner.close()
    for call in (lambda: learner.observe(*scenes.frames(4, 3)), learner.adapt, learner.versions, learner.rollback):
        with pytest.raises(AcclimateError, match="closed"):
            call()


@pytest.mark.parametrize("store", ["device.db", None])
def test_a_closed_learner_predicts_nothing(
    tiny_bundle: Path, scenes: ModuleType, tmp_path: Path, store: str | None
) -> None:
    """Neither from a file nor from memory, and at once, not only when it next looks into its store."""
    learner = Learner.open(tiny_bundle, None if store is None else tmp_path / store, threads=1)
    x, _ = scenes.frames(4, 3)
    learner.predict(x)
    learner.close()
    with pytest.raises(StoreError, match="expected an open store, found that it was closed"):
        learner.predict(x)


@pytest.mark.parametrize("name", [5, b"device.db", True, "", ".", "/", ":memory:", Path()])
def test_what_names_no_file(tiny_bundle: Path, name: Any) -> None:
    """A bundle or store that is no text or path, or a folder's dots: told with what was given."""
    for arguments in ((tiny_bundle, name), (name,)):
        with pytest.raises(InputError, match=r"expected the name of a file for the (store|bundle).*, found ") as said:
            Learner.open(*arguments)
        assert repr(name) in str(said.value)


def test_a_callback_that_cannot_be_called(learner: Learner, scenes: ModuleType) -> None:
    """Told before anything is embedded or fitted."""
    progress: Any = 5
    with pytest.raises(InputError, match="expected progress as a function of the steps done and of all"):
        learner.observe(*scenes.frames(4, 3), progress=progress)
    assert learner.samples == (0, 0)
    learner.observe(*scenes.frames(40, 3))
    with pytest.raises(InputError, match="expected progress as a function"):
        learner.adapt(progress=progress)


def test_opening_waits_no_longer_than_it_may(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection to the store, the first look at it too, is made with the time that was given."""
    path, seen = tmp_path / "device.db", []
    Learner.open(tiny_bundle, path, threads=1).close()
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        seen.append(options["timeout"])
        made: sqlite3.Connection = real(*arguments, **options)
        return made

    monkeypatch.setattr(sqlite3, "connect", connect)
    Learner.open(tiny_bundle, path, threads=1, timeout=0.25).close()
    assert seen == [0.25, 0.25]


def test_a_machine_is_checked_once(tiny_bundle: Path, remake: Remake, tmp_path: Path) -> None:
    """The bundle's own inputs are run on the first opening, and again when the store comes to another machine."""
    store = tmp_path / "device.db"
    with Bundle(tiny_bundle) as bundle:
        promised = bundle.conformance(choose_runtime(bundle))
    wrong = remake(conformance=replace(promised, latent=promised.latent + np.abs(promised.latent).max()))
    Learner.open(tiny_bundle, store, threads=1).close()
    Learner.open(wrong, store, threads=1).close()
    connection = sqlite3.connect(store)
    connection.execute("UPDATE settings SET value = 'another machine' WHERE name = 'conformed'")
    connection.commit()
    connection.close()
    with pytest.raises(ConformanceError, match=r"other\.acc: expected latents within"):
        Learner.open(wrong, store, threads=1)
