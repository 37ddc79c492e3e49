"""`acclimate convert` and `acclimate cuts` with models by name, from files and from Hugging Face folders."""

import json
import subprocess
import sys
from importlib.util import find_spec
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

if __name__ == "__main__":
    import sys
    torch.onnx.export(build().eval(), (torch.rand(2, 1, 16, 16),), sys.argv[1], dynamo=False,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
"""
BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "num_labels": 3,
    "pad_token_id": 0,
}


@pytest.fixture
def project(tmp_path: Path, scenes: ModuleType) -> Path:
    """A folder with a model in Python and labelled frames."""
    (tmp_path / "model.py").write_text(MODEL)
    x, y = scenes.frames(64, 0)
    np.savez(tmp_path / "home.npz", x=x, y=y)
    return tmp_path


def test_a_text_classifier_becomes_a_bundle(acclimate: Acclimate, tmp_path: Path) -> None:
    """Token ids are whole numbers in the data and in the bundle, whose device answers as the model does."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    ids = np.random.default_rng(0).integers(1, 50, (24, 8))
    ids[::3, 5:] = 0
    np.savez(tmp_path / "texts.npz", x=ids)
    np.savez(tmp_path / "device.npz", x=ids.astype(np.int32))
    made = acclimate(
        *("convert", "hf-config:config.json", "--data", "texts.npz", "--out", "t.acc", "--runtime", "onnx"),
        *("--no-quantize", "--json"),
    )
    assert made.code == 0, made.errors
    assert made.json()["classes"] == ["0", "1", "2"]
    with Bundle(tmp_path / "t.acc") as bundle:
        assert bundle.manifest.input.dtype == "int32"
        assert bundle.manifest.input.shape == (8,)
    found = acclimate("predict", "t.acc", "device.npz", "--json")
    assert found.code == 0, found.errors


def test_what_a_model_knows_of_its_input_is_said(acclimate: Acclimate, project: Path) -> None:
    """Weights come from a file, with their number of classes; size and mean from the package; what is given wins."""
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    import torch
    import torchvision

    model = torchvision.models.shufflenet_v2_x0_5(num_classes=4)
    state = {name: tensor + 0.1 if "running_mean" in name else tensor for name, tensor in model.state_dict().items()}
    torch.save(state, project / "own.pth")
    random = np.random.default_rng(0)
    np.savez(project / "few.npz", x=random.integers(0, 256, (8, 40, 48, 3)).astype(np.uint8))
    made = acclimate(
        *("convert", "torchvision:shufflenet_v2_x0_5", "--weights", "own.pth", "--data", "few.npz", "--out", "a.acc"),
        *("--runtime", "onnx", "--no-quantize", "--taps", "last", "--std", "0.25"),
    )
    assert made.code == 0, made.errors
    assert "input: resize 224 224, mean 0.485 0.456 0.406, std 0.25" in " ".join(made.output.split())
    assert "here the whole frame is resized" in " ".join(made.output.split())
    with Bundle(project / "a.acc") as bundle:
        assert bundle.manifest.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("torchvision:resnet18",), "@DEFAULT downloads them, --weights FILE (model.weights of a run) reads them"),
        (("timm:resnet18",), "@DEFAULT downloads them, --weights FILE (model.weights of a run) reads them"),
        (("model.py:build", "--weights", "w.pth"), "expected --weights only for torchvision:NAME and timm:NAME"),
        (("cut.onnx",), "expected an ONNX file, found that"),
        (("none.onnx",), "expected an ONNX file, found nothing"),
        (("model.tflite",), "such a file cannot be split by itself"),
    ],
)
def test_sources_that_cannot_be_used_leave_nothing_behind(
    acclimate: Acclimate, project: Path, arguments: tuple[str, ...], message: str
) -> None:
    """One line that says what to do, no traceback, no file."""
    package = arguments[0].partition(":")[0]
    if package in ("torchvision", "timm") and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (project / "cut.onnx").write_bytes(b"\x08\x07\x3a\xff\xff")
    found = acclimate("convert", *arguments, "--data", "home.npz", "--out", "m.acc")
    assert found.code == 1
    assert message in " ".join(found.errors.replace("│", " ").split())
    assert "Traceback" not in found.errors
    assert not list(project.glob("*.acc*"))


def test_the_cuts_of_an_onnx_file_are_listed(acclimate: Acclimate, project: Path) -> None:
    """The head alone, and every place in front of it that a tail may begin at: `convert --cut` takes their names."""
    subprocess.run([sys.executable, "model.py", "net.onnx"], cwd=project, check=True, capture_output=True)
    found = acclimate("cuts", "net.onnx", "--data", "home.npz", "--json")
    assert found.code == 0, found.errors
    cuts = found.json()["cuts"]
    assert [cut["blocks"] for cut in cuts].count(0) == 1
    deeper = [cut for cut in cuts if cut["blocks"] and cut["parameters"]]
    assert deeper
    wanted = deeper[0]["name"]
    arguments = ("--data", "home.npz", "--out", "tail.acc", "--head", "fit", "--resize", "16x16", "--cut", wanted)
    made = acclimate("convert", "net.onnx", *arguments)
    assert made.code == 0, made.errors
    assert "onnx only: nothing leads from an ONNX file to LiteRT" in " ".join((made.output + made.errors).split())
    with Bundle(project / "tail.acc") as bundle:
        assert bundle.manifest.tail is not None
        assert bundle.manifest.tail.cut == wanted


def test_an_onnx_file_becomes_a_bundle_that_adapts(acclimate: Acclimate, project: Path) -> None:
    """One command from a file of unknown origin to a bundle for ONNX Runtime alone; a device adapts it."""
    subprocess.run([sys.executable, "model.py", "net.onnx"], cwd=project, check=True, capture_output=True)
    arguments = ("--data", "home.npz", "--out", "m.acc", "--head", "fit", "--resize", "16x16")
    made = acclimate("convert", "net.onnx", *arguments, "--json")
    assert made.code == 0, made.errors
    assert [variant["runtime"] for variant in made.json()["variants"]] == ["onnx"]
    with Bundle(project / "m.acc") as bundle:
        bundle.verify()
        assert bundle.source("onnx") is not None
    assert acclimate("observe", "m.acc", "home.npz").code == 0
    assert acclimate("adapt", "m.acc").code in (0, 3)
    again = acclimate("convert", "net.onnx", *arguments, "--overwrite", "--runtime", "tflite")
    assert again.code == 1
    assert "TFLite was asked for" in " ".join(again.errors.split())
