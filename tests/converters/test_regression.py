"""A model whose outputs are values becomes a regression bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters import convert
from acclimate.edge import Regressor
from acclimate.edge.regression.source import RegressionSource
from acclimate.errors import InputError, LabelError
from acclimate.manifest import RUNTIMES

pytestmark = pytest.mark.needs_torch
TARGETS = ("ink", "balance")


class Gauge(nn.Module):
    """Two convolutions and two values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        found: torch.Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return found


@pytest.fixture(scope="module")
def gauge() -> nn.Module:
    """Return a network that was not trained: what it says is what is to be kept."""
    torch.manual_seed(0)
    return Gauge().eval()


def values(frames: np.ndarray) -> np.ndarray:
    """Return how much ink digits have, in percent, and how much more of it on the right than on the left."""
    ink = frames[..., 0] / 255.0
    return np.stack([100 * ink.mean(axis=(1, 2)), (ink[:, :, 4:] - ink[:, :, :4]).mean(axis=(1, 2))], axis=1)


def test_the_head_is_kept(gauge: nn.Module, digits: Any, tmp_path: Path) -> None:
    """The device gives the model's own values, without a softmax, and the report says how close they are."""
    frames = digits.frames[:80]
    report = convert(
        gauge, frames, out=tmp_path / "g.acc", task="regression", targets=TARGETS, runtimes=["onnx"], quantize=False
    )
    likeness = report.variants[0].with_original
    assert likeness is not None
    assert likeness.same is None
    assert likeness.apart is not None
    assert likeness.apart < 1e-3
    with torch.no_grad():
        expected = gauge(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255).numpy()
    with Regressor.open(tmp_path / "g.acc", threads=1) as device:
        assert device.targets == TARGETS
        np.testing.assert_allclose(device.predict(frames).values, expected, atol=1e-3 * np.abs(expected).max())


def test_a_head_is_fitted_and_statistics_travel(gauge: nn.Module, digits: Any, tmp_path: Path) -> None:
    """From labelled source samples; the report's figure is its R^2, and the device adapts with the source's help."""
    x, y = digits.frames[:400], values(digits.frames[:400])
    report = convert(
        gauge,
        x[:64],
        out=tmp_path / "g.acc",
        task="regression",
        targets=TARGETS,
        source=(x, y),
        head="fit",
        runtimes=["onnx"],
    )
    score = report.variants[0].source_accuracy
    assert score is not None
    with Bundle(tmp_path / "g.acc") as bundle:
        bundle.verify()
        assert (bundle.manifest.task, bundle.manifest.classes) == ("regression", TARGETS)
        arrays = bundle.source(RUNTIMES[0])
        assert arrays is not None
        np.testing.assert_allclose(RegressionSource.from_arrays(arrays).target, y.mean(axis=0))
    fresh, place = digits.frames[400:700], values(digits.frames[400:700]) + np.array([5.0, 0.0])
    with Regressor.open(tmp_path / "g.acc", threads=1) as device:
        assert device.score(x, y) == pytest.approx(score, abs=0.01)
        before = device.score(fresh[40:], place[40:])
        device.observe(fresh[:40], place[:40])
        assert device.adapt().applied
        assert device.score(fresh[40:], place[40:]) > before + 0.1


def test_what_does_not_fit_is_refused(gauge: nn.Module, digits: Any, tmp_path: Path) -> None:
    """Names of another kind or number, labels that are missing: nothing is written."""
    x, y = digits.frames[:20], values(digits.frames[:20])
    for wrong, error, match in (
        ({"task": "regression", "classes": TARGETS}, InputError, "no classes for regression"),
        ({"targets": TARGETS}, InputError, "no targets for classification"),
        ({"task": "ranking"}, InputError, "'ranking'"),
        ({"task": "regression", "targets": ("one",)}, InputError, "expected 2 different names"),
        ({"task": "regression", "targets": ("a", "a")}, InputError, "expected 2 different names"),
        ({"task": "regression", "source": (x, y[:, :1])}, LabelError, "found"),
        ({"task": "regression", "source": (x, np.full_like(y, np.nan))}, LabelError, "every source sample"),
    ):
        with pytest.raises(error, match=match):
            convert(gauge, x, out=tmp_path / "g.acc", runtimes=["onnx"], **wrong)
    assert list(tmp_path.iterdir()) == []


def test_targets_have_names_by_default(gauge: nn.Module, digits: Any, tmp_path: Path) -> None:
    """Numbered where there are several."""
    report = convert(
        gauge, digits.frames[:20], out=tmp_path / "g.acc", task="regression", runtimes=["onnx"], quantize=False
    )
    assert report.classes == ("value 0", "value 1")
