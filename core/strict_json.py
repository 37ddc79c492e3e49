"""JSON from an untrusted file into frozen dataclasses: exactly the keys, types and bounds that were asked for.

A reader takes a raw value and where it stands, `document.key[place]`, and returns what it read.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from .errors import BundleFormatError

MAX_TEXT = 4_096
Reader = Callable[[Any, str], Any]
T = TypeVar("T")


def wrong(where: str, expected: str, found: str) -> BundleFormatError:
    """Return the error for a value that is not what was expected; `where` begins with the name of the document."""
    document = where.partition(".")[0].partition("[")[0]
    return BundleFormatError(
        f"the {document} is not valid: {where}: expected {expected}, found {found[:200]}. "
        f"Write the bundle again with 'acclimate convert'."
    )


def parse(content: bytes, document: str, most: int) -> Any:
    """Read UTF-8 JSON without double keys, NaN and infinity.

    Args:
        content: The text.
        document: Its name, for messages.
        most: Greatest length in bytes.

    Raises:
        BundleFormatError: If it is anything else, or longer.
    """
    where = f"{document}.json"
    if len(content) > most:
        raise wrong(where, f"at most {most:,} bytes", f"{len(content):,}")
    try:
        return json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise wrong(where, "JSON text", str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def members(
    cls: type[Any], raw: Any, where: str, readers: Mapping[str, Reader], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Read an object whose keys are the fields of a dataclass; `optional` ones may be left out, and then are here."""
    names = {f.name for f in fields(cls)}
    if not isinstance(raw, dict) or not names - set(optional) <= set(raw) <= names:
        found = sorted(map(str, raw)) if isinstance(raw, dict) else type(raw).__name__
        raise wrong(where, f"the keys {sorted(names)}", str(found))
    return {key: read(raw[key], f"{where}.{key}") for key, read in readers.items() if key in raw}


def text(raw: Any, where: str) -> str:
    """Read a text of at most `MAX_TEXT` characters that can be shown in one line; it may be empty."""
    # What a terminal takes for orders could write over what stands beside it.
    if not isinstance(raw, str) or len(raw) > MAX_TEXT or not raw.isprintable():
        raise wrong(where, f"text of at most {MAX_TEXT:,} characters, all printable", repr(raw))
    return raw


def name(raw: Any, where: str) -> str:
    """Read a text that can be shown in one line, and is more than spaces."""
    if not isinstance(raw, str) or len(raw) > MAX_TEXT:
        return text(raw, where)
    if not raw.strip() or not raw.isprintable():
        raise wrong(where, "a printable name", repr(raw))
    return raw


def integer(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(raw: Any, where: str) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            raise wrong(where, f"a whole number from {low:,} to {high:,}", repr(raw)[:60])
        return raw

    return read


def number(low: float, high: float) -> Reader:
    """Return a reader of numbers from `low` to `high`."""

    def read(raw: Any, where: str) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool) or not low <= raw <= high:
            raise wrong(where, f"a number from {low:g} to {high:g}", repr(raw)[:60])
        return float(raw)

    return read


def flag(raw: Any, where: str) -> bool:
    """Read true or false."""
    if not isinstance(raw, bool):
        raise wrong(where, "true or false", repr(raw)[:60])
    return raw


def choice(*allowed: str) -> Reader:
    """Return a reader of a few words."""

    def read(raw: Any, where: str) -> str:
        if not isinstance(raw, str) or raw not in allowed:
            raise wrong(where, f"one of {allowed}", repr(raw)[:60])
        return raw

    return read


def optional(item: Reader) -> Reader:
    """Return a reader that also takes null."""
    return lambda raw, where: None if raw is None else item(raw, where)


def several(item: Reader, least: int, most: int) -> Reader:
    """Return a reader of lists of `least` to `most` entries, as tuples."""

    def read(raw: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(raw, list) or not least <= len(raw) <= most:
            found = f"{len(raw)} entries" if isinstance(raw, list) else type(raw).__name__
            raise wrong(where, f"a list of {least:,} to {most:,} entries", found)
        return tuple(item(value, f"{where}[{i}]") for i, value in enumerate(raw))

    return read


def table(key: Reader, item: Reader, most: int) -> Reader:
    """Return a reader of objects with at most `most` keys of any name."""

    def read(raw: Any, where: str) -> dict[str, Any]:
        if not isinstance(raw, dict) or len(raw) > most:
            raise wrong(where, f"an object of at most {most} entries", type(raw).__name__)
        return {key(k, where): item(v, f"{where}[{k!r:.60}]") for k, v in raw.items()}

    return read


def into(cls: type[T], readers: Mapping[str, Reader]) -> Reader:
    """Return a reader of objects whose keys are the fields of a dataclass."""

    def read(raw: Any, where: str) -> T:
        return cls(**members(cls, raw, where, readers))

    return read
