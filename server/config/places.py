"""Paths in settings: they begin at the working directory, and it is told where they seem to begin at the file."""

import dataclasses
import os
from pathlib import Path

from ...errors import InputError
from .read import PretrainConfig

_PATHS = (
    "model.name",
    "model.weights",
    "model.code",
    "data.train",
    "data.validation",
    "data.target",
    "data.target_validation",
    "data.root",
    "objective.teacher",
    "objective.teacher_code",
    "transfer.source_data",
)


def check_places(config: PretrainConfig, file: Path) -> None:
    """Refuse a path that leads nowhere from the working directory, and somewhere from the folder of its file.

    What leads nowhere from either is told by whoever opens it.

    Args:
        config: Settings.
        file: The file that they were read from.

    Raises:
        InputError: If there is such a path.
    """
    for name in _PATHS:
        section, _, key = name.partition(".")
        part = getattr(config, section)
        text = getattr(part, key, None)
        if text is None or key not in {field.name for field in dataclasses.fields(part)}:
            continue
        beside = file.parent / _path_in(text)
        if not Path(_path_in(text)).exists() and beside.exists():
            raise InputError(
                f"expected {name} = {text!r} in the working directory {os.getcwd()}, where paths begin, found none "
                f"there, and one beside {file.name}. Write {str(file.parent / text)!r}, or start in {file.parent}."
            )


def _path_in(text: str) -> str:
    """Return the path in what names a file, a function in a file, or a configuration."""
    for kind in ("hf:", "hf-config:", "keras:"):
        text = text.removeprefix(kind)
    path, colon, function = text.rpartition(":")
    return path if colon and function.isidentifier() and path.endswith(".py") else text
