"""From a run's folder to a bundle in one command: classes, size and normalisation are the run's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")
pytest.importorskip("onnxscript", reason="acclimate[convert] is not installed")
pytest.importorskip("onnxruntime", reason="acclimate[onnx] is not installed")

import torch

from acclimate import Bundle
from acclimate.edge import Learner
from acclimate.errors import InputError
from acclimate.server.config.read import config_of
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run

from .conftest import Acclimate

pytestmark = pytest.mark.needs_torch

_NETS = """
from torch import nn

def image():
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

def series():
    conv = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
"""


def train(folder: Path, net: str, x: Any, **data: Any) -> Run:
    """Train a network of the file for an epoch on samples of three classes."""
    (folder / "nets.py").write_text(_NETS)
    np.savez(folder / "data.npz", x=x, y=np.array(["cat", "dog", "owl"])[np.arange(len(x)) % 3])
    config = config_of(
        {
            "model": {"name": "nets.py:" + net},
            "data": {"train": str(folder / "data.npz"), "validation_share": 0.3, **data},
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.02},
            "run": {"tensorboard": False},
        }
    )
    return pretrain(config, out=folder / "run", device="cpu")


def answers(bundle: Path, raw: Any) -> Any:
    """Return what a bundle's own head says of raw samples, as centred logits."""
    with Learner.open(bundle) as learner:
        logits = np.log(learner.predict(raw).probabilities.astype(np.float64))
    return logits - logits.mean(axis=1, keepdims=True)


def network(run: Run, x: torch.Tensor) -> Any:
    """Return the same of the network that was trained, for samples that were prepared by hand."""
    with torch.no_grad():
        logits = run.model(x).double().numpy()
    return logits - logits.mean(axis=1, keepdims=True)


def test_images_of_a_run_become_a_bundle(here: Acclimate, tmp_path: Path) -> None:
    """Raw frames give what the network gives for pixels less the run's mean; the cuts are listed without any data."""
    x = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3)).astype(np.uint8)
    run = train(tmp_path, "image", x, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.25])
    source = ("run", "--code", "nets.py:image")
    made = here("convert", *source, "--data", "data.npz", "--out", "a.acc", "--runtime", "onnx", "--no-quantize")
    assert made.code == 0, made.errors
    assert "input: mean 0.5 0.4 0.3, std 0.2 0.3 0.25, 3 class names" in " ".join(made.output.split())
    with Bundle(tmp_path / "a.acc") as bundle:
        assert bundle.manifest.classes == ("cat", "dog", "owl")
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    centre, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))
    expected = network(run, (pixels - centre) / spread)
    np.testing.assert_allclose(answers(tmp_path / "a.acc", x), expected, atol=1e-4)
    listed = here("cuts", *source, "--json")
    assert listed.code == 0, listed.errors
    assert [cut["blocks"] for cut in listed.json()["cuts"]].count(0) == 1
    assert here("cuts", *source, "--data", "data.npz", "--json").json()["cuts"] == listed.json()["cuts"]


def test_series_of_a_run_become_a_bundle(here: Acclimate, tmp_path: Path) -> None:
    """A device gives them as they are recorded, ``(t, c)``; the bundle standardises and turns them."""
    x = (np.random.default_rng(1).normal(size=(30, 12, 2)) * [1, 9] + [4, -3]).astype(np.float32)
    run = train(tmp_path, "series", x)
    arguments = ("--data", "data.npz", "--out", "a.acc", "--runtime", "onnx", "--no-quantize")
    made = here("convert", "run/model", "--code", "nets.py:series", *arguments)
    assert made.code == 0, made.errors
    with Bundle(tmp_path / "a.acc") as bundle:
        assert bundle.manifest.input.shape == (12, 2)
    notes = json.loads((tmp_path / "run" / "model" / "checkpoint.json").read_text())["notes"]
    prepared = (x - np.array(notes["mean"])) / np.array(notes["std"])
    expected = network(run, torch.from_numpy(prepared.astype(np.float32)).transpose(1, 2))
    np.testing.assert_allclose(answers(tmp_path / "a.acc", x), expected, atol=1e-4)


def test_the_run_of_a_keras_model_is_converted_from_its_file(
    here: Acclimate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the run's classes, size, mean and deviation, which options override; channels last."""
    data = {"shape": [3, 12, 12], "mean": [0.5, 0.4, 0.3], "std": [], "classes": ["cat", "dog"]}
    notes = {**data, "tasks": [{"name": "label", "classes": ["cat", "dog"]}], "source": "9 images in photos"}
    record = {"format": "acclimate-checkpoint", "version": 1, "architecture": "x", "sha256": "0", "notes": notes}
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "checkpoint.json").write_text(json.dumps(record))
    (tmp_path / "run" / "model" / "model.keras").touch()
    np.savez(tmp_path / "data.npz", x=np.zeros((9, 20, 16, 3), np.uint8))
    asked: dict[str, Any] = {}

    def convert_keras(model: str, frames: Any, **given: Any) -> None:
        asked.update(given, model=model)
        raise InputError("asked")

    monkeypatch.setattr("acclimate.converters.keras_source.convert.convert_keras", convert_keras)
    assert here("convert", "run", "--data", "data.npz", "--out", "a.acc", "--std", "0.5").code == 1
    assert asked["model"] == str(Path("run", "model", "model.keras"))
    assert (asked["resize"], asked["mean"], asked["std"]) == ((12, 12), (0.5, 0.4, 0.3), 0.5)
    assert asked["classes"] == ("cat", "dog")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.py:build", "--code", "net.py:make"), "expected --code only with the folder of a run"),
        (
            ("run", "--weights", "w.pth"),
            "expected --weights only for torchvision:NAME and timm:NAME, found it with 'run'",
        ),
        (("run",), "expected a checkpoint or the folder of a run at run, found no checkpoint.json there"),
    ],
)
def test_what_does_not_fit_the_source_is_told(
    here: Acclimate, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Options of other sources, and a folder that no run left."""
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "data.npz", x=np.zeros((9, 4, 4, 3), np.uint8))
    found = here("convert", *arguments, "--data", "data.npz", "--out", "a.acc")
    assert (found.code, found.output) == (1, "")
    assert message in " ".join(found.errors.split())
