"""Simulated rounding to 8 bits as ONNX Runtime does it, with gradients that pass through."""

import torch
from torch import Tensor

LEVELS = 255
_WEIGHT_LEVELS = 127
_TINY = 1e-12


def fake_quantize(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round activations to the 256 levels of one range: unsigned 8 bits, one scale and zero point for the tensor.

    The gradient passes to `x` within the range, and to the ends of the range where they decide: of what lies outside,
    and of the rounding of what lies inside (Esser et al. 2020, "Learned step size quantization", here with two ends).

    Args:
        x: ``(...) float32``.
        low: ``() float32``, 0 at most.
        high: ``() float32``, 0 at least.

    Returns:
        ``(...) float32``, what the integers stand for; 0 stands for itself.
    """
    scale = activation_scale(low, high)
    zero = _rounded(-low / scale).clamp(0, LEVELS)
    levels = _rounded((x / scale + zero).clamp(0, LEVELS))
    return (levels - zero) * scale


def activation_scale(low: Tensor, high: Tensor) -> Tensor:
    """Return the step between the levels of a range, ``() float32``."""
    return ((high - low) / LEVELS).clamp_min(_TINY)


def fake_quantize_weight(weight: Tensor, axis: int = 0) -> Tensor:
    """Round weights to signed 8 bits, symmetric, with one scale for each output channel.

    Args:
        weight: ``(...) float32``.
        axis: That of the output channels.

    Returns:
        ``(...) float32``, what the integers stand for; the gradient passes unchanged.
    """
    scale = weight_scale(weight, axis)
    return _rounded(weight / scale) * scale


def weight_scale(weight: Tensor, axis: int = 0) -> Tensor:
    """Return the step of each output channel's weights, with the axes of `weight`, all but one of length 1."""
    others = [i for i in range(weight.dim()) if i != axis % weight.dim()]
    return (weight.detach().abs().amax(others, keepdim=True) / _WEIGHT_LEVELS).clamp_min(_TINY)


def fake_quantize_bias(bias: Tensor, steps: Tensor) -> Tensor:
    """Round biases to 32 bits, whose steps are those of the input times those of the weights.

    The steps are fine, but a bias is added to every value of its channel: without this, one value in ten thousand would
    come out on another level than the runtime's, and deep networks make much of it.

    Args:
        bias: ``(c,) float32``.
        steps: ``(c,) float32``.
    """
    return _rounded(bias / steps) * steps


def _rounded(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()
