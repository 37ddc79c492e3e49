"""What `pretrain` left, on its way to a device: raw samples are prepared exactly as the data was for training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from numpy.typing import NDArray

from acclimate.converters.raw_input import describe_input
from acclimate.errors import InputError, TrainingError
from acclimate.server.config.read import config_of
from acclimate.server.data import Data, load_data
from acclimate.server.data.log_mel import log_mel
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run
from acclimate.server.trained import Trained, load_trained
from acclimate.server.trained_input import form_of

from .data_files import wav_bytes, write_image

pytestmark = pytest.mark.needs_torch

_NETS = """
from torch import nn

def image():
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

def sound():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def series():
    return nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3))

def row():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))

def two_tasks():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 5))
"""


def trained(folder: Path, net: str, **data: Any) -> tuple[Run, Data, Trained]:
    """Train a network of the file for an epoch; return the run, its data, and what is loaded of it again."""
    code = f"{folder / 'nets.py'}:{net}"
    (folder / "nets.py").write_text(_NETS)
    config = config_of(
        {
            "model": {"name": code},
            "data": {"validation_share": 0.3, **data},
            "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.02},
            "objective": {"name": "multi-task" if net == "two_tasks" else "supervised"},
            "run": {"tensorboard": False},
        }
    )
    run = pretrain(config, out=folder / "run", device="cpu")
    return run, load_data(config.data, seed=config.training.seed), load_trained(folder / "run", code=code)


def logits_of_data(run: Run, data: Data) -> torch.Tensor:
    """Return what the network gives for all samples as their data prepares them, in the order of their names."""
    named: list[tuple[str, torch.Tensor]] = []
    for part in (data.train, data.validation):
        assert part is not None
        plain = part.dataset.plain()  # type: ignore[attr-defined]
        named += [(name, plain[i][0]) for i, name in enumerate(part.names or ())]
    with torch.no_grad():
        found: torch.Tensor = run.model(torch.stack([x for _, x in sorted(named, key=lambda one: _order(one[0]))]))
    return found


def _order(name: str) -> tuple[str, int]:
    """Sort `a.npz[10]` behind `a.npz[9]`."""
    text, _, number = name.partition("[")
    return text, int(number.rstrip("]") or 0) if number else 0


def logits_of_raw(found: Trained, raw: NDArray[Any]) -> torch.Tensor:
    """Return what the converters make of raw samples: their preprocessing, then the network."""
    given = found.options(raw, keeps_head=False)
    described = describe_input(raw, found.model, **{name: given[name] for name in ("resize", "mean", "std")})
    with torch.no_grad():
        logits: torch.Tensor = found.model(described.preprocess(torch.from_numpy(raw)))
    return logits


def write_images(folder: Path) -> NDArray[np.uint8]:
    """Write three classes of images, and return them in the order of their names."""
    draws = np.random.default_rng(0)
    written: dict[str, NDArray[np.uint8]] = {}
    for place, name in enumerate("cab"):
        for i in range(10):
            coarse = draws.integers(0, 256, (3, 3, 3)).astype(np.uint8) // (place + 1)
            written[f"{name}/{i:02}.png"] = np.kron(coarse, np.ones((6, 6, 1), np.uint8))
    for path, pixels in written.items():
        write_image(folder / path, pixels)
    return np.stack([written[path] for path in sorted(written)])


@pytest.mark.parametrize(("size", "bound"), [(None, 1e-5), ((9, 12), 0.02)])
def test_frames_are_prepared_as_in_training(tmp_path: Path, size: tuple[int, int] | None, bound: float) -> None:
    """With mean, deviation and size of the run; resized ones differ by the rounding of training's pixels alone."""
    raw = write_images(tmp_path / "images")
    given: dict[str, Any] = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "augment": ["flip"]}
    given |= {} if size is None else {"size": list(size)}
    run, data, found = trained(tmp_path, "image", train=str(tmp_path / "images"), **given)
    options = found.options(raw)
    assert (found.input.form, options["resize"], options["classes"]) == ("image", size, ("a", "b", "c"))
    expected = logits_of_data(run, data)
    torch.testing.assert_close(logits_of_raw(found, raw), expected, atol=bound, rtol=0)
    # Without the run's normalisation they would differ by far more.
    plain = describe_input(raw, found.model, resize=size).preprocess(torch.from_numpy(raw))
    with torch.no_grad():
        assert float((found.model(plain) - expected).abs().max()) > 10 * bound
    assert found.options(raw, mean=0.1, resize=(5, 5), classes=["x"])["mean"] == 0.1
    assert found.options(raw, resize=(5, 5))["resize"] == (5, 5)
    with pytest.raises(InputError, match=r"expected frames \(n, height, width, channels\) uint8.*found float32"):
        found.options(raw.astype(np.float32))


