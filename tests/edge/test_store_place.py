"""A store whose file is deleted, renamed or replaced while it is open: nothing is written into nowhere in silence."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.store.store import Store
from acclimate.errors import StoreError

from .stores import CLASSES, WIDTH, fill, sample

FOUND = (
    r"device\.db: expected the file that was opened, found {}; what is written now would be lost\. Put it back under"
)
GONE, OTHER = FOUND.format("that it was deleted or renamed"), FOUND.format("another file in its place")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody delete a file that is open")


def delete(path: Path) -> None:
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink(missing_ok=True)


def rename(path: Path) -> None:
    path.rename(path.with_name("older.db"))


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("older"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    os.replace(path.with_name("copy.db"), path)


def start_anew(path: Path) -> None:
    delete(path)
    Store(path, "f" * 64, WIDTH, CLASSES).close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store lies: in a folder of its own."""
    (tmp_path / "device").mkdir()
    return tmp_path / "device" / "device.db"


@pytest.mark.parametrize(
    ("change", "message"),
    [(delete, GONE), (rename, GONE), (rename_folder, GONE), (replace, OTHER), (start_anew, OTHER)],
)
def test_nothing_is_written_to_a_file_without_its_name(
    path: Path, change: Callable[[Path], None], message: str
) -> None:
    """Every kind of writing says what happened, and changes nothing; reading goes on as it was."""
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        codes = fill(store)
        change(path)
        writes: tuple[Callable[[], object], ...] = (
            lambda: fill(store, 3, 1),
            lambda: store.label([1], [1]),
            lambda: store.add_classes(["crack"]),
            lambda: store.rename_class(0, "Rinde"),
            lambda: store.erase([1]),
            lambda: store.remove_class(1, forget=True),
            lambda: store.add_version("{}", b"head"),
            lambda: store.stage([b"x"], codes[:1]),
            lambda: store.limit(2**20),
            lambda: setattr(store, "current", 0),
            lambda: setattr(store, "newest_update", 5),
        )
        for write in writes:
            with pytest.raises(StoreError, match=message):
                write()
        assert store.count() == (10, 7)
        assert store.samples(store.ids()).codes.tobytes() == codes.tobytes()
        assert store.classes() == {0: "bark", 1: "moss"}


def test_what_happens_inside_a_transaction_is_told_at_its_end(path: Path) -> None:
    """A file that goes while something is being written is found before that is told to be done, and it is undone."""

    def write(store: Store) -> None:
        with store.transaction():
            fill(store)
            delete(path)

    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        with pytest.raises(StoreError, match=GONE):
            write(store)
        assert store.count() == (0, 0)


def test_put_back_it_is_written_again(path: Path) -> None:
    """A file that gets its name again is the one that was opened: nothing was lost in between."""
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        fill(store)
        rename(path)
        with pytest.raises(StoreError, match=GONE):
            store.label([1], [1])
        path.with_name("older.db").rename(path)
        store.label([1], [1])
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        assert store.samples([1]).classes.tolist() == [1]


def test_another_folder_and_a_link_are_no_move(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path and a symbolic link mean the same file after the process has changed its folder."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    monkeypatch.chdir(path.parent)
    with Store("device.db", "f" * 64, WIDTH, CLASSES) as store, Store(link, "f" * 64, WIDTH, CLASSES) as linked:
        monkeypatch.chdir(tmp_path)
        fill(store)
        fill(linked, 2, 1)
        assert store.count()[0] == 12


@pytest.mark.parametrize("where", ["memory", "numberless", "unseen"])
def test_where_nothing_tells_files_apart_nothing_is_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A store in memory, a file system without such numbers, and a folder that may not be looked into: as before."""
    real = os.stat

    def stat(name: Any, *args: Any, **options: Any) -> os.stat_result:
        found = real(name, *args, **options)
        if where == "unseen" and str(name) == str(path) and opening == ["done"]:
            raise PermissionError(13, "Permission denied")
        return os.stat_result((found[0], 0, *found[2:10])) if where == "numberless" else found

    opening: list[str] = []
    monkeypatch.setattr(os, "stat", stat)
    with Store(None if where == "memory" else path, "f" * 64, WIDTH, CLASSES) as store:
        opening.append("done")
        sample(store, np.zeros(WIDTH, np.uint8), 1)
        if where == "numberless":
            rename(path)
            sample(store, np.zeros(WIDTH, np.uint8), 2)


def test_a_learner_predicts_on_and_refuses_to_learn(
    tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, bits: Callable[[Learner, np.ndarray], bytes]
) -> None:
    """The head in use goes on serving, to the bit; whatever would change the store says what is wrong."""
    path = tmp_path / "device.db"
    x, y = scenes.frames(60, 2, 1.0)
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        learner.fit(x, y)
        before = bits(learner, x)
        delete(path)
        for call in (
            lambda: learner.observe(*scenes.frames(5, 3, 1.0)),
            lambda: learner.adapt(on_insufficient="apply"),
            lambda: learner.forget([1]),
            lambda: learner.label([1], ["moss"]),
            lambda: learner.rollback(0),
            lambda: learner.classes.add("crack"),
        ):
            with pytest.raises(StoreError, match="found that it was deleted or renamed"):
                call()
        assert bits(learner, x) == before
        assert learner.samples == (60, 60)
        learner.export(tmp_path / f"model.{learner._session.runtime}")
    assert not path.exists()
