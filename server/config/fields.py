"""Fields of settings: each with a default, a unit, bounds and a sentence, checked when settings are made."""

import dataclasses
import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from ...errors import InputError

REQUIRED: Final = object()
# Of whole numbers: seeds and counts are held in 64 bits.
_LARGEST: Final = 2**63 - 1
_META = "acclimate"
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class Rule:
    """What a field takes.

    Args:
        doc: What it does, one sentence.
        unit: Unit of its numbers, or None.
        low: Smallest number, or None.
        high: Largest number, or None.
        above: Numbers are larger than this, or None.
        below: Numbers are smaller than this, or None.
        choices: What it may be; anything where empty.
    """

    doc: str
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()


def setting(
    default: Any,
    doc: str,
    *,
    unit: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare a field of a frozen dataclass of settings; the dataclass calls `check` in ``__post_init__``.

    Args:
        default: Its value where none is given; REQUIRED where one must be, by name.
        doc: What it does, one sentence.
        unit: Unit of its numbers.
        low: Smallest number; of a tuple, of each of its numbers, and so on.
        high: Largest number.
        above: Numbers are larger than this.
        below: Numbers are smaller than this.
        choices: What it may be, or each part of a tuple.
    """
    metadata = {_META: Rule(doc, unit, low, high, above, below, choices)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata, kw_only=True)
    return dataclasses.field(default=default, metadata=metadata)


def rule_of(field: "dataclasses.Field[Any]") -> Rule:
    """Return what was declared of a field."""
    rule: Rule = field.metadata[_META]
    return rule


def types_of(section: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    return get_type_hints(section)


def section_name(section: type) -> str:
    """Return the name of settings in a file: ``training`` for ``TrainingSettings``."""
    return section.__name__.removesuffix("Settings").lower()


def check(section: Any) -> None:
    """Check every field of settings: type, choices and bounds; whole numbers become float where a float is declared.

    Args:
        section: A frozen dataclass whose fields are made by `setting`.

    Raises:
        InputError: If a value is not what its field takes.
    """
    types = types_of(type(section))
    for field in dataclasses.fields(section):
        where = f"{section_name(type(section))}.{field.name}"
        value = convert(where, types[field.name], rule_of(field), getattr(section, field.name))
        object.__setattr__(section, field.name, value)


def convert(where: str, kind: Any, rule: Rule, value: Any) -> Any:
    """Return a value as its field holds it.

    Args:
        where: Name of the field, for messages.
        kind: Its declared type.
        rule: What it takes.
        value: What was given.

    Raises:
        InputError: If it is not what the field takes.
    """
    fitting = _fitting(kind, value)
    if fitting is _UNFIT:
        raise InputError(
            f"expected {where} as {_told(kind, rule)}, found {as_written(value)}. {_advice(kind, rule, value)} "
            f"{rule.doc}"
        )
    for part in fitting if isinstance(fitting, tuple) else (fitting,):
        if part is None:
            continue
        if rule.choices and part not in rule.choices:
            near = difflib.get_close_matches(str(part), [str(c) for c in rule.choices], 1)
            raise InputError(
                f"expected {where} out of {', '.join(map(str, rule.choices))}, found {as_written(part)}. "
                f"{f'Did you mean {near[0]!r}? ' if near else ''}{rule.doc}"
            )
        if isinstance(part, int | float) and not isinstance(part, bool) and not _within(rule, part):
            raise InputError(f"expected {where} as {_told(kind, rule)}, found {as_written(part)}. {rule.doc}")
        if isinstance(part, int) and abs(part) > _LARGEST:
            raise InputError(
                f"expected {where} as {_told(kind, rule)}, at most {_LARGEST}, found {as_written(part)}. {rule.doc}"
            )
    return fitting


def as_written(value: Any) -> str:
    """Return a value as a file of settings has it, for messages."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_written, value))}]"
    if isinstance(value, dict):
        return f"a section with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    # Dates and times of TOML.
    return repr(value) if isinstance(value, str | int | float) else str(value)


def type_words(kind: Any) -> str:
    """Return a declared type in words: ``a whole number or none``."""
    options = _options(kind)
    words: list[str] = []
    for option in options:
        if option is NoneType:
            words.append("none")
        elif get_origin(option) is tuple:
            inner = get_args(option)
            of = type_words(inner[0]).removeprefix("a ")
            count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
            words.append(f"a list of {count}{of}" + ("s" if of.endswith(("number", "text", "path")) else ""))
        else:
            words.append(_WORDS[option])
    return " or ".join(words)


def bounds_words(rule: Rule) -> str:
    """Return the bounds of a field in words: ``from 0 to below 1``; empty without any."""
    down = (
        f"of {rule.low:g} or more"
        if rule.low is not None
        else f"above {rule.above:g}"
        if rule.above is not None
        else ""
    )
    up = (
        f"at most {rule.high:g}" if rule.high is not None else f"below {rule.below:g}" if rule.below is not None else ""
    )
    return " and ".join(part for part in (down, up) if part)


_UNFIT: Final = object()


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _fitting(kind: Any, value: Any) -> Any:
    """Return the value as the first of the declared types that takes it, else `_UNFIT`."""
    for option in _options(kind):
        fit = _fit(option, value)
        if fit is not _UNFIT:
            return fit
    return _UNFIT


def _fit(kind: Any, value: Any) -> Any:
    if kind is NoneType:
        return None if value is None else _UNFIT
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if not isinstance(value, tuple | list):
            return _UNFIT
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            return _UNFIT
        parts = tuple(_fitting(k, part) for k, part in zip(kinds, value, strict=True))
        return _UNFIT if any(part is _UNFIT for part in parts) else parts
    # True is a whole number to Python, and a mistake in a file of settings.
    if isinstance(value, bool):
        return value if kind is bool else _UNFIT
    if kind is float and isinstance(value, int | float):
        # A whole number of TOML may be larger than any float.
        return float(value) if abs(value) <= sys.float_info.max else _UNFIT
    if kind is Path and isinstance(value, str | Path):
        return Path(value) if str(value) and "\0" not in str(value) else _UNFIT
    return value if isinstance(value, kind) else _UNFIT


def _within(rule: Rule, number: float) -> bool:
    return (
        (rule.low is None or number >= rule.low)
        and (rule.high is None or number <= rule.high)
        and (rule.above is None or number > rule.above)
        and (rule.below is None or number < rule.below)
    )


def _told(kind: Any, rule: Rule) -> str:
    unit = f" in {rule.unit}" if rule.unit else ""
    return f"{type_words(kind)}{unit} {bounds_words(rule)}".rstrip()


def _advice(kind: Any, rule: Rule, value: Any) -> str:
    wants_number = bool({int, float} & set(_options(kind)))
    if isinstance(value, str) and wants_number:
        share, percent, rest = value.strip().partition("%")
        if percent and not rest and share.strip().replace(".", "", 1).isdecimal():
            return f"Write the share itself: {share.strip()} % is {float(share) / 100:g}."
        return f"Write the number alone, in {rule.unit}." if rule.unit else "Write the number alone, without quotes."
    if any(get_origin(option) is tuple for option in _options(kind)):
        return "Write it in brackets, with commas between."
    return "Mend it in the file of settings or in --set."
