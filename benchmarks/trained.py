"""Models that benchmarks train by `pretrain`, kept below build/bench: a command goes on where it was cut off."""

import hashlib
import sys
from dataclasses import fields
from pathlib import Path

from torch import nn

from acclimate.server.checkpoint import load_checkpoint, read_record
from acclimate.server.config.read import PretrainConfig
from acclimate.server.models import load_model
from acclimate.server.pretrain import pretrain

from .lite0 import FOLDER


def folder_of(name: str, settings: PretrainConfig) -> Path:
    """Return the folder of a run, which has another name with other settings; defaults stand in no name."""
    set_here = [
        (key, value.name, str(getattr(section, value.name)))
        for key, section in vars(settings).items()
        for value in fields(section)
        if key != "run" and getattr(section, value.name) != value.default
    ]
    return FOLDER / f"{name}-{hashlib.sha256(repr(sorted(set_here)).encode()).hexdigest()[:8]}"


def trained(
    name: str, settings: PretrainConfig, model: nn.Module | None = None, teacher: nn.Module | None = None
) -> nn.Module:
    """Return the model that settings give: from its folder, or trained, beginning where an earlier run was cut off.

    Args:
        name: Its folder's, to which a hash of the settings is added. It may name folders above.
        settings: How it is trained.
        model: Trained instead of what the settings name, which then tell how it was made; filled if it was trained.
        teacher: Of the objective distillation, instead of what the settings name.
    """
    folder = folder_of(name, settings)
    kept = folder / "model"
    if not kept.exists():
        print(f"training {folder} ...", file=sys.stderr, flush=True)
        return pretrain(settings, out=folder, resume=True, device="cpu", model=model, teacher=teacher).model
    print(f"{folder} was trained before", file=sys.stderr, flush=True)
    if model is None:
        return load_model(kept, code=settings.model.code or settings.model.name)
    load_checkpoint(kept, model, architecture=read_record(kept).architecture)
    return model.eval()
