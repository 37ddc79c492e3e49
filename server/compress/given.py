"""What blocks of compression are given: models and samples that fit each other, told before anything is done."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError


def require_sample(model: Any, sample: Any) -> None:
    """Refuse what is no model, and samples that it does not take.

    Args:
        model: The model; it is run once, in evaluation mode, on at most two of the samples.
        sample: ``(n, ...) float32``.

    Raises:
        InputError: If they do not fit.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"expected a torch module, found {type(model).__name__}. Load the model first.")
    require_tensor(sample, "samples")
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            given = model.eval()(sample[:2])
    # Layers raise what they like about inputs that they do not take.
    except Exception as error:
        raise InputError(
            f"expected samples as {type(model).__name__} takes them, found {_told(sample)}: {type(error).__name__}: "
            f"{error!s:.200}. Give a batch (n, ...) of what it is trained on, on its device."
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(given, Tensor):
        raise InputError(
            f"expected {type(model).__name__} to return one tensor, found {type(given).__name__}. Wrap it in a module "
            f"that returns its logits."
        )


def require_tensor(sample: Any, what: str) -> None:
    """Refuse what is no batch of numbers as a tensor.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(sample, Tensor):
        advice = "Leave out the labels." if isinstance(sample, tuple | list) else "torch.from_numpy makes a tensor."
        raise InputError(f"expected {what} as a float tensor (n, ...), found {_told(sample)}. {advice}")
    if sample.dim() < 2 or not len(sample) or not sample.is_floating_point():
        raise InputError(
            f"expected {what} as a float tensor (n, ...) of one sample or more, found {_told(sample)}. Convert them as "
            f"for training."
        )


def checked_batches(model: Any, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Give batches, the first of which the model was seen to take.

    Args:
        model: The model.
        batches: ``(n, ...) float32`` each.

    Raises:
        InputError: If they are none, or the model does not take them.
    """
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise InputError(
            f"expected batches, found {_told(batches)}. Give a list of tensors: x.split(64) makes one of a tensor."
        )
    for number, x in enumerate(batches):
        if number:
            require_tensor(x, "batches")
        else:
            require_sample(model, x)
        yield x


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} {tuple(shape)}" if shape is not None else type(value).__name__
