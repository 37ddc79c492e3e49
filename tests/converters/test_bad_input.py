"""What cannot be converted is refused before long work, names the node, and leaves no half-written file."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acclimate.converters import convert
from acclimate.errors import AcclimateError, CalibrationError, ConversionError, CutError, OutputExistsError

pytestmark = pytest.mark.needs_torch
SAMPLES = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


class Branching(nn.Module):
    """Takes another way where the batch has a negative mean."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.a(x) if float(x.mean()) > 0 else self.b(x))
        return logits


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        logits: Tensor = self.fc(image + text)
        return logits


class Varying(nn.Module):
    """Keeps the positive values of a sample, however many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        kept = x[x > 0]
        logits: Tensor = self.fc(kept[: len(x), None] if len(kept) >= len(x) else x[:, :1])
        return logits


class Unknown(nn.Module):
    """Holds an operation that neither exporter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.linalg.eigvalsh(torch.einsum("ni,nj->nij", x, x)))
        return logits


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.relu(self.first(x)))
        return logits


def diverged() -> nn.Module:
    model = plain()
    with torch.no_grad():
        model[0].weight[1, 2] = float("nan")  # type: ignore[index]
    return model


@pytest.mark.parametrize(
    ("model", "samples", "error", "message"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.Softplus()), SAMPLES, CutError, "found .* with other values"),
        (Two(), SAMPLES, CutError, r"forward needs \['image', 'text'\]"),
        (Shared(), SAMPLES, CutError, "'first' shares it"),
        (diverged(), SAMPLES, ConversionError, "NaN or infinity in '0.weight'"),
        (Branching(), SAMPLES, ConversionError, "control flow|alone and in a batch"),
        (Varying(), SAMPLES, ConversionError, "control flow|alone and in a batch|holds the batch size"),
        (Unknown(), SAMPLES, ConversionError, r"^[^\x1b]*linalg_eigh[^\x1b]*Look for operations[^\x1b]*$"),
        (plain(), SAMPLES[:, :4], CutError, "to run on a batch"),
        (plain(), SAMPLES[:5], CalibrationError, "at least 8"),
        (plain(), np.repeat(SAMPLES[:1], 12, 0), CalibrationError, "differ"),
    ],
    ids=[
        "no head",
        "two inputs",
        "shared",
        "nan",
        "control flow",
        "dynamic shape",
        "unknown operation",
        "shape",
        "too few",
        "one sample",
    ],
)
def test_a_refusal_names_the_reason_and_leaves_no_file(
    tmp_path: Path, model: nn.Module, samples: NDArray[Any], error: type[AcclimateError], message: str
) -> None:
    with pytest.raises(error, match=message):
        convert(model, samples, out=tmp_path / "m.acc", runtimes=("onnx",), quantize=False)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_stays(tmp_path: Path) -> None:
    (tmp_path / "m.acc").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        convert(plain(), SAMPLES, out=tmp_path / "m.acc", runtimes=("onnx",))
    assert (tmp_path / "m.acc").read_bytes() == b"mine"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle gets its name only once it is complete and on the disk."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        convert(plain(), SAMPLES, out=tmp_path / "m.acc", runtimes=("onnx",), quantize=False)
    assert not list(tmp_path.iterdir())