def test_rows_are_standardised_as_in_training(tmp_path: Path) -> None:
    """By the moments of the training part, which stand in the checkpoint."""
    draws = np.random.default_rng(1)
    raw = draws.normal([3, -2, 0, 50, 1], [1, 5, 0.1, 20, 1], (40, 5)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=raw, y=np.arange(40) % 3)
    run, data, found = trained(tmp_path, "row", train=str(tmp_path / "rows.npz"))
    assert found.input.form == "table"
    torch.testing.assert_close(logits_of_raw(found, raw), logits_of_data(run, data), atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match=r"of shape \(5,\), as the model was trained on, found \(4,\)"):
        found.options(raw[:, :4])
    with pytest.raises(InputError, match=r"expected samples \(n, 5\) float32"):
        found.options(np.zeros((8, 4, 4, 3), np.uint8))


def test_series_are_taken_as_they_are_recorded(tmp_path: Path) -> None:
    """``(n, t, c)`` raw, where the network takes channels first; others are refused with what to do."""
    draws = np.random.default_rng(2)
    raw = (draws.normal(size=(40, 12, 2)) * [1, 9] + [4, -3]).astype(np.float32)
    np.savez(tmp_path / "series.npz", x=raw, y=np.arange(40) % 3)
    run, data, found = trained(tmp_path, "series", train=str(tmp_path / "series.npz"))
    assert (found.input.form, found.input.sample_shape) == ("series", (12, 2))
    torch.testing.assert_close(logits_of_raw(found, raw), logits_of_data(run, data), atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="Cut recordings into windows"):
        found.options(raw[:, :7])


def test_sounds_are_spectrograms_before_their_mean(tmp_path: Path) -> None:
    """What `log_mel` gives of a sound, less the mean of the run; it is said that such samples are wanted."""
    draws = np.random.default_rng(3)
    raw = []
    for place, name in enumerate("abc"):
        for i in range(6):
            sound = (draws.normal(size=4000) * 3000 * (place + 1)).clip(-32768, 32767).astype(np.int16)
            (tmp_path / "wav" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "wav" / name / f"{i}.wav").write_bytes(wav_bytes(sound, 8_000))
            wave = torch.from_numpy(sound.astype(np.float32) / 32768)
            raw.append(log_mel(wave, 8_000, mels=16, window=200, hop=80)[None].numpy())
    settings: dict[str, Any] = {"sample_rate": 8_000, "seconds": 0.5, "mels": 16, "mean": [-7.0], "std": [2.0]}
    run, data, found = trained(tmp_path, "sound", train=str(tmp_path / "wav"), **settings)
    assert found.input.form == "sound"
    assert "log-mel spectrogram (1, 16, " in found.known.notes[0]
    torch.testing.assert_close(logits_of_raw(found, np.stack(raw)), logits_of_data(run, data), atol=1e-4, rtol=1e-4)


def test_several_tasks_are_no_head_of_one(tmp_path: Path) -> None:
    """The outputs of two tasks are not the classes of either: another head is asked for."""
    draws = np.random.default_rng(1)
    raw = draws.normal(size=(40, 5)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=raw, first=np.arange(40) % 3, second=np.arange(40) % 2)
    _, _, found = trained(tmp_path, "two_tasks", train=str(tmp_path / "rows.npz"), labels=["first", "second"])
    with pytest.raises(InputError, match=r"of one task, found one of first, second.*head='fit' or head=None"):
        found.options(raw)
    assert found.options(raw, keeps_head=False)["classes"] is None


@pytest.mark.parametrize(
    ("notes", "shape", "form"),
    [
        ({"config": {"data": {"kind": "auto", "window": None}}}, (5, 7), "series"),
        ({"config": {"data": {"kind": "arrays", "window": None}}}, (5, 7), "tensor"),
        ({"config": {"data": {"kind": "auto"}}, "source": "9 samples in 3 shards x"}, (5, 7), "tensor"),
        ({"config": {"data": {"kind": "auto"}}, "source": "9 samples in x.npz"}, (1, 5, 7), "image or tensor"),
        ({"config": {"data": {"kind": "auto"}}, "source": "9 images in x"}, (1, 5, 7), "image"),
        ({"config": {"data": {"kind": "auto"}}, "source": "9 images in x", "form": "sound"}, (1, 5, 7), "sound"),
        ({"config": 3}, (5,), "table"),
        ({}, (2, 3, 4, 5), "tensor"),
    ],
)
def test_what_a_sample_was_follows_from_what_was_noted(notes: dict[str, Any], shape: Any, form: str) -> None:
    """As noted, or by settings and source of an earlier run."""
    assert form_of(notes, shape) == form


def test_notes_that_are_none_are_told(tmp_path: Path) -> None:
    """A checkpoint is a file from elsewhere: what is read of it is checked."""
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(1).normal(size=(40, 5)), y=np.arange(40) % 3)
    trained(tmp_path, "row", train=str(tmp_path / "rows.npz"))
    path = tmp_path / "run" / "model" / "checkpoint.json"
    whole = json.loads(path.read_text())
    for name, value in {"shape": [3, "x"], "mean": None, "std": ["1"], "classes": [1], "tasks": "x"}.items():
        path.write_text(json.dumps({**whole, "notes": {**whole["notes"], name: value}}))
        with pytest.raises(TrainingError, match=r"noted in .* found .*Copy the checkpoint again"):
            load_trained(tmp_path / "run", code=f"{tmp_path / 'nets.py'}:row")
