"""Look through a `.keras` file before anything loads it: it may come from anywhere."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ConversionError, CutError, InputError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MOST_CONFIG, _MOST_BYTES = 2**26, 2**33
# Keras stores members as they are; weights that shrink more than this were not written by it.
_MOST_RATIO = 50
# Training's own parts are not loaded.
_UNUSED = ("compile_config", "build_config")


def check_archive(path: Path) -> None:
    """Refuse a file that is no Keras model, or one that would run code of its own.

    Args:
        path: The ``.keras`` file.

    Raises:
        InputError: If there is none.
        ConversionError: If it is damaged, or too large.
        CutError: If it holds a Lambda layer or a class that is not Keras's own.
    """
    if not path.is_file():
        raise InputError(f"expected a Keras model, found nothing at {path}. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename: entry for entry in archive.infolist()}
            for entry in members.values():
                if entry.file_size > max(_MOST_RATIO * entry.compress_size, 2**20):
                    raise ConversionError(f"{path.name}: expected a Keras file, found a zip bomb ({entry.filename!r}).")
            if _CONFIG not in members or sum(entry.file_size for entry in members.values()) > _MOST_BYTES:
                raise ConversionError(
                    f"{path.name}: expected a Keras file of at most 8 GiB with {_CONFIG} in it, found another archive."
                )
            if members[_CONFIG].file_size > _MOST_CONFIG:
                raise ConversionError(f"{path.name}: expected {_CONFIG} of at most 64 MiB, found more.")
            config = json.loads(archive.read(_CONFIG))
            if archive.testzip() is not None:
                raise ConversionError(f"{path.name}: expected a whole Keras file, found a damaged one. Copy it again.")
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, RecursionError, NotImplementedError) as error:
        raise ConversionError(
            f"{path.name}: expected a .keras file as model.save writes it, found that it is none, or truncated "
            f"({type(error).__name__}). Copy or save it again."
        ) from error
    for found in _objects(config):
        _check(found, path.name)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            waiting += [part for key, part in value.items() if key not in _UNUSED]
        elif isinstance(value, list):
            waiting += value


def _check(found: dict[str, Any], name: str) -> None:
    kind, module, inner = found["class_name"], found.get("module"), found.get("config")
    called = found.get("name") or (inner.get("name") if isinstance(inner, dict) else None) or kind
    if kind in ("Lambda", "__lambda__"):
        raise CutError(
            f"{name}: expected layers that are no code, found the Lambda layer {called!r}, which is never run. "
            f"Replace it by a layer of Keras (Rescaling, for example), or leave it out and do its work outside."
        )
    if module is None and found.get("registered_name") is None and kind.startswith("__"):
        # Keras's own way to write tensors and tuples.
        return
    own = isinstance(module, str) and (module == "keras" or module.startswith("keras."))
    if not own or found.get("registered_name") not in (None, kind):
        raise CutError(
            f"{name}: expected layers and functions of Keras, found {called!r} of class {kind!r} from "
            f"{module or found.get('registered_name')!r}, which would run code of its own. Build the model from "
            f"Keras's layers with keras.Model(inputs, outputs)."
        )
