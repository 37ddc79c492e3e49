"""What every test may use: the checked-in tiny bundle, and frames like those it was trained on."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """A small real bundle with an ONNX and a TFLite variant; `tests/fixtures/make_tiny.py` makes it."""
    return FIXTURES / "tiny.acc"


@pytest.fixture(scope="session")
def tail_bundle() -> Path:
    """A small real bundle whose last blocks can be trained in both variants; `tests/fixtures/make_tail.py` makes it."""
    return FIXTURES / "tail.acc"


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """The module `tests/fixtures/scenes.py`: `CLASSES`, `SHAPE`, `frames(n, seed, shift) -> (frames, labels)`."""
    return _load("scenes")


@pytest.fixture(scope="session")
def zips() -> ModuleType:
    """The module `tests/fixtures/zips.py`: `build(members)` writes containers, right ones and others."""
    return _load("zips")


@pytest.fixture(scope="session")
def forgery() -> ModuleType:
    """The module `tests/fixtures/forgery.py`: `forge(...)` alters a bundle and makes its hashes fit again."""
    return _load("forgery")


@pytest.fixture(scope="session")
def onnx_by_hand() -> ModuleType:
    """The module `tests/fixtures/onnx_by_hand.py`: ONNX files without the onnx package, sound ones and others."""
    return _load("onnx_by_hand")


def _load(name: str) -> ModuleType:
    # pytest's importlib mode puts no folder on the path, so that tests cannot import each other by accident.
    spec = spec_from_file_location(name, FIXTURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
