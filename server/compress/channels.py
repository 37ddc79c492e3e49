"""Take channels out of layers that depend on each other, the least important of all layers first."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

# Layers whose channels stand on their own; convolutions of any number of axes, transposed too.
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class Cut:
    """How much goes.

    Args:
        ratio: Share of all channels, 0 to 1.
        most: Largest share of one layer's channels.
        multiple: Widths are rounded to the nearest multiple of this, and are at least it.
    """

    ratio: float
    most: float
    multiple: int


def cut_channels(
    model: nn.Module, sample: Tensor, fixed: Sequence[nn.Module], importance: str, cut: Cut
) -> nn.Module | None:
    """Cut a model's channels in place.

    What depends on what, and how much it matters, torch-pruning finds. Which channels go is decided here: its own
    choice rounds widths down, beyond the share that was asked for, and does not keep to the largest share of a layer.

    Args:
        model: In evaluation mode, with gradients where `importance` needs them; every parameter trains.
        sample: ``(n, ...) float32``.
        fixed: Modules whose outputs stay.
        importance: ``"l2"`` or ``"taylor"``.
        cut: How much goes.

    Returns:
        A layer that no gradient from the output reaches, in which case nothing was cut; None if all is well.
    """
    pruning = import_module("torch_pruning")
    judge = (
        pruning.importance.GroupMagnitudeImportance(p=2)
        if importance == "l2"
        else pruning.importance.GroupTaylorImportance()
    )
    left = [module for one in fixed for module in one.modules()]
    # It warns of parameters that belong to no layer; whether it guessed right shows when the result is run.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = pruning.DependencyGraph().build_dependency(model, example_inputs=sample)
        for module in model.modules():
            if isinstance(module, LAYERS) and module not in graph.module2node and module not in left:
                return module
        groups = [group for group in graph.get_all_groups(left, LAYERS) if not _grouped(group)]
        worth = [_worth(judge, group) for group in groups]
        for group, values, gone in zip(groups, worth, _shares(worth, cut.ratio), strict=True):
            count = len(values) - rounded_width(len(values), gone, cut)
            places = torch.argsort(values, stable=True)[:count].sort().values.tolist()
            root = group[0].dep
            # Asked for anew: places move where another group was cut before.
            found = graph.get_pruning_group(root.target.module, root.handler, places)
            if places and graph.check_pruning_group(found):
                found.prune()
    return None


def rounded_width(width: int, gone: int, cut: Cut) -> int:
    """Return how many channels of a layer stay.

    Args:
        width: How many it has.
        gone: How many of them are among the least important.
        cut: What bounds it.

    Returns:
        The multiple that is nearest to what is left, not below the least share, and not above `width`.
    """
    least = max(math.ceil(width * (1 - cut.most)), 1)
    near = math.floor(max(width - gone, least) / cut.multiple + 0.5) * cut.multiple
    if near < least:
        near = math.ceil(least / cut.multiple) * cut.multiple
    return min(near, width) if gone else width


def _shares(worth: Sequence[Tensor], ratio: float) -> list[int]:
    """Return how many of each group's channels are among the least important of all."""
    sizes = [len(values) for values in worth]
    if not sizes:
        return []
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    gone = torch.argsort(torch.cat(list(worth)), stable=True)[: round(ratio * sum(sizes))]
    found: list[int] = torch.bincount(owner[gone], minlength=len(sizes)).tolist()
    return found


def _worth(judge: Any, group: Any) -> Tensor:
    # Of a group whose channels all do nothing the mean, by which they are divided, is 0.
    values: Tensor = judge(group)
    return values.detach().cpu().nan_to_num(0.0)


def _grouped(group: Any) -> bool:
    """Return whether channels are taken in groups of several, which would have to stay of one size."""
    for dependency, _ in group:
        module = dependency.target.module
        if isinstance(module, nn.GroupNorm):
            return True
        if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
            depthwise = module.groups == module.in_channels == module.out_channels
            if not depthwise:
                return True
    return False
