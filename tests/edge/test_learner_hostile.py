"""Odd callers and odd circumstances: an error in words or the right answer, and a state that is as it was."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.errors import AcclimateError, InputError, LabelError, StoreError

from .learners import Opening, fresh

Dump = Callable[[], list[str]]
Call = Callable[[Learner, np.ndarray, Path], object]
N = 60

READING: dict[str, Call] = {
    "predict": lambda le, x, to: le.predict(x),
    "score": lambda le, x, to: le.score(x, ["moss"] * len(x)),
    "samples": lambda le, x, to: le.samples,
    "classes": lambda le, x, to: list(le.classes),
    "ids": lambda le, x, to: le.classes.ids,
    "versions": lambda le, x, to: le.versions(),
    "keys": lambda le, x, to: le.keys([1]),
    "suggest": lambda le, x, to: le.suggest(3, "k-centre"),
    "suspects": lambda le, x, to: le.suspects(),
    "estimate": lambda le, x, to: le.estimate(),
    "export": lambda le, x, to: le.export(to / f"m.{le._session.runtime}"),
    "save_update": lambda le, x, to: le.save_update(to / "u.accu"),
}
WRITING: dict[str, Call] = {
    "observe": lambda le, x, to: le.observe(255 - x[:2]),
    "fit": lambda le, x, to: le.fit(255 - x[:2], ["moss", "bark"]),
    "partial_fit": lambda le, x, to: le.partial_fit(255 - x[2:4], ["moss", "bark"]),
    "label": lambda le, x, to: le.label([1], ["moss"]),
    "adapt": lambda le, x, to: le.adapt(on_insufficient="apply"),
    "forget": lambda le, x, to: le.forget([2]),
    "rollback": lambda le, x, to: le.rollback(0),
    "add": lambda le, x, to: le.classes.add("crack"),
    "rename": lambda le, x, to: le.classes.rename("crack", "rift"),
    "split": lambda le, x, to: le.classes.split("moss", [le._session.store.find(label_id=3)[0]], "lichen"),
    "merge": lambda le, x, to: le.classes.merge(["bark", "brick"], "bark"),
    "freeze": lambda le, x, to: le.classes.freeze("moss"),
    "remove": lambda le, x, to: le.classes.remove("gravel", forget=True),
}


@pytest.fixture
def used(opening: Opening, scenes: ModuleType) -> Learner:
    """Return a learner with samples, keys and a version."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    learner.observe(x, y, keys=[f"k{i}" for i in range(N)])
    learner.adapt(on_insufficient="apply")
    return learner


def test_a_closed_learner_says_so(used: Learner, scenes: ModuleType, tmp_path: Path, dump: Dump) -> None:
    """Every call on a closed learner is our error that names the store, and writes nothing."""
    x, before = scenes.frames(4, 98)[0], dump()
    used.close()
    used.close()
    for call in [*READING.values(), *WRITING.values()]:
        with pytest.raises(StoreError, match=r"device\.db: expected an open store, found that it was closed\. Open it"):
            call(used, x, tmp_path)
    assert dump() == before
    assert [path.name for path in tmp_path.iterdir()] == ["device.db"]


def test_a_read_only_store_is_read(
    used: Learner, opening: Opening, scenes: ModuleType, tmp_path: Path, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever only reads gives the answer of before; whatever writes is refused in words; the file stays as it is."""
    x = scenes.frames(8, 98)[0]
    expected = used.predict(x).probabilities.tobytes()
    used.close()
    monkeypatch.setattr("acclimate.edge.store.connection.is_read_only", lambda path: path.exists())
    learner, before = opening("device.db"), dump()
    (tmp_path / "out").mkdir()
    for call in READING.values():
        call(learner, x, tmp_path / "out")
    assert learner.predict(x).probabilities.tobytes() == expected
    for name, call in WRITING.items():
        if name not in ("rename", "split"):
            with pytest.raises(StoreError, match=r"device\.db is read-only: expected a file and folder that this pro"):
                call(learner, x, tmp_path)
    assert dump() == before


def test_everything_works_in_memory(
    opening: Opening, scenes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store every method works, in any order, and nothing is written but what was asked for."""
    monkeypatch.chdir(tmp_path)
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening(), x, y)
    for call in [*WRITING.values(), *READING.values()]:
        call(learner, x[:8], tmp_path)
    assert learner.apply_update(tmp_path / "u.accu") > 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".accu", f".{learner._session.runtime}"}


