"""Fold BatchNorm into the layer before it, in place, so that modules and the names of tensors stay."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .recording import Recording

_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


def fold_norms(model: nn.Module, recording: Recording) -> tuple[int, ...]:
    """Move the scale of every BatchNorm that directly follows a layer into the weights of that layer.

    The norm stays, with mean 0, variance and weight that make a scale of 1, and the whole shift in its bias: it is the
    bias of the layer before it, and the model computes in evaluation mode what it did. Exporters make one operation of
    both. A norm elsewhere, or one of a layer that is called several times, stays as it is.

    Args:
        model: In evaluation mode; its weights change in place.
        recording: One run of it.

    Returns:
        The operations, by number, that only shift what the layer before them returns.
    """
    operations, takers, makers = recording.operations, recording.takers(), recording.makers()
    modules = dict(model.named_modules())
    folded = []
    for number, operation in enumerate(operations):
        maker = makers.get(operation.inputs[0]) if operation.kind == "batch_norm" else None
        if maker is None:
            continue
        layer, norm = operations[maker], modules[operation.module]
        if not (isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None):
            continue
        alone = recording.calls[layer.module] == recording.calls[operation.module] == 1
        axis = _channel_axis(layer.kind, layer.axes, modules[layer.module])
        weight = getattr(modules[layer.module], "weight", None)
        if not alone or axis is None or takers[operation.inputs[0]] != [number] or not isinstance(weight, nn.Parameter):
            continue
        _fold(weight, getattr(modules[layer.module], "bias", None), axis, norm)
        folded.append(number)
    return tuple(folded)


def _channel_axis(kind: str, axes: int, layer: Any) -> int | None:
    """Return the axis of the weight that the norm's channels are, or None where they are several or none."""
    if kind in _CONVOLUTIONS or (kind == "linear" and axes == 2):
        return 0
    return 1 if kind in _TRANSPOSED and getattr(layer, "groups", 0) == 1 else None


@torch.no_grad()
def _fold(weight: nn.Parameter, bias: nn.Parameter | None, axis: int, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018  asked for before
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean.double()
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
    shape = [1] * weight.dim()
    shape[axis] = -1
    weight.copy_(weight.double() * scale.reshape(shape))
    if bias is not None:
        bias.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.running_mean.zero_()
    if norm.weight is None:
        norm.running_mean.copy_(-shift)
    else:
        norm.weight.fill_(1)
        norm.bias.copy_(shift)
