"""What a store holds, read past the learner, and what each operation may make of it: the oracle of the fault runs."""

import copy
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...fixtures.scenes import CLASSES
from .operations import keys

MAX_VERSIONS = 20
# What needs the head in use: if that was forgotten, another one is fitted first.
LAZY = ("create", "open", "predict", "export", "save", "read", "adapt", "rollback")
Order = dict[str, Any]


@dataclass
class State:
    """The logical content of a store.

    Args:
        samples: Class id or None, key and tag of every sample by its id.
        classes: Name or None, state, and what it was merged into, of every class by its id.
        versions: Ids of the samples that each version was trained on, by its number.
        current: Version in use.
        refit: Whether the version in use was forgotten and nothing was fitted since.
        trail: Versions that were in use, oldest first, without those gone back from and those that are gone.
        newest_update: Number of the newest update applied.
        given: The last id ever given to a sample, a class and a version.
    """

    samples: dict[int, tuple[int | None, str | None, str | None]] = field(default_factory=dict)
    classes: dict[int, tuple[str | None, str, int | None]] = field(default_factory=dict)
    versions: dict[int, frozenset[int]] = field(default_factory=dict)
    current: int = 0
    refit: bool = False
    trail: tuple[int, ...] = ()
    newest_update: int = 0
    given: tuple[int, int, int] = (0, 0, 0)

    def names(self) -> dict[str, int]:
        """Return the id of every class that is there by its name."""
        return {name: i for i, (name, _, _) in self.classes.items() if name is not None}

    def labelled(self) -> frozenset[int]:
        """Return the ids of the labelled samples."""
        return frozenset(i for i, (label, _, _) in self.samples.items() if label is not None)

    def become(self) -> dict[int, int]:
        """Return what each class stands for now; removed ones are missing."""
        now = {i: i if state != "removed" else into for i, (_, state, into) in self.classes.items()}
        return {i: into for i, into in now.items() if into is not None}

    def history(self) -> list[list[object]]:
        """Return number of every version, and whether it is in use; 0 is the shipped head."""
        return [[number, number == self.current] for number in [0, *sorted(self.versions)]]

    def _class(self, name: str) -> int:
        if name not in self.names():
            s, c, v = self.given
            self.given = (s, c + 1, v)
            self.classes[c + 1] = (name, "active", None)
        return self.names()[name]

    def _version(self, trained: frozenset[int]) -> None:
        s, c, v = self.given
        self.given = (s, c, v + 1)
        self.versions[v + 1] = trained
        self.versions = dict(sorted(self.versions.items())[-MAX_VERSIONS:])
        self._use(v + 1)

    def _use(self, number: int) -> None:
        self.current, self.refit = number, False
        self.trail = tuple(n for n in self.trail if n < number and n in self.versions) + ((number,) if number else ())

    def _erase(self, ids: Iterable[int]) -> None:
        gone = set(ids)
        self.samples = {i: row for i, row in self.samples.items() if i not in gone}
        lost = {number for number, trained in self.versions.items() if trained & gone}
        self.versions = {number: trained for number, trained in self.versions.items() if number not in lost}
        self.trail = tuple(number for number in self.trail if number not in lost)
        if self.current in lost:
            self.current, self.refit = 0, True

    def _drop_class(self, class_id: int, into: int | None) -> None:
        self.classes[class_id] = (None, "removed", into)
        for i, (name, state, target) in self.classes.items():
            if target == class_id:
                self.classes[i] = (name, state, into)

    def _relabel(self, ids: Iterable[int], labels: Iterable[int | None]) -> None:
        for i, label in zip(ids, labels, strict=True):
            self.samples[i] = (label, *self.samples[i][1:])

    def of_class(self, class_id: int) -> list[int]:
        """Return the ids of the samples of a class."""
        return [i for i, row in self.samples.items() if row[0] == class_id]


FOUNDED = State(classes={i: (name, "active", None) for i, name in enumerate(CLASSES)}, given=(0, 3, 0))


def outcomes(before: State, order: Order) -> list[State]:
    """Return every state that an operation may leave a store in, killed at whatever moment: before, between, after."""
    between = _ready(before) if before.refit and order["kind"] in LAZY else []
    return [before, *between, *finals(before, order)]


def finals(before: State, order: Order) -> list[State]:
    """Return every state that an operation that was told to be done may leave a store in."""
    if before == State():
        return [FOUNDED]
    kind, ready = order["kind"], _ready(before)
    if kind == "adapt":
        return [*ready, *map(_fitted, ready)]
    if kind == "rollback":
        return [after(state, order) for state in ready]
    return ready if kind in LAZY else [after(before, order)]


def _ready(state: State) -> list[State]:
    """Return the states with a head in use again: fitted on what is left, or the last that never saw what is gone."""
    if not state.refit:
        return [state]
    settled = copy.deepcopy(state)
    settled._use(max(state.trail, default=0))
    return [_fitted(state), settled]


