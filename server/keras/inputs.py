"""What TensorFlow's process is given of a batch: inputs, and the shares of the classes in each."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...errors import TrainingError
from ..data.draws import seed_of
from ..training.batches import Batch
from ..training.mixing import mix
from ..training.settings import TrainingSettings
from .logits import channels_last

# Which kind of draw a seed is for: that of torch's steps, whose blends are then the same.
_STEP = 2


def inputs_of(step: int, batch: Batch, training: TrainingSettings, classes: int) -> Mapping[str, NDArray[Any]]:
    """Return inputs, blended as those of torch's runs are, and targets.

    Args:
        step: Which, counted from 0.
        batch: Its samples.
        training: How to blend, and the seed.
        classes: k.

    Returns:
        x ``(b, ..., c) float32`` and y ``(b, k) float32``, each row adding up to 1.

    Raises:
        TrainingError: If a sample has no label, or several.
    """
    x, y, _ = batch
    if not isinstance(y, Tensor) or bool((y < 0).any()):
        raise TrainingError(
            f"expected a label of one task for each sample, found none or several in step {step + 1}. Take out samples "
            f"without labels."
        )
    if training.mixup or training.cutmix:
        torch.default_generator.manual_seed(seed_of(training.seed, step, 0, _STEP))
        x, targets = mix(x, y, classes, mixup=training.mixup, cutmix=training.cutmix)
    else:
        targets = functional.one_hot(y, classes).to(x.dtype)
    return {"x": channels_last(x), "y": targets.float().numpy()}
