"""The two ends of a model: its first convolution takes the data's channels, its last layer has its classes."""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError


def fit_ends(model: nn.Module, classes: int, shape: tuple[int, ...], *, head: str = "auto", seed: int = 0) -> nn.Module:
    """Give a model as many inputs and outputs as the data has, and check that it takes the data.

    Args:
        model: Returns logits ``(b, k)``; changed in place where it does not fit.
        classes: Outputs that are wanted; 0 for those that it has.
        shape: Shape of one sample, without the batch.
        head: Name of its last layer, or ``auto``.
        seed: Fixes the weights of a new last layer.

    Returns:
        The model, in evaluation mode.

    Raises:
        InputError: If there is no such layer, or the model does not take such samples.
    """
    if len(shape) == 3:
        fit_channels(model, shape[0])
    found = outputs_of(model, shape)
    if head != "auto":
        _check_head(model, head, found)
    if classes and found != classes:
        name = head_name(model, found) if head == "auto" else head
        _replace(model, name, classes, seed)
        found = outputs_of(model, shape)
        if found != classes:
            raise InputError(
                f"expected {classes} outputs of the model after its layer {name!r} was replaced, found {found}. Name "
                f"its last layer in model.head."
            )
    return model.eval()


def head_name(model: nn.Module, outputs: int) -> str:
    """Return the name of the last layer that has as many outputs as the model: linear, or a 1 x 1 convolution.

    Raises:
        InputError: If there is none.
    """
    named = [(name, module) for name, module in model.named_modules() if _width(module) == outputs]
    linear = [name for name, module in named if isinstance(module, nn.Linear)]
    if not named:
        raise InputError(
            f"expected a last layer, linear or a convolution, with the model's {outputs} outputs, found none in "
            f"{type(model).__name__}. Name it in model.head."
        )
    last: str = linear[-1] if linear else named[-1][0]
    return last


def fit_channels(model: nn.Module, channels: int) -> None:
    """Let a model for images of 3 channels take grey ones, or one for grey images 3.

    Weights of three channels are added up for one: what the model gives is that of the grey image three times. Weights
    of one are spread evenly over three: what it gives is that of their mean.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.groups != 1 or {first.in_channels, channels} != {1, 3}:
        return
    with torch.no_grad():
        weight = first.weight.sum(dim=1, keepdim=True) if channels == 1 else first.weight.expand(-1, 3, -1, -1) / 3
        first.weight = nn.Parameter(weight.clone())
    first.in_channels = channels


def outputs_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the number of outputs, of a run on two samples of zeros.

    Args:
        model: Returns logits ``(b, k)``; its mode is put back.
        shape: Shape of one sample, without the batch.

    Raises:
        InputError: If it does not take such samples, or returns something else.
    """
    parameter = next(model.parameters(), torch.zeros(()))
    was_training = model.training
    try:
        with torch.no_grad():
            # In evaluation mode, so that no statistics of these samples stay.
            given: Any = model.eval()(torch.zeros(2, *shape, dtype=parameter.dtype, device=parameter.device))
    # Layers raise what they like about inputs that they do not take.
    except Exception as error:
        raise InputError(
            f"expected {type(model).__name__} to take samples of shape {shape}, found {type(error).__name__}: "
            f"{error!s:.300}. Set data.size and data.channels to what it takes, or choose another model."
        ) from error
    finally:
        model.train(was_training)
    if not isinstance(given, Tensor) or given.dim() != 2:
        what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"expected {type(model).__name__} to return logits (b, k), found {what}. Return a tensor.")
    return given.shape[1]


def _width(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) else None


def _check_head(model: nn.Module, name: str, outputs: int) -> None:
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise InputError(
            f"expected a layer {name!r} in {type(model).__name__}, found none. Mend model.head."
        ) from error
    width = _width(layer)
    if width is None:
        raise InputError(
            f"expected {name!r} as a linear layer or a 1 x 1 convolution, found {type(layer).__name__}. "
            f"Mend model.head."
        )
    if width != outputs:
        raise InputError(
            f"expected {name!r} with the model's {outputs} outputs, found {width}. Name its last layer in model.head."
        )


def _replace(model: nn.Module, name: str, classes: int, seed: int) -> None:
    old = model.get_submodule(name)
    # Its weights come from the global generator; the caller's state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(old, nn.Linear):
            new: nn.Module = nn.Linear(old.in_features, classes, bias=old.bias is not None)
        elif isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1):
            new = nn.Conv2d(old.in_channels, classes, 1, bias=old.bias is not None)
        else:
            raise InputError(f"expected {name!r} as a linear layer or a 1 x 1 convolution, found {type(old).__name__}.")
    model.set_submodule(name, new)
