"""Structured pruning: whole channels are taken out, so that every runtime gains without knowing of it."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...extras import require
from .channels import LAYERS, Cut, cut_channels
from .given import require_sample
from .hold_ranges import require_no_ranges
from .recording import Recording, record
from .scheme import LINEAR, WHOLE

Importance = Literal["l2", "taylor"]


@dataclass(frozen=True)
class Width:
    """How many channels a layer returns.

    Args:
        name: Its name.
        before: Channels before pruning.
        after: Channels after it.
    """

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class PruneReport:
    """What pruning took out. How much faster the model is, only its export on a device runtime tells.

    Args:
        ratio: Share of the channels that was to go.
        parameters: Number of parameters before and after.
        layers: Every layer with weights.
    """

    ratio: float
    parameters: tuple[int, int]
    layers: tuple[Width, ...]

    @property
    def removed(self) -> float:
        """Share of all channels that went, 0 to 1; rounding and what was ignored keep it from `ratio`."""
        return 1 - sum(one.after for one in self.layers) / sum(one.before for one in self.layers)


def prune(
    model: nn.Module,
    sample: Tensor,
    *,
    ratio: float,
    importance: Importance = "l2",
    loss: Callable[[nn.Module], Tensor] | None = None,
    ignored: Sequence[str] = (),
    multiple: int = 8,
    most: float = 0.9,
) -> tuple[nn.Module, PruneReport]:
    """Take the least important channels out of a copy of a model; train it afterwards.

    Channels that depend on each other (over a shortcut, through a depthwise convolution or a normalisation) go
    together, and all of the model's compete with each other. Layers of grouped convolutions and group normalisations
    keep their widths. The model's own classes stay, with narrower layers.

    Args:
        model: The model. It is not changed.
        sample: ``(n, ...) float32``, one sample or more as the model takes them.
        ratio: Share of the channels that is to go, above 0 and below 1.
        importance: ``"l2"`` judges by the norm of the weights, ``"taylor"`` by how much the loss would change, to first
            order (Molchanov et al. 2019, "Importance estimation for neural network pruning").
        loss: For ``"taylor"``: takes the copy and returns the loss on some batches, a scalar.
        ignored: Names of modules whose outputs stay as they are. The last layer with weights is always among them.
        multiple: Widths are rounded to the nearest multiple of this: runtimes compute in blocks of 8 or 16.
        most: Largest share of one layer's channels that may go.

    Returns:
        The model in evaluation mode, and what went.

    Raises:
        InputError: If the model's channels cannot be followed, or an argument does not fit.
        MissingExtraError: If torch-pruning is not installed.

    References:
        Fang et al. 2023, "DepGraph: towards any structural pruning".
    """
    _check(ratio, importance, loss, multiple, most)
    require_sample(model, sample)
    require_no_ranges(model, "prune it")
    require("torch_pruning", extra="server", needed_by="acclimate.server.compress.prune")
    result = copy.deepcopy(model).eval()
    # Channels are followed along gradients.
    result.requires_grad_(requires_grad=True)
    recording = record(result, sample)
    fixed = _ignored(result, recording, ignored)
    before = _widths(result)
    size = sum(parameter.numel() for parameter in result.parameters())
    if loss is not None and importance == "taylor":
        loss(result).backward()  # type: ignore[no-untyped-call]
    _cut(result, sample, fixed, importance, Cut(ratio, most, multiple))
    _check_result(model, result, sample)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in result.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(trained[name])
    after = _widths(result)
    if after == before:
        raise InputError(
            f"expected channels of {type(model).__name__} to go at a ratio of {ratio:g}, found that none can: "
            f"rounded to multiples of {multiple} all widths stay. Lower `multiple` or raise `ratio`."
        )
    widths = tuple(Width(name, width, after[name]) for name, width in before.items())
    return result, PruneReport(ratio, (size, sum(parameter.numel() for parameter in result.parameters())), widths)


def _cut(model: nn.Module, sample: Tensor, fixed: list[nn.Module], importance: str, cut: Cut) -> None:
    try:
        unseen = cut_channels(model, sample, fixed, importance, cut)
    # torch-pruning raises anything.
    except Exception as error:
        raise _refusal(model, f"{type(error).__name__}: {str(error)[:200]}") from error
    if unseen is not None:
        name = next(name for name, module in model.named_modules() if module is unseen)
        raise _refusal(model, f"no gradient from the output to {name!r} (detach or no_grad)")


def _check_result(model: nn.Module, result: nn.Module, sample: Tensor) -> None:
    at: list[str] = []
    names = {module: name for name, module in result.named_modules()}
    handles = [m.register_forward_pre_hook(lambda module, args: at.append(names[module])) for m in names]
    try:
        with torch.no_grad():
            found = result(sample)
            wanted = copy.deepcopy(model).eval()(sample)
    # Forward may fail in any way.
    except Exception as error:
        raise _refusal(model, f"that it fails at {at[-1]!r} with narrower layers: {str(error)[:200]}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(found, Tensor) or found.shape != wanted.shape:
        raise _refusal(model, "that it returns another shape with narrower layers")


def _ignored(model: nn.Module, recording: Recording, names: Sequence[str]) -> list[nn.Module]:
    modules = dict(model.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise InputError(f"expected names of modules of {type(model).__name__} to ignore, found {unknown[0]!r}.")
    whole = [one for one in recording.operations if one.kind in WHOLE]
    if whole:
        raise _refusal(model, f"attention or a recurrent layer in {whole[0].module!r}, whose heads would be mixed up")
    last = [one.module for one in recording.operations if one.kind in LINEAR]
    if not last:
        raise _refusal(model, "no layer with weights")
    return [modules[name] for name in (*names, last[-1])]


def _widths(model: nn.Module) -> dict[str, int]:
    return {
        name: int(module.out_channels if isinstance(module, nn.modules.conv._ConvNd) else module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    }


def _refusal(model: nn.Module, found: str) -> InputError:
    return InputError(
        f"expected a model whose channels can be followed from layer to layer, found in {type(model).__name__} "
        f"{found}. Name parts of it in `ignored`, or distil it into a smaller model instead."
    )


def _check(ratio: float, importance: str, loss: object, multiple: int, most: float) -> None:
    for name, share in (("ratio", ratio), ("most", most)):
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise InputError(
                f"expected {name} as a share of the channels above 0 and below 1, found {share!r}. 0.3 takes out 30 % "
                f"of them, and about half of the parameters."
            )
    if type(multiple) is not int or multiple < 1:
        raise InputError(f"expected a multiple of 1 channel or more, found {multiple!r}. 8 suits most runtimes.")
    if importance not in get_args(Importance):
        raise InputError(f"expected importance out of {get_args(Importance)}, found {importance!r}.")
    if (importance == "taylor") != (loss is not None):
        raise InputError("expected a loss with importance 'taylor' and none without. Give a function of the model.")
