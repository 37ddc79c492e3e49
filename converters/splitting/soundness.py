"""Refuse a model that cannot be converted, and say in plain words why and what would help."""

import copy
import inspect
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...errors import CutError, InputError

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy that is on the CPU, in float32, in evaluation mode and without gradients.

    Args:
        model: The model. It is left as it is; wrappers of `torch.compile` and of data-parallel training are taken off.

    Raises:
        CutError: If it cannot be copied, or is not a module that can be looked into.
    """
    if not isinstance(model, nn.Module):
        raise CutError(f"expected a torch.nn.Module, found {type(model).__name__}. Pass the model itself.")
    while type(model).__name__ in _WRAPPERS:
        model = getattr(model, _WRAPPERS[type(model).__name__])
    if isinstance(model, torch.jit.ScriptModule):
        raise CutError("expected an ordinary torch.nn.Module, found a scripted one. Pass the module it was made from.")
    lazy = [name for name, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise CutError(f"expected initialised parameters, found that {lazy[0]!r} is lazy. Run the model once first.")
    try:
        copied = copy.deepcopy(model)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CutError(
            f"expected a model that can be copied, found that copy.deepcopy fails: {error}. "
            f"Remove weight normalisation (torch.nn.utils.parametrize.remove_parametrizations) and open handles."
        ) from error
    return copied.cpu().float().eval().requires_grad_(False)


def check_state(model: nn.Module) -> None:
    """Check a model's parameters, buffers and signature.

    Raises:
        CutError: If a number is not finite, a BatchNorm has no statistics, or the model wants several inputs.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CutError(
                f"expected finite weights, found NaN or infinity in {name!r}. "
                f"The training diverged: go back to an earlier checkpoint."
            )
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _check_batch_norm(name, module)
    wanted = list(_required_inputs(model))
    if len(wanted) > 1:
        raise CutError(
            f"expected a model with one input, found that {type(model).__name__}.forward needs {wanted}. "
            f"Wrap it in a module whose forward takes one tensor and supplies the rest."
        )


def _check_batch_norm(name: str, module: nn.modules.batchnorm._BatchNorm) -> None:
    mean, variance, tracked = module.running_mean, module.running_var, module.num_batches_tracked
    if mean is None or variance is None:
        raise CutError(
            f"expected {name!r} ({type(module).__name__}) to hold running statistics, found none: it normalises by the "
            f"batch, so a sample's latent would depend on its neighbours. Set track_running_stats=True and train again."
        )
    untouched = not bool(mean.any()) and bool((variance == 1).all())
    if untouched and (tracked is None or int(tracked) == 0):
        raise CutError(
            f"expected {name!r} ({type(module).__name__}) to have seen data, found its statistics as they were made "
            f"(mean 0, variance 1). Load the trained weights with their buffers, or run a few batches in training mode."
        )


def _required_inputs(model: nn.Module) -> Iterator[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for name, parameter in inspect.signature(model.forward).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if required and (parameter.kind in positional or parameter.kind is inspect.Parameter.KEYWORD_ONLY):
            yield name


def check_sample(x: Tensor) -> Tensor:
    """Check the sample batch that a model is looked at with.

    Args:
        x: ``(n, ...) float32``, at least two different samples.

    Returns:
        It, on the CPU.

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.dim() < 2 or len(x) < 2:
        found = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"expected a sample batch (n, ...) float32 of at least 2 samples, found {found}.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("expected a sample batch of finite numbers, found NaN or infinity.")
    return x.detach().cpu()


def check_repeatable(first: Tensor, again: Tensor, alone: Tensor) -> None:
    """Check that a sample's latent depends on nothing but the sample.

    Args:
        first: ``(n, d) float32`` latents of a batch.
        again: ``(n, d) float32`` latents of the same batch, in a second run.
        alone: ``(1, d) float32`` latent of its first sample by itself.

    Raises:
        CutError: If they differ.
    """
    if not bool(torch.isfinite(first).all()):
        raise CutError(
            "expected finite activations, found NaN or infinity on the sample batch. "
            "Check the sample's range and normalisation, and the trained weights."
        )
    size = float(first.abs().max()) + 1e-12
    if first.shape != again.shape or float((first - again).abs().max()) > 1e-4 * size:
        raise CutError(
            "expected the same result for the same input, found a different one in a second run. "
            "Something is random in evaluation mode: F.dropout needs training=self.training."
        )
    if alone.shape[1:] != first.shape[1:] or float((first[:1] - alone).abs().max()) > 1e-3 * size:
        raise CutError(
            f"expected a sample's latent to be the same alone and in a batch, found {tuple(alone.shape)} against "
            f"{tuple(first.shape)} or other values. Remove whatever mixes or reshapes samples across the batch axis."
        )
