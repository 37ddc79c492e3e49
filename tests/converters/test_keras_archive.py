"""A `.keras` file may come from anywhere: it is looked through before TensorFlow sees it. Neither is needed here."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from acclimate.converters.keras_source.archive import check_archive
from acclimate.errors import ConversionError, CutError, InputError

DENSE: dict[str, Any] = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"name": "head", "units": 2},
    "registered_name": None,
}


def write(path: Path, *layers: dict[str, Any], weights: bytes = b"", method: int = zipfile.ZIP_STORED) -> Path:
    config = {**DENSE, "module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}}
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


def test_a_model_of_keras_own_layers_is_let_through(tmp_path: Path) -> None:
    """Nothing is refused for a name that only looks odd; what concerns training alone is not looked at."""
    trained = {**DENSE, "compile_config": {"loss": {"module": "builtins", "class_name": "function"}}}
    odd = {"name": "Lambda", "shape": {"class_name": "__tuple__", "items": [1]}}
    check_archive(write(tmp_path / "model.keras", {**DENSE, "config": odd}, trained))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({**DENSE, "class_name": "Lambda", "config": {"name": "doubling"}}, "the Lambda layer 'doubling'"),
        ({**DENSE, "config": {"name": "head", "activation": {"class_name": "__lambda__"}}}, "Lambda"),
        ({**DENSE, "module": "os", "class_name": "system"}, "'head' of class 'system' from 'os'"),
        ({**DENSE, "module": "builtins", "class_name": "function", "config": "mine"}, "'function' from 'builtins'"),
        ({**DENSE, "module": None, "registered_name": "shop>Net"}, "from 'shop>Net'"),
        ({**DENSE, "module": None, "class_name": "Net", "registered_name": "Net"}, "class 'Net'"),
        ({**DENSE, "module": "keras_of_mine"}, "from 'keras_of_mine'"),
        ({**DENSE, "config": {"layers": [{**DENSE, "class_name": "Lambda", "config": {"name": "deep"}}]}}, "'deep'"),
    ],
)
def test_code_is_refused_by_name(tmp_path: Path, layer: dict[str, Any], said: str) -> None:
    """A Lambda layer, a function, a class of somebody's own, however deep."""
    with pytest.raises(CutError, match=said):
        check_archive(write(tmp_path / "model.keras", layer))


def test_what_is_no_keras_file_is_refused(tmp_path: Path) -> None:
    """None at all, another kind, truncated, without its configuration, damaged inside, one that unpacks without end."""
    with pytest.raises(InputError, match="found nothing at"):
        check_archive(tmp_path / "none.keras")
    whole = write(tmp_path / "whole.keras", DENSE, weights=bytes(range(256)) * 40)
    content = whole.read_bytes()
    broken = tmp_path / "broken.keras"
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConversionError, match="truncated"):
        check_archive(broken)
    broken.write_bytes(content.replace(bytes(range(64)), bytes(64), 1))
    with pytest.raises(ConversionError, match="damaged"):
        check_archive(broken)
    broken.write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ConversionError, match="none, or truncated"):
        check_archive(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("weights", b"")
    with pytest.raises(ConversionError, match="another archive"):
        check_archive(broken)
    bomb = write(tmp_path / "bomb.keras", DENSE, weights=bytes(2**22), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(ConversionError, match="zip bomb"):
        check_archive(bomb)


@pytest.mark.parametrize("config", ["{", "[" * 100_000, "\xff"])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, config: str) -> None:
    """Half a document, one nested without end, bytes that are no text."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config.encode("latin-1"))
    with pytest.raises(ConversionError, match="none, or truncated"):
        check_archive(path)
