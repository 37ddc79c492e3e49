"""Penalties on parameters: R(θ, θ_source) in min L_target(θ) + λ R(θ, θ_source)."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..training.sharding import is_sharded, sharded_like


class Penalty(Protocol):
    """What is added to the loss of a model, of its parameters alone; the weight λ is part of it.

    A run adds its gradient once to that of a step: after the parts of a batch and the processes are added up, and after
    conflicting gradients of tasks are projected.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the penalty of a model, a scalar."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what it compares with, by name, not copied: kept in every checkpoint of a run, and put back."""


def check_weight(value: float, what: str) -> float:
    """Return the weight of a penalty.

    Raises:
        InputError: If it is NaN, infinite or below 0.
    """
    if not math.isfinite(value) or value < 0:
        raise InputError(f"expected a finite {what} of 0 or more, found {value}.")
    return value


def check_new(model: nn.Module, new: Collection[str]) -> None:
    """Refuse names of new parameters that no parameter of a model has.

    Raises:
        InputError: If there is such a name.
    """
    known = [name for name, _ in model.named_parameters()]
    if missing := sorted(set(new) - set(known)):
        raise InputError(
            f"expected names of parameters of {type(model).__name__} as new ones, found {missing[0]!r}. Its last are "
            f"{', '.join(map(repr, known[-4:])) or 'none'}."
        )


@dataclass(frozen=True, eq=False)
class Pull:
    """What draws one parameter.

    Args:
        anchor: Where to, of the parameter's shape.
        weight: How strongly: of its shape, or a scalar.
    """

    anchor: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class Anchored:
    """``1/2 Σ weight (θ - anchor)²`` over parameters.

    Args:
        name: What it is called.
        pulls: By the parameters' names.
    """

    name: str
    pulls: Mapping[str, Pull]

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the penalty of a model, a scalar.

        Raises:
            InputError: If the model lacks a parameter, or one has another shape.
        """
        parameters = dict(module.named_parameters())
        total: Tensor | None = None
        for name, pull in self.pulls.items():
            found = parameters.get(name)
            if found is None or found.shape != pull.anchor.shape:
                raise InputError(
                    f"expected a parameter {name!r} of shape {tuple(pull.anchor.shape)}, found "
                    f"{'none' if found is None else tuple(found.shape)}. Make the penalty of the model that trains."
                )
            part = (pull.weight * (found - pull.anchor).square()).sum() / 2
            part = cast(Any, part).full_tensor() if is_sharded(part) else part
            total = part if total is None else total + part
        return torch.zeros(()) if total is None else total

    def tensors(self) -> dict[str, Tensor]:
        """Return anchors and weights by name."""
        return {
            f"{kind}.{name}": tensor
            for name, pull in self.pulls.items()
            for kind, tensor in (("anchor", pull.anchor), ("weight", pull.weight))
        }

    def placed(self, module: nn.Module) -> "Anchored":
        """Return it as a model's parameters are: on their device, and sharded as they are."""
        parameters = dict(module.named_parameters())

        def like(tensor: Tensor, name: str) -> Tensor:
            pattern = parameters[name]
            # A weight that all elements share is on every process whole.
            if not tensor.dim() and pattern.dim() and not is_sharded(pattern):
                return tensor.to(pattern.device)
            if not tensor.dim() and pattern.dim():
                return sharded_like(tensor.expand(pattern.shape).contiguous(), pattern)
            return sharded_like(tensor, pattern)

        pulls = {name: Pull(like(p.anchor, name), like(p.weight, name)) for name, p in self.pulls.items()}
        return Anchored(self.name, pulls)
