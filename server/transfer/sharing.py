"""Parameter sharing between models: hard, by a module in common, or soft, by a penalty."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from .layers import check_names, within
from .penalty import check_weight


class Together(nn.Module):
    """Several models on the same samples, one per task: as one model of the objective multi-task.

    Args:
        models: Each takes a batch and returns logits ``(b, k)``; modules that they share train on all tasks.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every task."""
        return tuple(model(x) for model in self.models)


def share(models: Sequence[nn.Module], names: Sequence[str]) -> int:
    """Let models have modules in common, in place: those of the first one.

    Args:
        models: Two or more.
        names: Of the modules, the same in each.

    Returns:
        Parameters that are shared.

    Raises:
        InputError: If a model has no such module, or one of other weights.
    """
    _check(models, names)
    first = models[0]
    for name in names:
        for other in models[1:]:
            other.set_submodule(name, first.get_submodule(name))
    return sum(parameter.numel() for name, parameter in first.named_parameters() if within(name, names))


class SoftSharing:
    """``strength/2 Σ |θ_a - θ_b|²`` over pairs of models and the modules that they share softly; a `Penalty`.

    Args:
        models: Two or more, all of which train, in one module such as `Together`.
        names: Of the modules, the same in each.
        strength: Weight of the penalty.

    Raises:
        InputError: If a model has no such module, or one of other weights or none, or the strength is NaN, infinite or
            below 0.

    References:
        Duong et al. 2015, "Low resource dependency parsing: cross-lingual parameter sharing in a neural network
        parser".
    """

    name = "soft sharing"

    def __init__(self, models: Sequence[nn.Module], names: Sequence[str], *, strength: float = 0.1) -> None:
        _check(models, names)
        bare = [name for name in names if next(models[0].get_submodule(name).parameters(), None) is None]
        if bare:
            raise InputError(f"expected modules with parameters to share softly, found none in {', '.join(bare)}.")
        check_weight(strength, "strength")
        self.names, self.strength, self.count = tuple(names), strength, len(models)

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the penalty of the module that holds the models as its ``models``, a scalar.

        Raises:
            InputError: If it holds another number of models.
        """
        models = list(module.get_submodule("models").children())
        if len(models) != self.count:
            raise InputError(
                f"expected {self.count} models, found {len(models)}. Make the penalty of those that train."
            )
        named = [
            [parameter for name, parameter in model.named_parameters() if within(name, self.names)] for model in models
        ]
        parts = [
            (a - b).square().sum()
            for at, first in enumerate(named)
            for second in named[at + 1 :]
            for a, b in zip(first, second, strict=True)
        ]
        return self.strength / 2 * torch.stack(parts).sum()

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: models are compared with each other."""
        return {}


def _check(models: Sequence[nn.Module], names: Sequence[str]) -> None:
    if len(models) < 2 or not names:
        raise InputError(
            f"expected two models or more and names of modules to share, found {len(models)} and {len(names)}."
        )
    for name in names:
        shapes = []
        for model in models:
            check_names(model, [name], "names")
            state = model.get_submodule(name).state_dict()
            shapes.append({key: tuple(tensor.shape) for key, tensor in state.items()})
        if any(found != shapes[0] for found in shapes):
            raise InputError(
                f"expected modules {name!r} of the same weights, found {_told(shapes)}. Share modules of one build."
            )


def _told(shapes: list[dict[str, tuple[int, ...]]]) -> str:
    return " and ".join(", ".join(f"{name} {shape}" for name, shape in found.items()) or "none" for found in shapes)
