"""Read the settings of a run from TOML, with changes from the command line, and write them back."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ...errors import InputError
from ..data.settings import DataSettings
from ..training.settings import ObjectiveSettings, RunSettings, TrainingSettings
from ..transfer.settings import TransferSettings
from .fields import as_written, convert, rule_of, types_of
from .model import ModelSettings

# A file of settings has some hundred lines.
_MAX_BYTES = 2**20

Config = TypeVar("Config")


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides what a run gives.

    Args:
        model: The model.
        data: The data.
        training: How it is trained.
        objective: What is minimised.
        run: Device, logs and checkpoints.
        transfer: What of the model trains, how fast, and what holds it.
    """

    model: ModelSettings
    data: DataSettings
    training: TrainingSettings = field(default_factory=TrainingSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    run: RunSettings = field(default_factory=RunSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)


def sections(kind: type = PretrainConfig) -> dict[str, type]:
    """Return the sections of a file of settings, in their order."""
    return dict(types_of(kind))


def read_config(path: Path | str, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read settings from a file.

    Args:
        path: A TOML file with the sections model, data, training, objective, run and transfer; or the JSON that
            `as_json` gave. Relative paths in it begin at the working directory.
        overrides: Changes such as ``training.epochs=3``; the value is TOML, or a text as it stands.

    Returns:
        The settings, all checked.

    Raises:
        InputError: If the file is no TOML, names an unknown key, lacks a required one, or holds a value that does not
            fit.
    """
    return config_of(read_sections(path, overrides), Path(path).name)


def read_sections(path: Path | str, overrides: Sequence[str] = (), kind: type = PretrainConfig) -> dict[str, Any]:
    """Read the sections of a file as they stand there, with changes. Arguments and errors are those of `read_config`.

    Args:
        path: The file.
        overrides: The changes.
        kind: A dataclass whose fields are the sections.
    """
    raw = _parse(Path(path))
    for text in overrides:
        _override(raw, text, kind)
    return raw


def config_of(raw: Mapping[str, Any], document: str = "the settings") -> PretrainConfig:
    """Make settings from sections of plain values, as `as_json` or a TOML file gives them.

    Args:
        raw: The sections.
        document: Their name, for messages.

    Raises:
        InputError: As for `read_config`.
    """
    return config_from(PretrainConfig, raw, document)


def config_from(kind: type[Config], raw: Mapping[str, Any], document: str = "the settings") -> Config:
    """Make settings of any kind from sections of plain values.

    Args:
        kind: A dataclass whose fields are the sections.
        raw: The sections.
        document: Their name, for messages.

    Raises:
        InputError: As for `read_config`.
    """
    known = sections(kind)
    for name in raw:
        if name not in known:
            raise InputError(
                f"{document}: expected the sections {', '.join(known)}, found {name!r}. {_near(known, name)}"
            )
    # What is misspelt is told before what is therefore missing.
    for name in known:
        _check_keys(known, name, raw.get(name, {}), document)
    return kind(**{name: _section(part, name, raw.get(name, {}), document) for name, part in known.items()})


def default_settings() -> dict[str, dict[str, Any]]:
    """Return the defaults of all settings that have one, by section and name, as `as_json` gives them."""
    return {
        name: {f.name: _plain(f.default) for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING}
        for name, kind in sections().items()
    }


def as_json(config: Any) -> dict[str, dict[str, Any]]:
    """Return settings as JSON values; `config_of` makes the same settings of them."""
    return {
        name: {f.name: _plain(getattr(part, f.name)) for f in dataclasses.fields(part)} for name, part in _parts(config)
    }


def as_toml(config: Any) -> str:
    """Return settings as a TOML file with every field and its unit; `read_config` makes the same settings of it."""
    lines: list[str] = []
    for name, part in _parts(config):
        lines.append(f"[{name}]")
        for declared in dataclasses.fields(part):
            value = _plain(getattr(part, declared.name))
            unit = rule_of(declared).unit
            # TOML has no word for none: the line is left out, as none is then the default.
            if value is not None:
                lines.append(f"{declared.name} = {_toml(value)}" + (f"  # {unit}" if unit else ""))
        lines.append("")
    return "\n".join(lines)


def _parts(config: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(config, name)) for name in sections(type(config))]


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"expected a TOML file of settings, found none at {path}. Check the path.")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise InputError(f"{path.name}: expected settings of at most {_MAX_BYTES:,} bytes, found more. Check the path.")
    try:
        text = content.decode()
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        form = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise InputError(f"{path.name}: expected {form}, found that {error}. Mend it there.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name}: expected sections of settings, found {type(found).__name__}.")
    return found


def _override(raw: dict[str, Any], text: str, kind: type) -> None:
    known = sections(kind)
    place, _, given = (part.strip() for part in text.partition("="))
    section, dot, key = place.partition(".")
    if not dot or not section or not key:
        raise InputError(
            f"expected a change as section.key=value, found {text!r}. {_whole(known, section, key, given or 'VALUE')}"
        )
    if not given:
        raise InputError(
            f"expected a change as section.key=value, found {text!r} without a value. Write {place}=VALUE, or leave it "
            f"out for the default."
        )
    part = raw.setdefault(section, {})
    if not isinstance(part, dict):
        raise InputError(f"expected a section [{section}], found {as_written(part)}. Write {section}.KEY = VALUE.")
    part[key] = _value(given)


def _whole(known: Mapping[str, type], section: str, key: str, given: str) -> str:
    """Say how a change that lacks a section or a key may have been meant."""
    if section in known:
        return _near(known, key, section)
    name = key or section
    homes = [home for home, kind in known.items() if name in {field.name for field in dataclasses.fields(kind)}]
    return f"Did you mean {homes[0]}.{name}={given}?" if homes else _near(known, name)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _check_keys(known: Mapping[str, type], name: str, raw: Any, document: str) -> None:
    if not isinstance(raw, Mapping):
        raise InputError(f"{document}: expected a section [{name}], found {as_written(raw)}. Write {name}.KEY = VALUE.")
    names = [declared.name for declared in dataclasses.fields(known[name])]
    for key in raw:
        if key not in names:
            raise InputError(f"{document}: expected a setting of [{name}], found {key!r}. {_near(known, key, name)}")


def _section(kind: type, name: str, raw: Mapping[str, Any], document: str) -> Any:
    fields = {declared.name: declared for declared in dataclasses.fields(kind)}
    for key, declared in fields.items():
        if key not in raw and declared.default is dataclasses.MISSING:
            raise InputError(f"{document}: expected {name}.{key}, found none. It is: {rule_of(declared).doc}")
    types = types_of(kind)
    values = {key: convert(f"{name}.{key}", types[key], rule_of(fields[key]), value) for key, value in raw.items()}
    return kind(**values)


def _near(known: Mapping[str, type], key: str, section: str | None = None) -> str:
    """Say what may have been meant: a key of the section, else one of another section, else a section."""
    if section is None:
        close = difflib.get_close_matches(key, known, 1)
        return f"Did you mean [{close[0]}]?" if close else f"Sections are {', '.join(known)}."
    own = [declared.name for declared in dataclasses.fields(known[section])]
    if close := difflib.get_close_matches(key, own, 1):
        return f"Did you mean {close[0]!r}?"
    for other, kind in known.items():
        if close := difflib.get_close_matches(key, [f.name for f in dataclasses.fields(kind)], 1, 0.8):
            return f"Did you mean {close[0]!r} of [{other}]?"
    return f"Settings of [{section}] are {', '.join(own)}."


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON writes texts, numbers and booleans as TOML reads them, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
