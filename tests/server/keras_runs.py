"""Runs of Keras models: with a numpy process in the place of TensorFlow's, or with the real one where there is one."""

import os
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data
from acclimate.server.keras.process import PYTHON
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run

from . import small_runs


def fake_python(folder: Path) -> Path:
    """Return a program that is started as Python is and does what `fake_keras.py` says."""
    program = folder / "python"
    fake = Path(__file__).with_name("fake_keras.py")
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -P '{fake}'\n")
    program.chmod(0o755)
    return program


@cache
def has_tensorflow() -> bool:
    """Whether Keras models can be trained here: by this Python, or by the one that the environment names."""
    return bool(os.environ.get(PYTHON)) or all(find_spec(name) is not None for name in ("tensorflow", "keras"))


needs_tensorflow = pytest.mark.skipif(
    not has_tensorflow(), reason=f"TensorFlow is not installed, and {PYTHON} names no Python that has it"
)


def keras_config(
    name: str = "keras:MobileNetV2", *, run: dict[str, Any] | None = None, **training: Any
) -> PretrainConfig:
    """Return settings of a short run of a Keras model; keywords are those of training."""
    config = small_runs.make_config(run={"report": False} | (run or {}), **training)
    return replace(config, model=ModelSettings(name=name))


def run_keras(out: Path, config: PretrainConfig, *, data: Data | None = None, **options: Any) -> Run:
    """Train it on the clusters."""
    return pretrain(config, out=out, data=data or small_runs.make_data(), device="cpu", **options)


def tensors_of(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Return everything that a run noted at a step, by group and name."""
    import safetensors.torch

    found: dict[str, torch.Tensor] = {}
    for file in sorted((folder / "checkpoints" / f"step-{step:09d}").glob("*.safetensors")):
        found |= {f"{file.stem}/{name}": value for name, value in safetensors.torch.load_file(file).items()}
    return found
