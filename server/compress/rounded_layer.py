"""A layer with its weights in 8 bits and its bias in 32, run in place of one in float."""

from typing import Any

from torch import Tensor

from .fake_quantize import fake_quantize_bias, fake_quantize_weight, weight_scale


def run_layer(
    func: Any, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], step: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a convolution or a linear layer with its weights and its bias rounded.

    Args:
        func: The torch function.
        kind: Its name.
        args: What it was called with.
        kwargs: Likewise.
        step: ``() float32``, between the levels of its input.

    Returns:
        What it returns, and the steps of its bias, ``(c,) float32``.
    """
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    # Those of transposed convolutions have the output channels on their second axis.
    axis = 1 if kind.startswith("conv_transpose") else 0
    weight, bias = given["weight"], given.get("bias")
    steps = weight_scale(weight, axis).flatten() * step.detach()
    # The channels of a transposed convolution share their steps among its groups.
    if bias is not None and bias.shape == steps.shape:
        bias = fake_quantize_bias(bias, steps)
    rest = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}
    result: Tensor = func(given["input"], fake_quantize_weight(weight, axis), bias, *args[3:], **rest)
    return result, steps


def shift_error(args: tuple[Any, ...], kwargs: dict[str, Any], steps: Tensor) -> Tensor:
    """Return what rounding adds to a folded norm, which is the bias of the layer before it.

    Args:
        args: What ``batch_norm`` was called with.
        kwargs: Likewise.
        steps: ``(c,) float32``, the steps of that bias.

    Returns:
        ``(c, 1, ...) float32``, to be added to what it returns.
    """
    names = ("input", "running_mean", "running_var", "weight", "bias")
    given = dict(zip(names, args, strict=False)) | kwargs
    shift = -given["running_mean"] if given["bias"] is None else given["bias"] - given["running_mean"]
    error = (fake_quantize_bias(shift, steps) - shift).detach()
    shaped: Tensor = error.reshape(-1, *[1] * (given["input"].dim() - 2))
    return shaped
