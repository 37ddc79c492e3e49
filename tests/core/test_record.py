"""Records: what dataclasses promise, without their cost."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.record import record


@record()
class Point:
    """A point."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    sum: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.x + self.y)


@dataclass(frozen=True)
class Reference:
    """The same as the standard library makes it."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    sum: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.x + self.y)


@record()
class Pair:
    """Nothing but values."""

    a: object
    b: object = None


@record()
class Secret:
    """One field is not shown, another not compared."""

    key: str = field(repr=False)
    note: str = field(default="", compare=False)


@record(eq=False)
class Arrays:
    """Compared by identity."""

    a: Any


VALUES = st.one_of(st.integers(-3, 3), st.text(max_size=2), st.none(), st.tuples(st.integers(0, 2)))


def test_it_is_what_the_standard_librarys_tools_take_it_for() -> None:
    """`fields`, `asdict` and `replace` give what they give of the dataclass; so does printing."""
    ours, theirs = Point(3, tags=["a"]), Reference(3, tags=["a"])
    assert is_dataclass(Point)
    assert [one.name for one in fields(ours)] == [one.name for one in fields(theirs)]
    assert asdict(ours) == asdict(theirs) == {"x": 3, "y": 2, "tags": ["a"], "sum": 5}
    assert asdict(replace(ours, x=7)) == asdict(replace(theirs, x=7))
    assert repr(Pair(1, "b")) == "Pair(a=1, b='b')"
    assert repr(ours) == repr(theirs).replace("Reference", "Point")
    assert repr(Secret("hidden", "seen")) == "Secret(note='seen')"
    assert Secret("a", "b") == Secret("a", "c") != Secret("b", "b")


def test_defaults_are_made_anew_for_each() -> None:
    """A list of one is not the list of another."""
    first, second = Point(1), Point(1)
    first.tags.append("only here")
    assert second.tags == []


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 1}), ((1,), {"sum": 3})],
)
def test_wrong_calls_fail_as_they_do_elsewhere(args: tuple[Any, ...], given: dict[str, Any]) -> None:
    """Too few, too many, twice, unknown, derived: TypeError here and there."""
    for kind in (Point, Reference):
        with pytest.raises(TypeError):
            kind(*args, **given)


def test_nothing_changes_it() -> None:
    """Neither setting nor deleting, of fields or anything else."""
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="'new'"):
        point.new = 2
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del point.x
    assert point.x == 1


@given(a=VALUES, b=VALUES, c=VALUES, d=VALUES)
def test_equality_is_that_of_values(a: object, b: object, c: object, d: object) -> None:
    """As tuples are equal, and hash alike where they are; never equal to another class's."""
    assert (Pair(a, b) == Pair(c, d)) == ((a, b) == (c, d))
    if (a, b) == (c, d):
        assert hash(Pair(a, b)) == hash(Pair(c, d))
    values: object = (a, b)
    assert Pair(a, b) != values


def test_arrays_are_compared_by_identity() -> None:
    """A record of arrays equals itself only, and can be a key."""
    one = Arrays([1])
    assert one == one
    assert one != Arrays([1])
    assert {one: 1}[one] == 1


def test_the_device_side_compiles_no_dataclass() -> None:
    """Opening and adapting import no class whose methods are written at import: that is what records are for."""
    code = (
        "import dataclasses as d; seen = []; made = d._process_class\n"
        "def watch(cls, init, *rest):\n"
        "    if init and cls.__module__.startswith('acclimate'): seen.append(cls.__qualname__)\n"
        "    return made(cls, init, *rest)\n"
        "d._process_class = watch\n"
        "import acclimate.edge, acclimate.edge.learner, acclimate.edge.adaptation.run\n"
        "print(seen)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
