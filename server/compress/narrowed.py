"""What pruning and factorising changed of a network, as JSON values, so that a checkpoint's network is built again."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...errors import TrainingError

# What layers note of their widths.
_SIZES = (
    *("in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels"),
    *("normalized_shape", "num_parameters"),
)


def narrowing_of(model: nn.Module, narrow: nn.Module) -> dict[str, Any] | None:
    """Return what `narrowed` has to do to a network for it to hold the weights of a narrower one.

    Args:
        model: The network before; only its shapes count.
        narrow: What pruning or factorising made of it.

    Returns:
        Ranks of layers that became two, sizes that layers note, shapes of tensors; None where that does not tell it.
    """
    there = dict(narrow.named_modules())
    ranks = {
        name: there[name][0].out_features
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _are_factors(there.get(name))
    }
    before = _factorised(copy.deepcopy(model), ranks)
    sizes: dict[str, dict[str, Any]] = {}
    for name, module in before.named_modules():
        found = {key: getattr(there.get(name), key, None) for key in _SIZES if hasattr(module, key)}
        changed = {key: _plain(size) for key, size in found.items() if _plain(size) != _plain(getattr(module, key))}
        if changed:
            sizes[name] = changed
    own, wanted = before.state_dict(), narrow.state_dict()
    if own.keys() != wanted.keys():
        return None
    tensors = {name: list(wanted[name].shape) for name in own if own[name].shape != wanted[name].shape}
    return {"ranks": ranks, "sizes": sizes, "tensors": tensors}


def narrowed(model: nn.Module, narrowing: Mapping[str, Any]) -> nn.Module:
    """Give a network the shapes of a narrower one; its weights are nothing then, and are to be filled.

    Args:
        model: The network. It is changed.
        narrowing: From `narrowing_of`, perhaps out of a file from elsewhere: nothing can grow by it.

    Returns:
        The network.

    Raises:
        TrainingError: If it is of another network.
    """
    try:
        ranks, sizes, tensors = (narrowing[name] for name in ("ranks", "sizes", "tensors"))
        model = _factorised(model, ranks)
        modules = dict(model.named_modules())
        for name, changed in sizes.items():
            for key, size in changed.items():
                _set_size(modules[name], key, size)
        for name, shape in tensors.items():
            owner, _, leaf = name.rpartition(".")
            _set_shape(modules[owner], leaf, shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(
            f"expected widths of {type(model).__name__} as compression notes them, found others ({error!s:.100}). Load "
            f"the checkpoint into the network that was compressed, or compress it again."
        ) from error
    return model


def with_narrowing(architecture: str, narrowing: Mapping[str, Any] | None) -> str | None:
    """Return the text from which `load_model` builds a narrower network.

    Args:
        architecture: That of the network before, from `architecture_of`.
        narrowing: What became of it; None where it cannot be told.

    Returns:
        The text; None where that network cannot be built again.
    """
    if narrowing is None:
        return None
    known = json.loads(architecture)
    return json.dumps({**known, "heads": [*known["heads"], dict(narrowing)]}, sort_keys=True)


def _are_factors(module: nn.Module | None) -> bool:
    layers = list(module) if isinstance(module, nn.Sequential) else []
    return len(layers) == 2 and all(isinstance(one, nn.Linear) for one in layers) and layers[0].bias is None


def _factorised(model: nn.Module, ranks: Mapping[str, Any]) -> nn.Module:
    for name, rank in ranks.items():
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear) or type(rank) is not int:
            raise ValueError(f"{name} is no linear layer of rank {rank!r:.20}")
        _check_shrinks(rank, min(layer.in_features, layer.out_features))
        first = nn.Linear(layer.in_features, rank, bias=False)
        model.set_submodule(name, nn.Sequential(first, nn.Linear(rank, layer.out_features)))
    return model


def _set_size(module: nn.Module, key: str, size: Any) -> None:
    was = getattr(module, key)
    if key not in _SIZES:
        raise ValueError(f"{key!r:.40} is no size")
    for new, old in zip(*(one if isinstance(one, list | tuple) else [one] for one in (size, was)), strict=True):
        _check_shrinks(new, old)
    setattr(module, key, tuple(size) if isinstance(was, tuple) else size)


def _set_shape(module: nn.Module, leaf: str, shape: Any) -> None:
    was = getattr(module, leaf)
    for new, old in zip(shape, was.shape, strict=True):
        _check_shrinks(new, old)
    new_tensor = torch.zeros(shape, dtype=was.dtype)
    if isinstance(was, nn.Parameter):
        setattr(module, leaf, nn.Parameter(new_tensor, requires_grad=was.requires_grad))
    else:
        setattr(module, leaf, new_tensor)


def _check_shrinks(new: Any, old: int) -> None:
    if type(new) is not int or not 1 <= new <= old:
        raise ValueError(f"{new!r:.20} instead of {old}")


def _plain(size: Any) -> Any:
    return list(size) if isinstance(size, tuple) else size
