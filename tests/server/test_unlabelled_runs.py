"""Data without any label: what needs labels is refused before a model is built, what needs none says nothing of it."""

import logging
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.errors import InputError
from acclimate.server import load_model
from acclimate.server.config.read import PretrainConfig, config_of
from acclimate.server.pretrain import pretrain

pytestmark = pytest.mark.needs_torch
_CODE = f"{Path(__file__).parent / 'small_nets.py'}:make"


def _config(folder: Path, **objective: object) -> PretrainConfig:
    path = folder / "x.npz"
    if not path.exists():
        np.savez(path, x=np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32))
    return config_of(
        {
            "model": {"name": _CODE},
            "data": {"train": str(path), "augment": ["jitter"]},
            "training": {"epochs": 1, "batch_size": 16},
            "objective": {"hidden": 8, "projection": 4, **objective},
            "run": {"tensorboard": False, "report": False},
        }
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("supervised", r'found none: 48 samples in .*x\.npz\. Label them .*objective\.name = "simclr"'),
        ("multi-task", r"expected labelled samples to train on, found none"),
        ("distillation", r"found none: .* Set data\.classes to those of the teacher"),
    ],
)
def test_objectives_that_need_labels_are_refused(
    tmp_path: Path, name: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In one sentence, without a warning of torch's about layers of no outputs; nothing is written."""
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=message):
            pretrain(_config(tmp_path, name=name), out=tmp_path / "run", device="cpu")
    assert not caplog.records
    assert not (tmp_path / "run").exists()


def test_a_self_supervised_run_says_nothing_of_labels_and_is_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No warning; the model keeps its head, is loaded again to the bit, and is where a run with labels begins."""
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        run = pretrain(_config(tmp_path, name="simclr"), out=tmp_path / "run", device="cpu")
    assert "label" not in caplog.text
    x = torch.rand(4, 6)
    assert run.model(x).shape == (4, 3)
    assert torch.equal(load_model(tmp_path / "run", code=_CODE)(x), run.model(x))
    labelled = tmp_path / "y.npz"
    np.savez(labelled, x=np.random.default_rng(1).normal(size=(48, 6)).astype(np.float32), y=np.arange(48) % 4)
    config = config_of(
        {
            "model": {"name": str(tmp_path / "run"), "code": _CODE},
            "data": {"train": str(labelled)},
            "training": {"epochs": 1, "batch_size": 16},
            "run": {"tensorboard": False, "report": False},
        }
    )
    assert pretrain(config, out=tmp_path / "next", device="cpu").model(x).shape == (4, 4)
