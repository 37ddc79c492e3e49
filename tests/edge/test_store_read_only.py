"""Media that cannot be written: everything can be read, and writing is our error."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.store import connection as connection_module
from acclimate.edge.store.store import Store
from acclimate.errors import StoreError

from .damage import make
from .stores import WIDTH


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which every file counts as one that this process may not write to."""
    return lambda: monkeypatch.setattr(connection_module, "is_read_only", lambda path: path.exists())


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path, read_only: Callable[[], None]) -> None:
    """On media that cannot be written everything can be read, writing is our error, and no file appears beside it."""
    path = tmp_path / "device.db"
    before = make(path)
    read_only()
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert store.read_only
        assert store.count() == (40, 40)
        assert len(store.labelled().ids) == 40
        assert store.current == 1
        writes = (lambda: store.label([1], [1]), lambda: store.add_classes(["x"]), lambda: store.add_version("", b""))
        for write in writes:
            with pytest.raises(StoreError, match=r"device\.db is read-only: expected a file and folder that"):
                write()
        store.conformed = "not kept"
        assert store.conformed == ""
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["device.db"]


def test_a_learner_predicts_from_a_read_only_store(
    tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, read_only: Callable[[], None]
) -> None:
    """An adapted head on read-only media predicts as before; observing and rolling back are refused."""
    path = tmp_path / "device.db"
    x, y = scenes.frames(80, 2, 1.0)
    with Learner.open(tiny_bundle, path) as learner:
        learner.fit(x, y)
        expected = learner.predict(x).probabilities
    read_only()
    with Learner.open(tiny_bundle, path) as learner:
        assert learner.predict(x).probabilities.tobytes() == expected.tobytes()
        with pytest.raises(StoreError, match="is read-only"):
            learner.observe(*scenes.frames(4, 3))
        with pytest.raises(StoreError, match="is read-only"):
            learner.rollback()
        assert learner.predict(x).probabilities.tobytes() == expected.tobytes()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_permissions_make_a_store_read_only(tmp_path: Path, what: str) -> None:
    """Without the right to write to the file, or to the folder that takes the log, the store is opened for reading."""
    folder = tmp_path / "media"
    folder.mkdir()
    path = folder / "device.db"
    make(path)
    target = path if what == "file" else folder
    target.chmod(0o444 if what == "file" else 0o555)
    try:
        if os.access(target, os.W_OK):
            pytest.skip("this user may write to everything")
        with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
            assert store.read_only
            assert store.count() == (40, 40)
    finally:
        target.chmod(0o755)


def test_what_a_power_cut_left_in_the_log_is_read(tmp_path: Path, read_only: Callable[[], None]) -> None:
    """A copy taken while the store was open holds its newest samples in the log; reading alone does not miss them."""
    path, copy = tmp_path / "device.db", tmp_path / "copy" / "device.db"
    make(path)
    copy.parent.mkdir()
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        store.add(np.zeros((1, WIDTH), np.uint8), [0], [b"x"], [None], [None])
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    read_only()
    with Store(copy, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert store.count() == (41, 41)
