"""Opening a learner: what does not belong together, or does not compute what it should, is refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.errors import (
    AcclimateError,
    BundleFormatError,
    BundleIntegrityError,
    ConformanceError,
    InputError,
    StoreMismatchError,
)

Dump = Callable[[], list[str]]
Remake = Callable[..., Path]


@contextmanager
def unchanged(learner: Learner, dump: Dump, x: np.ndarray) -> Iterator[None]:
    """Assert that store, classes, history and predictions are the same afterwards, to the bit."""

    def state() -> list[object]:
        predicted = learner.predict(x).probabilities.tobytes()
        return [dump(), learner.classes, learner.samples, learner.versions(), predicted]

    before = state()
    yield
    assert state() == before


@pytest.fixture
def adapted(learner: Learner, scenes: ModuleType) -> Learner:
    """Return a learner with sixty samples and a version of its own."""
    learner.fit(*scenes.frames(60, 2, 1.0))
    assert learner.versions()[-1].current
    return learner


def test_a_store_of_another_backbone(
    adapted: Learner, tiny_bundle: Path, remake: Remake, tmp_path: Path, dump: Dump, scenes: ModuleType
) -> None:
    """A bundle with other latents, be it by their scale alone, or with other classes, does not open the store."""
    with Bundle(tiny_bundle) as bundle:
        code = bundle.code(bundle.manifest.variants[0].runtime)
    other = remake("scale.acc", code=replace(code, scale=code.scale * 2))
    renamed = remake("renamed.acc", classes=("bark", "brick", "gravel", "mould"))
    with unchanged(adapted, dump, scenes.frames(4, 3)[0]):
        with pytest.raises(StoreMismatchError, match=r"latents of backbone .*, found those of .*start a new store"):
            Learner.open(other, tmp_path / "device.db", threads=1)
        with pytest.raises(StoreMismatchError, match=r"the classes .*'mould'\] of this bundle, found .*'moss'\]"):
            Learner.open(renamed, tmp_path / "device.db", threads=1)


def test_a_damaged_bundle_makes_no_store(tiny_bundle: Path, tmp_path: Path) -> None:
    """A truncated or bit-flipped bundle, or none at all, is refused before a store is made."""
    content, store = tiny_bundle.read_bytes(), tmp_path / "device.db"
    copy = tmp_path / "copy.acc"
    copy.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleFormatError, match=r"copy\.acc is not a readable bundle"):
        Learner.open(copy, store)
    flipped = bytearray(content)
    with Bundle(tiny_bundle) as bundle:
        backbone = bundle.backbone(bundle.manifest.variants[0].runtime)
    flipped[content.index(backbone) + len(backbone) // 2] ^= 1
    copy.write_bytes(flipped)
    runtime = bundle.manifest.variants[0].runtime
    with pytest.raises(BundleIntegrityError, match=r"expected '.*/backbone\..*' with .*, found .* was damaged"):
        Learner.open(copy, store, runtime=runtime)
    with pytest.raises(FileNotFoundError):
        Learner.open(tmp_path / "none.acc", store)
    assert not store.exists()


def test_a_backbone_that_computes_something_else(tiny_bundle: Path, remake: Remake, tmp_path: Path) -> None:
    """If the runtime's latents are not those that the bundle promises, it is not opened."""
    with Bundle(tiny_bundle) as bundle:
        promised = bundle.conformance(bundle.manifest.variants[0].runtime)
    wrong = remake(conformance=replace(promised, latent=promised.latent + np.abs(promised.latent).max()))
    with pytest.raises(ConformanceError, match=r"other\.acc: expected latents within .* found .*use the other"):
        Learner.open(wrong, tmp_path / "device.db", threads=1)


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