def test_a_store_that_was_deleted_underneath(used: Learner, scenes: ModuleType, tmp_path: Path) -> None:
    """The open learner goes on with what it has; whatever fails is our error."""
    x = scenes.frames(8, 98)[0]
    expected = used.predict(x).probabilities.tobytes()
    for path in tmp_path.glob("device.db*"):
        path.unlink()
    assert used.predict(x).probabilities.tobytes() == expected
    for call in [*WRITING.values(), *READING.values()]:
        try:
            call(used, x, tmp_path)
        except AcclimateError:
            continue


def test_a_table_that_was_dropped_underneath(used: Learner, scenes: ModuleType, tmp_path: Path) -> None:
    """Another program that ruins the file gets our errors out of every call, and nothing else."""
    connection = sqlite3.connect(tmp_path / "device.db")
    connection.execute("DROP TABLE samples")
    connection.close()
    x = scenes.frames(8, 98)[0]
    for call in [*WRITING.values(), *READING.values()]:
        try:
            call(used, x, tmp_path)
        except AcclimateError:
            continue


ODD: list[dict[str, Any]] = [
    {"class_weight": "balanced"},
    {"class_weight": [1, 2, 3, 4]},
    {"class_weight": {"crack": 2}},
    {"class_weight": {"moss": 0}},
    {"class_weight": {"moss": "2"}},
    {"class_weight": {"moss": None}},
    {"class_weight": {"moss": float("nan")}},
    {"class_weight": {"moss": np.array([1, 2])}},
    {"class_weight": {"moss": 10**400}},
    {"sample_weight": [1.0] * N},
    {"sample_weight": np.ones(N)},
    {"sample_weight": {"1": 2}},
    {"sample_weight": {True: 2}},
    {"sample_weight": {1: -1}},
    {"sample_weight": {999: 1}},
    {"sample_weight": {None: 1}},
    {"max_seconds": 0},
    {"max_seconds": "1"},
    {"max_seconds": True},
    {"max_seconds": float("inf")},
    {"max_memory_mb": float("nan")},
    {"max_memory_mb": [1]},
    {"max_memory_mb": -1},
    {"max_forgetting": float("nan")},
    {"max_forgetting": -1},
    {"max_forgetting": 101},
    {"max_forgetting": True},
    {"max_forgetting": "10"},
]


@pytest.mark.parametrize("options", ODD, ids=lambda options: repr(options)[:40])
def test_options_of_adapting_that_do_not_fit(adapted: Learner, dump: Dump, options: dict[str, Any]) -> None:
    """Weights that are none or for nothing, and limits that limit nothing, are refused before anything is done."""
    before = dump()
    with pytest.raises(InputError, match="expected"):
        adapted.adapt(**options)
    assert dump() == before


def test_numbers_of_numpy_are_numbers(adapted: Learner) -> None:
    """Whole and floating numbers of numpy serve wherever Python's do."""
    options: dict[str, Any] = {
        "class_weight": {"moss": np.float32(2)},
        "sample_weight": {np.int64(1): np.int32(3)},
        "max_seconds": np.float64(30),
        "max_memory_mb": np.int64(500),
        "max_forgetting": np.float32(100),
    }
    adapted.adapt(**options)
    adapted.label(np.array([1, 2], np.uint16), np.array(["moss", "bark"]))
    assert adapted.keys((np.uint8(1),)) == [None]  # type: ignore[arg-type]
    assert adapted.forget({3: 0, 4: 0}).samples == 2  # type: ignore[arg-type]


def test_a_store_without_a_name(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty name, as of a variable that was not set, is refused: it would keep nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("", ":memory:"):
        with pytest.raises(InputError, match="expected the name of a file for the store, or None, found"):
            Learner.open(tiny_bundle, name, threads=1)
    assert not list(tmp_path.iterdir())


def test_ten_thousand_classes(tiny_bundle: Path) -> None:
    """As many classes as frames are added, listed, renamed, merged and removed, and errors do not list them all."""
    x = np.random.default_rng(0).integers(0, 256, (10_000, 8, 8, 1), dtype=np.uint8)
    with Learner.open(tiny_bundle, threads=1) as learner:
        learner.observe(x, [f"class {i}" for i in range(10_000)])
        assert len(list(learner.classes)) == 10_004
        learner.classes.rename("class 0", "first")
        learner.classes.merge([f"class {i}" for i in range(1, 20)], "many")
        learner.classes.remove("class 9999", forget=True)
        assert learner.samples == (9_999, 9_999)
        assert learner.classes.ids["many"] == 5
        for call in (lambda: learner.classes.remove("nothing"), lambda: learner.forget(label="nothing")):
            with pytest.raises(LabelError, match="expected one of the classes") as caught:
                call()
            assert len(str(caught.value)) < 1_000
