"""A model's weights from a local file. Nothing that such a file holds is run."""

import pickle
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ...errors import InputError
from ..quiet import quiet

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# Under these keys training scripts keep the weights beside the rest of a checkpoint.
_WRAPPED = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict.

    Args:
        path: A file of safetensors, or one that ``torch.save`` wrote from a state dict or from a checkpoint that holds
            one as ``state_dict``, ``model_state_dict`` or ``model``.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        InputError: If it is no such file, or holds anything but tensors and plain values.
    """
    if not path.is_file() or path.suffix.lower() not in SUFFIXES:
        raise InputError(f"expected a file of weights ({', '.join(SUFFIXES)}), found {path}. Check --weights.")
    if path.suffix.lower() == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(f"{path.name}: expected safetensors, found that {error}. Save it again.") from error
    try:
        with quiet():
            found = torch.load(path, map_location="cpu", weights_only=True)
    # What a damaged archive raises has no class of its own.
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path.name}: expected a state dict of tensors, found a damaged file or one with other objects, which are "
            f"never loaded since they can run code ({type(error).__name__}). Write it with "
            f"torch.save(model.state_dict(), path), or as safetensors."
        ) from error
    for key in _WRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    tensors = isinstance(found, dict) and all(isinstance(value, Tensor) for value in found.values())
    if not tensors or not found:
        raise InputError(
            f"{path.name}: expected tensors by name, found {type(found).__name__}. Save model.state_dict()."
        )
    # Data-parallel training puts this in front of every name.
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def load_weights(build: Callable[[int | None], nn.Module], path: Path) -> nn.Module:
    """Build a model and load weights into it.

    Args:
        build: Makes the model, with the given number of outputs or with its own.
        path: See `read_weights`.

    Returns:
        The model, with as many outputs as the weights have.

    Raises:
        InputError: If the weights are not the model's; the message names the first that differ.
    """
    weights = read_weights(path)
    model = build(None)
    own = model.state_dict()
    other = {name for name, t in weights.items() if name in own and t.dim() and own[name].shape != t.shape}
    # A head of another width is no contradiction: the last layers' rows are the classes.
    counts = {int(weights[name].shape[0]) for name in other if own[name].shape[1:] == weights[name].shape[1:]}
    if other and len(counts) == 1:
        model = build(counts.pop())
        own = model.state_dict()
        other = {name for name, t in weights.items() if name in own and own[name].shape != t.shape}
    missing = sorted(set(own) - set(weights) - {name for name in own if name.endswith("num_batches_tracked")})
    unknown = sorted(set(weights) - set(own))
    if missing or unknown or other:
        raise InputError(
            f"{path.name}: expected the weights of {type(model).__name__}, found {len(missing)} missing "
            f"{missing[:3]}, {len(unknown)} unknown {unknown[:3]} and {len(other)} of another shape "
            f"{sorted(other)[:3]}. Name the model that they were trained in."
        )
    model.load_state_dict(weights, strict=False)
    return model
