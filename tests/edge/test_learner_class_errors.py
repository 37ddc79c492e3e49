"""What cannot be done with classes is refused in words, and leaves the store as it was, row for row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acclimate.edge import Learner
from acclimate.errors import InputError, LabelError

from .learners import Opening

Dump = Callable[[], list[str]]
JUNK: Any = [["moss"], 1.5]
NUMBER: Any = 5
NOTHING: Any = None
TEXTS: Any = ["1"]
BAD: dict[str, tuple[Callable[[Learner], object], type[Exception], str]] = {
    "add taken": (lambda le: le.classes.add("moss"), LabelError, "expected a name that no class has yet, found 'moss'"),
    "add blank": (lambda le: le.classes.add(" "), LabelError, "expected a class name of 1 to 200 printable"),
    "add None": (lambda le: le.classes.add(NOTHING), LabelError, "expected a class name .* found None"),
    "rename unknown": (
        lambda le: le.classes.rename("crack", "rift"),
        LabelError,
        "expected one of the classes .*'crack",
    ),
    "rename taken": (
        lambda le: le.classes.rename("moss", "bark"),
        LabelError,
        "a name that no class has yet, found 'ba",
    ),
    "rename long": (lambda le: le.classes.rename("moss", "x" * 201), LabelError, "expected a class name of 1 to 200"),
    "merge text": (
        lambda le: le.classes.merge("moss", "bark"),
        LabelError,
        "expected a list of classes to merge, found",
    ),
    "merge number": (
        lambda le: le.classes.merge(NUMBER, "bark"),
        LabelError,
        "expected a list of classes to merge, found 5",
    ),
    "merge none": (lambda le: le.classes.merge([], "bark"), LabelError, r"at least two classes to merge, found \[\]"),
    "merge one": (lambda le: le.classes.merge(["moss"], "moss"), LabelError, "expected at least two classes to merge"),
    "merge one anew": (
        lambda le: le.classes.merge(["moss"], "rift"),
        LabelError,
        "expected at least two classes to merg",
    ),
    "merge one twice": (
        lambda le: le.classes.merge(["moss", "moss"], "rift"),
        LabelError,
        "at least two classes to mer",
    ),
    "merge unknown": (
        lambda le: le.classes.merge(["moss", "crack"], "bark"),
        LabelError,
        "expected one of the classes",
    ),
    "merge junk": (lambda le: le.classes.merge(JUNK, "bark"), LabelError, "expected a class name"),
    "merge into blank": (lambda le: le.classes.merge(["moss", "bark"], ""), LabelError, "expected a class name of 1"),
    "split unknown": (lambda le: le.classes.split("crack", [1], "rift"), LabelError, "expected one of the classes"),
    "split taken": (lambda le: le.classes.split("moss", moss(le), "bark"), LabelError, "a name that no class has yet"),
    "split foreign": (
        lambda le: le.classes.split("bark", moss(le), "rift"),
        LabelError,
        "ids of samples of 'bark', fou",
    ),
    "split none": (lambda le: le.classes.split("moss", [], "rift"), LabelError, "ids of samples of 'moss', found none"),
    "split unstored": (lambda le: le.classes.split("moss", [999], "rift"), LabelError, r"of 'moss', found \[999\]"),
    "split text": (lambda le: le.classes.split("moss", TEXTS, "rift"), InputError, "expected a list of ids"),
    "remove unknown": (lambda le: le.classes.remove("crack"), LabelError, "expected one of the classes .*'crack'"),
    "remove None": (lambda le: le.classes.remove(NOTHING), LabelError, "expected a class name .* found None"),
    "freeze unknown": (lambda le: le.classes.freeze("crack"), LabelError, "expected one of the classes .*'crack'"),
}


def moss(learner: Learner) -> list[int]:
    """Return the ids of two samples of moss."""
    return [int(i) for i in learner._session.store.find(label_id=learner.classes.ids["moss"])[:2]]


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done(adapted: Learner, dump: Dump, case: str) -> None:
    """A name that is none, taken or unknown, and samples of another class, are refused; nothing is changed."""
    call, error, message = BAD[case]
    before = dump()
    with pytest.raises(error, match=message):
        call(adapted)
    assert dump() == before


@pytest.mark.parametrize("which", ["added here", "nothing shipped"])
def test_what_cannot_be_frozen(opening: Opening, remake: Callable[..., Path], dump: Dump, which: str) -> None:
    """Only what was shipped can stay as it was shipped: a class of a head or of source statistics."""
    if which == "added here":
        learner, name = opening("device.db"), "crack"
        learner.classes.add(name)
    else:
        learner, name = opening("device.db", remake(head=None, source=None)), "moss"
    before = dump()
    with pytest.raises(LabelError, match=f"expected a shipped class to freeze, found '{name}', which"):
        learner.classes.freeze(name)
    assert dump() == before
    learner.classes.freeze(name, frozen=False)
