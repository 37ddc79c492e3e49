"""A torch model that takes raw samples: what is attributed then stands on the frame, not on a normalised copy of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...converters.preprocess import FramePreprocess, SamplePreprocess
from ...errors import InputError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class RawModel(nn.Module):
    """A model behind its preprocessing.

    Args:
        model: Returns logits ``(n, k)``.
        preprocess: From raw samples, as float32, to what the model takes.
    """

    def __init__(self, model: nn.Module, preprocess: nn.Module) -> None:
        super().__init__()
        self.model, self.preprocess = model, preprocess

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, k)`` of raw samples ``(n, *shape) float32``."""
        found: Tensor = self.model(self.preprocess(x))
        return found


def raw_model(model: nn.Module, samples: NDArray[Any], options: Mapping[str, Any]) -> RawModel:
    """Put the preprocessing that a model was trained with in front of it.

    Args:
        model: The model.
        samples: ``(n, height, width, channels) uint8`` frames, or ``(n, ...)`` samples of another kind, raw.
        options: ``resize``, ``mean`` and ``std``, as `acclimate.server.trained.Trained.options` gives them.

    Returns:
        The model in evaluation mode; its parameters ask for no gradients.

    Raises:
        InputError: If the samples do not fit, are token ids, or the model does not give logits for them.
    """
    shape = tuple(samples.shape[1:])
    if samples.dtype.kind not in "uf" or (samples.dtype.kind == "u" and samples.dtype != np.uint8):
        raise InputError(
            f"expected frames (n, height, width, channels) uint8 or samples float32, found {samples.dtype}. Whole "
            f"numbers such as token ids have no gradient: use occlusion."
        )
    mean, std = options.get("mean", 0.0), options.get("std", 1.0)
    if samples.dtype == np.uint8 and len(shape) == 3:
        channels = next((m.in_channels for m in model.modules() if isinstance(m, _CONVOLUTIONS)), shape[2])
        means, stds = np.atleast_1d(mean).tolist(), np.atleast_1d(std).tolist()
        frame = (shape[0], shape[1], shape[2])
        preprocess: nn.Module = FramePreprocess(frame, options.get("resize"), channels, means, stds)
    else:
        preprocess = SamplePreprocess(shape, mean, std)
    found = RawModel(model, preprocess).eval().requires_grad_(False)
    with torch.no_grad():
        try:
            given: Any = found(torch.from_numpy(samples[:1].astype(np.float32)))
        # Layers raise what they like about inputs that they do not take.
        except Exception as error:
            raise InputError(
                f"expected {type(model).__name__} to take samples of shape {shape}, found {type(error).__name__}: "
                f"{error!s:.300}. Give it what it was trained on."
            ) from error
    if not isinstance(given, Tensor) or given.dim() != 2:
        what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"expected {type(model).__name__} to return logits (n, k), found {what}.")
    return found
