"""Low-rank adapters (LoRA) through PEFT: they train, and become part of the weights that they were added to."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...converters.quiet import quiet
from ...errors import InputError
from ...extras import require
from .layers import check_names, within

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ADAPTER = "default"
_BASE = ".base_layer."


@dataclass(frozen=True, eq=False)
class Adapters:
    """Adapters in a model.

    Args:
        layers: Names of the layers that have one.
        spare: A copy of the model with adapters, whose weights are of no account.
    """

    layers: tuple[str, ...]
    spare: nn.Module

    def merged(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of the model as it was before adapters were added, which gives what the other one gives.

        Args:
            state: Of the model with adapters, on the processor.
        """
        self.spare.load_state_dict(state)
        merged: dict[str, Tensor] = {}
        for name, tensor in state.items():
            owner = next((layer for layer in self.layers if within(name, [layer])), None)
            if owner is None:
                merged[name] = tensor
            elif name.startswith(f"{owner}{_BASE}"):
                merged[f"{owner}.{name.removeprefix(f'{owner}{_BASE}')}"] = tensor
        with torch.no_grad():
            for layer in self.layers:
                adapter: Any = self.spare.get_submodule(layer)
                weight = merged[f"{layer}.weight"]
                merged[f"{layer}.weight"] = weight + adapter.get_delta_weight(_ADAPTER).to(weight.dtype)
        return merged


def add_adapters(
    model: nn.Module, *, rank: int, alpha: int, head: Sequence[str], layers: Sequence[str] = (), seed: int = 0
) -> Adapters:
    """Add adapters to layers of a model in place, and freeze all but those and the head. They give 0 at first.

    Args:
        model: The model.
        rank: Their rank.
        alpha: What they give is multiplied by ``alpha / rank``.
        head: Names of the modules that train whole.
        layers: Names of the layers that get one; all linear ones and ungrouped convolutions but the head where empty.
        seed: Fixes their first weights.

    Raises:
        InputError: If a layer is not there or is none that adapters can be added to.
        MissingExtraError: If PEFT is not installed.

    References:
        Hu et al. 2022, "LoRA: low-rank adaptation of large language models".
    """
    require("peft", extra="lora", needed_by="transfer.lora_rank")
    targets = tuple(layers) or adaptable(model, head)
    check_names(model, targets, "transfer.lora_layers")
    for name in targets:
        _check_layer(model.get_submodule(name), name, head)
    if not targets:
        raise InputError(
            f"expected linear layers or ungrouped convolutions in {type(model).__name__} besides its head, found none. "
            f"Fine-tune it with transfer.train_last, or whole."
        )
    with quiet():
        from peft import LoraConfig, inject_adapter_in_model

    # PEFT takes a name for every module that ends in it.
    exact = "|".join(name.replace(".", r"\.") for name in targets)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=f"^(?:{exact})$", bias="none")
    first = next(model.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    # What PEFT makes is float32.
    model.to(first.dtype)
    for name, parameter in model.named_parameters():
        if within(name, head):
            parameter.requires_grad_(True)
    return Adapters(targets, copy.deepcopy(model).cpu())


def adaptable(model: nn.Module, head: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the layers that adapters can be added to, the head's left out."""
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, _KINDS) and getattr(module, "groups", 1) == 1 and not within(name, head)
    )


def _check_layer(module: nn.Module, name: str, head: Sequence[str]) -> None:
    if within(name, head):
        raise InputError(f"expected layers that do not train whole as transfer.lora_layers, found {name!r}, the head.")
    if not isinstance(module, _KINDS):
        raise InputError(
            f"expected linear layers or convolutions as transfer.lora_layers, found {name!r}, a "
            f"{type(module).__name__}."
        )
    groups = getattr(module, "groups", 1)
    if groups > 1:
        raise InputError(
            f"expected ungrouped convolutions as transfer.lora_layers, found {name!r} of {groups} groups, whose "
            f"adapters cannot become part of it ({math.prod(module.weight.shape):,} weights). Leave it out."
        )
