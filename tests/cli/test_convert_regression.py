"""`acclimate convert --task regression`, as a user types it."""

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
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
"""


@pytest.fixture
def project(tmp_path: Path, scenes: ModuleType) -> Path:
    """A folder with a model in Python and frames labelled with numbers, and with others."""
    (tmp_path / "model.py").write_text(MODEL)
    x, y = scenes.frames(64, 0)
    np.savez(tmp_path / "home.npz", x=x, y=np.stack([x.mean(axis=(1, 2, 3)), x.std(axis=(1, 2, 3))], axis=1))
    np.savez(tmp_path / "names.npz", x=x, y=y)
    return tmp_path


def test_a_model_becomes_a_regression_bundle(acclimate: Acclimate, project: Path) -> None:
    """Targets by name, statistics of both, the R^2 of the fitted head in the table."""
    arguments = ("--data", "home.npz", "--out", "m.acc", "--runtime", "onnx", "--head", "fit", "--no-quantize")
    made = acclimate("convert", "model.py:build", *arguments, "--task", "regression", "--targets", "light, contrast")
    assert made.code == 0, made.errors
    assert "2 targets" in made.output
    assert "R^2" in made.output
    with Bundle(project / "m.acc") as bundle:
        assert (bundle.manifest.task, bundle.manifest.classes) == ("regression", ("light", "contrast"))
        assert bundle.source("onnx") is not None


def test_names_are_no_numbers(acclimate: Acclimate, project: Path) -> None:
    """Data labelled with classes, another task, images: in words, and nothing is written."""
    for arguments, code, message in (
        (("--data", "names.npz", "--task", "regression"), 1, "expected 'y' with numbers"),
        (("--data", ".", "--task", "regression"), 1, "expected a .npy or .npz file"),
        (("--data", "home.npz", "--task", "ranking"), 2, "expected classification or regression"),
    ):
        refused = acclimate("convert", "model.py:build", "--out", "m.acc", *arguments)
        assert refused.code == code
        assert message in refused.errors
    assert not (project / "m.acc").exists()
