"""One tree of errors, as its docstring draws it, and the guard that names the extra to install."""

import importlib.util
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from acclimate import errors
from acclimate.errors import AcclimateError, MissingExtraError
from acclimate.extras import require


def drawn() -> Iterator[tuple[int, str]]:
    """Return depth and name of every error in the docstring's drawing, from top to bottom."""
    assert errors.__doc__ is not None
    (tree,) = re.findall(r"```\n(.*)```", errors.__doc__, re.DOTALL)
    for line in tree.splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match is not None
        yield len(match[1]) // 4, match[2]


def defined() -> dict[str, type[AcclimateError]]:
    """Return every class that the module defines."""
    found: dict[str, type[AcclimateError]] = {}
    for name, value in vars(errors).items():
        if inspect.isclass(value):
            assert issubclass(value, AcclimateError)
            found[name] = value
    return found


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every error is drawn once, under the one of ours that it derives from."""
    above: dict[int, str] = {}
    bases: dict[str, str] = {}
    for depth, name in drawn():
        assert name not in bases
        above[depth] = name
        bases[name] = above[depth - 1] if depth else "Exception"
    assert bases == {name: error.__bases__[0].__name__ for name, error in defined().items()}


def test_drawn_builtin_bases_are_real() -> None:
    """Where the drawing says "also X", the error can be caught as X too, and only there."""
    assert errors.__doc__ is not None
    also = dict(re.findall(r"(\w+Error) .*\(also (\w+)\)", errors.__doc__))
    assert also == {name: error.__bases__[1].__name__ for name, error in defined().items() if len(error.__bases__) > 1}


def test_every_error_takes_a_message_and_has_a_docstring() -> None:
    """Callers make and print all of them alike."""
    for error in defined().values():
        assert str(error("what happened")) == "what happened"
        assert error.__doc__


def test_a_missing_package_is_named_with_its_extra() -> None:
    """The message can be pasted; it is also Python's own ImportError, with the name of the package."""
    with pytest.raises(
        ImportError,
        match=r"^acclimate\.x needs 'no_such_package', which is not installed\. "
        r"Install it with: pip install 'acclimate\[convert\]'$",
    ) as caught:
        require("no_such_package", extra="convert", needed_by="acclimate.x")
    assert isinstance(caught.value, MissingExtraError)
    assert caught.value.name == "no_such_package"


def test_a_package_that_is_there_passes_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard only looks."""

    def refuse(name: str) -> ModuleType:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(importlib, "import_module", refuse)
    require("numpy", extra="all", needed_by="anything")
