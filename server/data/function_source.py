"""Samples that a function of the user returns."""

from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from .arrays import find_arrays
from .found import Found
from .settings import DataSettings

_ADVICE = "Return (x, y), or a dictionary of arrays: x, y, and x_validation, y_validation for validation data."
_SUFFIX = "_validation"


def find_function(source: str, settings: DataSettings) -> tuple[Found, Found | None]:
    """Call a function and take the arrays that it returns.

    Args:
        source: ``package.module:function`` or ``file.py:function``; called without arguments.
        settings: Names of labels and groups among the arrays.

    Returns:
        Training data, and validation data if the function gives such.

    Raises:
        InputError: If there is no such function, if it fails, or returns something else.
    """
    # The converters take a second to import, which other sources do without.
    from ...converters.sources.python import call_function

    given = call_function(source, "to return arrays")
    name = source.rpartition(":")[2]
    if isinstance(given, tuple) and len(given) == 2:
        given = {"x": given[0], "y": given[1]}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputError(f"expected {source!r} to return arrays, found {type(given).__name__}. {_ADVICE}")
    apart = {key.removesuffix(_SUFFIX): value for key, value in given.items() if key.endswith(_SUFFIX)}
    own: dict[str, Any] = {key: value for key, value in given.items() if not key.endswith(_SUFFIX)}
    train = find_arrays(own, name, settings)
    return train, find_arrays(apart, f"{name}{_SUFFIX}", settings) if apart else None
