"""A torch model or an ONNX file as a source: split where a converter would split it, run in float."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...bundle import LinearLayer
from ...converters.onnx_source.file import OnnxFile
from ...converters.raw_input import describe_input
from ...converters.samples import as_ids, check_calibration
from ...converters.splitting.examine import Taps
from ...converters.splitting.split import split
from ...edge.head import LinearHead
from ...errors import InputError
from .source import Done, Float32, Look

if TYPE_CHECKING:
    from ...converters.sources.load import ModelSource
    from ..trained import Trained

_BATCH, _FEW = 16, 4


class ModelLook:
    """A model with what its origin knows of its input.

    Args:
        loaded: The model.
        taps: What its latents are made of.
        resize: Height and width that it takes, if frames have another size; None for what its origin knows.
    """

    def __init__(self, loaded: "ModelSource | Trained", taps: Taps, resize: tuple[int, int] | None) -> None:
        self.loaded, self.taps, self.resize = loaded, taps, resize

    def look(self, frames: NDArray[Any], done: Done) -> Look:
        """Embed samples, preprocessed as the model's origin does. See `Source.look`."""
        loaded, model = self.loaded, self.loaded.model
        frames = as_ids(frames) if loaded.tokens else frames
        check_calibration(frames, ids=True)
        options = loaded.options(frames, resize=self.resize, keeps_head=False)
        options.pop("classes")
        names = loaded.known.classes
        if isinstance(model, OnnxFile):
            from ...converters.onnx_source.split import split_onnx

            found = split_onnx(model, frames, keeps_head=False, taps=self.taps, **options)
            parts, module = found.split, found.original.module
            if not isinstance(module, nn.Module):
                raise InputError(f"expected a network that runs here, found {type(module).__name__}. Convert it first.")
        else:
            raw = describe_input(frames, model, **options)
            few = np.ascontiguousarray(frames[np.linspace(0, len(frames) - 1, _FEW).astype(int)])
            with torch.no_grad():
                parts = split(model, raw.preprocess(torch.from_numpy(few)), self.taps)
            module = nn.Sequential(raw.preprocess, parts.backbone)
        latents = _run(module.eval(), frames, done)
        notes = loaded.known.notes
        # A run that trained without classes leaves the head that it began with.
        if len(parts.bias) < 2 or (not names and hasattr(loaded, "input")):
            return Look(latents, notes=notes)
        head = LinearHead(LinearLayer(parts.padded_weight(), parts.bias), np.arange(len(parts.bias)))
        known = tuple(names) if names is not None and len(names) == len(parts.bias) else None
        return Look(latents, head.probabilities(latents), known, notes)


def _run(module: nn.Module, frames: NDArray[Any], done: Done) -> Float32:
    found = []
    with torch.no_grad():
        for start in range(0, len(frames), _BATCH):
            part = torch.from_numpy(np.ascontiguousarray(frames[start : start + _BATCH]))
            found.append(module(part).numpy())
            done(start + len(part))
    return np.concatenate(found)
