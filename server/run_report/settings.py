"""The settings of a run as plain texts, with their units and defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..config.fields import rule_of
from ..config.read import sections
from ..report import Column, Table

_LONGEST = 200


def settings_table(config: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return every setting of a run with its unit, and the default where it was changed."""
    known = _fields()
    rows = []
    for section, part in config.items():
        for key, value in part.items():
            field = known.get(f"{section}.{key}")
            unit = (rule_of(field).unit or "") if field is not None else ""
            rows.append((f"{section}.{key}", shown(value), unit, _default(field, value)))
    columns = (Column("setting"), Column("value", wraps=True), Column("unit"), Column("default, where changed"))
    return Table("All settings", columns, tuple(rows), folded=True)


def changed_settings(config: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return name and value of the settings that are not at their default."""
    known = _fields()
    return [
        (f"{section}.{key}", shown(value))
        for section, part in config.items()
        for key, value in part.items()
        if _default(known.get(f"{section}.{key}"), value)
    ]


def shown(value: Any) -> str:
    """Return a value of a setting as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value[:_LONGEST]))}]"
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _fields() -> dict[str, "dataclasses.Field[Any]"]:
    return {f"{name}.{one.name}": one for name, kind in sections().items() for one in dataclasses.fields(kind)}


def _default(field: "dataclasses.Field[Any] | None", value: Any) -> str:
    """Return the default where the value is another one; what must be given has none."""
    if field is None:
        return ""
    if field.default is dataclasses.MISSING:
        return "given"
    return shown(field.default) if shown(field.default) != shown(value) else ""