def differences(found: State, allowed: list[State]) -> str:
    """Say in which fields a state differs from those that are right."""
    lines = [f"found {field.name}: {getattr(found, field.name)}" for field in fields(State)]
    for state in allowed:
        other = [f.name for f in fields(State) if getattr(found, f.name) != getattr(state, f.name)]
        lines += [f"one right {name}: {getattr(state, name)}" for name in other]
    return "\n".join(lines) if found not in allowed else ""


def _fitted(state: State) -> State:
    found = copy.deepcopy(state)
    found._version(state.labelled())
    return found


def after(before: State, order: Order) -> State:
    """Return the state after an operation that does one thing, and all of it."""
    state = copy.deepcopy(before)
    names, kind = state.names(), order["kind"]
    if kind == "observe":
        ids = [None if name is None else state._class(name) for name in order["labels"]]
        first = state.given[0] + 1
        rows = zip(ids, keys(order["seed"], order["n"]), strict=True)
        state.samples |= {first + i: (label, key, order["tag"]) for i, (label, key) in enumerate(rows)}
        state.given = (first + order["n"] - 1, *state.given[1:])
    elif kind == "label":
        state._relabel(order["ids"], [None if name is None else state._class(name) for name in order["labels"]])
    elif kind == "forget":
        state._erase(chosen(before, order))
    elif kind == "rollback":
        # What was asked for is in use, whatever was still to be fitted.
        state._use(order["number"])
    elif kind == "apply":
        state._version(frozenset(order["trained"]))
        state.newest_update = order["update"]
    elif kind == "add":
        state._class(order["name"])
    elif kind == "rename":
        _, *rest = state.classes[names[order["name"]]]
        state.classes[names[order["name"]]] = (order["to"], *rest)
    elif kind == "merge":
        target = names.get(order["into"], names[order["names"][0]])
        for name in order["names"]:
            if names[name] != target:
                gone = state.of_class(names[name])
                state._relabel(gone, [target] * len(gone))
                state._drop_class(names[name], target)
        if order["into"] not in names:
            state.classes[target] = (order["into"], *state.classes[target][1:])
    elif kind == "split":
        state._relabel(order["ids"], [state._class(order["into"])] * len(order["ids"]))
    elif kind == "remove":
        own = state.of_class(names[order["name"]])
        if order["forget"]:
            state._erase(own)
        else:
            state._relabel(own, [None] * len(own))
        state._drop_class(names[order["name"]], None)
    elif kind == "freeze":
        name, _, into = state.classes[names[order["name"]]]
        state.classes[names[order["name"]]] = (name, "frozen" if order["frozen"] else "active", into)
    elif kind != "versions":
        raise AssertionError(kind)
    return state


def chosen(state: State, order: Order) -> list[int]:
    """Return the ids that an order to forget is about."""
    if "ids" in order:
        return list(order["ids"])
    if "label" in order:
        return state.of_class(state.names()[order["label"]])
    return [i for i, (_, _, tag) in state.samples.items() if tag == order["tag"]]


def read_state(path: Path) -> State:
    """Read a store through a connection of one's own, and check that it is sound in itself."""
    if not path.exists():
        return State()
    connection = sqlite3.connect(path)
    try:
        if not connection.execute("PRAGMA schema_version").fetchone()[0]:
            return State()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        samples = connection.execute("SELECT id, class, key, tag FROM samples ORDER BY id").fetchall()
        classes = connection.execute("SELECT id, name, state, merged_into FROM classes ORDER BY id").fetchall()
        versions = connection.execute("SELECT id, samples FROM versions ORDER BY id").fetchall()
        numbers = {number for number, _ in versions}
        settings = dict(connection.execute("SELECT name, value FROM settings").fetchall())
        given = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        slots = [
            slot
            for table in ("samples", "staged", "free")
            for (slot,) in connection.execute(f"SELECT slot FROM {table}")  # noqa: S608  one of three
        ]
        # Every slot is a sample's, a staged one or free, and only one of them.
        assert sorted(slots) == [slot for (slot,) in connection.execute("SELECT slot FROM latents ORDER BY slot")]
    finally:
        connection.close()
    return State(
        {i: (label, key, tag) for i, label, key, tag in samples},
        {i: (name, state, into) for i, name, state, into in classes},
        {number: _unpack(runs) for number, runs in versions},
        int(settings["current"]),
        bool(settings["refit"]),
        tuple(number for number in map(int, settings["trail"].split()) if number in numbers),
        int(settings["newest_update"]),
        (given.get("samples", 0), given.get("classes", 0), given.get("versions", 0)),
    )


def read_codes(path: Path) -> dict[int, bytes]:
    """Return the latent codes of every sample, without what seals them."""
    if read_state(path) == State():
        return {}
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT s.id, l.codes FROM samples AS s JOIN latents AS l ON l.slot = s.slot")
        return {i: content[:-4] for i, content in rows}
    finally:
        connection.close()


def read_staged(path: Path) -> int:
    """Return how many samples are put aside."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM staged").fetchone()[0])
    finally:
        connection.close()


def _unpack(runs: bytes) -> frozenset[int]:
    pairs = np.frombuffer(runs, "<i8").reshape(-1, 2)
    return frozenset(i for first, last in pairs.tolist() for i in range(first, last + 1))
