"""Immutable records: frozen dataclasses that write no code while they are imported.

`dataclasses.dataclass` compiles half a dozen functions for each class, a third of a millisecond on a fast processor. A
device imports some sixty such classes before it has done anything. Records share their methods instead; `replace`,
`fields` and `asdict` of the standard library, and type checkers, take them for the dataclasses that they are.
"""

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, eq: bool = True) -> Callable[[T], T]:
    """Make a class an immutable record of its annotated fields.

    Args:
        eq: Whether two records of one class with equal fields are equal, and hash alike. Records of arrays are not
            compared by value: they are equal to themselves only.

    Returns:
        The decorator. The class may have defaults, ``dataclasses.field(default_factory=...)`` and ``__post_init__``.
    """

    def decorate(cls: T) -> T:
        made: Any = dataclass(init=False, repr=False, eq=False)(cls)
        made.__init__, made.__repr__ = _init, _repr
        made.__setattr__, made.__delattr__ = _refuse_setting, _refuse_deleting
        if eq:
            made.__eq__, made.__hash__ = _eq, _hash
        return cls

    return decorate


def _init(self: Any, *args: object, **given: object) -> None:
    names = self.__match_args__
    values = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        raise TypeError(f"{type(self).__name__}() takes {len(names)} values, found {len(args)}")
    if twice := values.keys() & given.keys():
        raise TypeError(f"{type(self).__name__}() got more than one value of {', '.join(sorted(twice))}")
    values.update(given)
    if values.keys() != set(names):
        values = _completed(self, values)
    # Past `__setattr__`, which refuses.
    self.__dict__.update(values)
    if (check := getattr(self, "__post_init__", None)) is not None:
        check()


def _completed(self: Any, values: dict[str, object]) -> dict[str, object]:
    """Return the values in the order of the fields, with the defaults of those that were not given."""
    found = {}
    for one in fields(self):
        if not one.init:
            continue
        if one.name in values:
            found[one.name] = values.pop(one.name)
        elif one.default_factory is not MISSING:
            found[one.name] = one.default_factory()
        elif one.default is not MISSING:
            found[one.name] = one.default
        else:
            raise TypeError(f"{type(self).__name__}() needs a value of {one.name!r}")
    if values:
        raise TypeError(f"{type(self).__name__}() has no field {', '.join(map(repr, sorted(values)))}")
    return found


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return self is other or _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _values(self: Any) -> tuple[object, ...]:
    return tuple([getattr(self, one.name) for one in fields(self) if one.compare])


def _refuse_setting(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}: a {type(self).__name__} does not change")


def _refuse_deleting(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}: a {type(self).__name__} does not change")
