"""`acclimate convert`, as a user types it."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate import Bundle

from .conftest import Acclimate

pytest.importorskip("torch", reason="torch, which converting needs, is not installed")

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

def number():
    return 7
"""


@pytest.fixture
def project(tmp_path: Path, scenes: ModuleType) -> Path:
    """A folder with a model in Python and labelled frames."""
    (tmp_path / "model.py").write_text(MODEL)
    x, y = scenes.frames(64, 0)
    np.savez(tmp_path / "home.npz", x=x, y=y)
    np.savez(tmp_path / "few.npz", x=x[:2], y=y[:2])
    return tmp_path


def test_a_model_becomes_a_bundle_that_adapts(acclimate: Acclimate, project: Path) -> None:
    """A function in a file gives the model, data its source statistics; the bundle then works on a device."""
    arguments = ("--data", "home.npz", "--out", "m.acc", "--runtime", "onnx", "--head", "fit", "--licence", "MIT")
    made = acclimate("convert", "model.py:build", *arguments, "--json")
    assert made.code == 0, made.errors
    assert made.json()["width"] == 16
    assert made.json()["variants"][0]["quantized"] is True
    with Bundle(project / "m.acc") as bundle:
        assert bundle.manifest.classes == ("bark", "brick", "gravel", "moss")
        assert bundle.manifest.licence == "MIT"
        assert bundle.source("onnx") is not None
    assert acclimate("observe", "m.acc", "home.npz").code == 0
    assert acclimate("adapt", "m.acc").code in (0, 3)
    again = acclimate("convert", "model.py:build", *arguments)
    assert again.code == 1
    assert "m.acc is there already. Choose another name, or give --overwrite" in again.errors


def test_maxima_travel_beside_means(acclimate: Acclimate, project: Path) -> None:
    """`acclimate inspect` names them; a pooling that is none is refused before the model is loaded."""
    arguments = ("--data", "home.npz", "--out", "m.acc", "--runtime", "onnx", "--head", "none", "--no-quantize")
    made = acclimate("convert", "model.py:build", *arguments, "--pooling", "mean-max", "--json")
    assert made.code == 0, made.errors
    names = ["0.1", "0.1:max", "3:input"]
    shown = acclimate("inspect", "m.acc", "--json").json()
    assert [tap["name"] for tap in shown["taps"]] == names
    assert [tap["name"] for tap in made.json()["taps"]] == names
    refused = acclimate("convert", "model.py:missing", *arguments, "--overwrite", "--pooling", "max")
    assert refused.code == 1
    assert "expected pooling as one of" in refused.errors


def test_a_bundle_is_signed_as_it_is_made(acclimate: Acclimate, project: Path) -> None:
    """With a key that is read before the work, and is not one of the files to be written."""
    pytest.importorskip("cryptography", reason="acclimate[sign] is not installed")
    assert acclimate("keygen", "k.pem").code == 0
    model = ("convert", "model.py:build", "--data", "home.npz", "--runtime", "onnx", "--head", "none")
    assert acclimate(*model, "--no-quantize", "--out", "m.acc", "--sign", "k.pem").code == 0
    assert acclimate("inspect", "m.acc", "--trust", "k.pem.pub").code == 0
    missing = acclimate(*model, "--out", "n.acc", "--sign", "none.pem")
    assert missing.code == 1
    assert "none.pem" in missing.errors
    assert acclimate(*model, "--out", "k.pem", "--sign", "k.pem", "--overwrite").code == 1
    assert not (project / "n.acc").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.py",), 1, "found 'model.py': a file of another kind. Of a Python file name the function as well"),
        (("none.py:build",), 1, "expected a Python file, found nothing at none.py"),
        (("no_such_package.module:build",), 1, "expected to import 'no_such_package.module'"),
        (("model.py:missing",), 1, "expected a function 'missing'"),
        (("model.py:number",), 1, "to return a torch module, found int"),
        (("model.py:build", "--head", "some"), 2, "expected keep, fit or none"),
        (("model.py:build", "--mean", "a,b"), 2, "expected numbers with commas between"),
        (("model.py:build", "--resize", "8"), 2, "expected HEIGHTxWIDTH"),
        (("model.py:build", "--runtime", "coreml"), 1, "expected runtimes out of"),
        (("model.py:build", "--taps", "no.such.module"), 1, "no.such.module"),
        (("model.py:build", "--classes", "a,b"), 1, "expected 4 class names"),
        (("model.py:build", "--data", "few.npz"), 1, "found 2"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(
    acclimate: Acclimate, project: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """A refusal names what was expected, leaves no file, and shows no traceback."""
    data = () if "--data" in arguments else ("--data", "home.npz")
    found = acclimate("convert", *arguments, *data, "--out", "m.acc")
    assert found.code == code
    assert message in " ".join(found.errors.replace("│", " ").split())
    assert "Traceback" not in found.errors
    assert not list(project.glob("*m.acc*"))
