"""What fine-tuning makes of a model before it trains: frozen parts, adapters, learning rates, and a penalty."""

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from ...errors import InputError
from ..data import Data
from ..model_ends import head_name
from ..objectives.projector import last_linear
from .ewc import ewc, without_information
from .fisher import fisher_diagonal
from .l2_sp import l2_sp
from .layers import blocks_of, check_names, freeze_but, last_blocks, still_modules, within
from .lora import add_adapters
from .penalty import Anchored
from .rates import rate_factors
from .settings import TransferSettings

_log = logging.getLogger(__name__)
_ALPHA = 0.1
# Samples that are read at once.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Tuned:
    """How a model trains.

    Args:
        still: Modules that stay in evaluation mode.
        factors: Factors of the learning rate by parameter name; 1 for others.
        plain: Turns the state of the model that trains into that of the model as it was, without adapters.
    """

    still: tuple[nn.Module, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict)
    plain: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state


def tuned(model: nn.Module, settings: TransferSettings, *, outputs: int, head: str = "auto", seed: int = 0) -> Tuned:
    """Freeze parts of a model, or add adapters, in place.

    Args:
        model: The model, as it is to begin with.
        settings: What trains, and how fast.
        outputs: Of the model, all tasks together; 0 where there are no classes.
        head: Name of its last layer; auto finds it.
        seed: Fixes the first weights of adapters.

    Raises:
        InputError: If there are no such modules.
        MissingExtraError: If adapters are asked for and PEFT is not installed.
    """
    blocks = blocks_of(model) if settings.rate_factor < 1 else ()
    plain = Tuned().plain
    if settings.lora_rank:
        if head == "auto":
            # Without classes, the model's own outputs are not counted.
            head = head_name(model, outputs) if outputs else last_linear(model)
        moving: tuple[str, ...] = (head,)
        adapters = add_adapters(
            model,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            head=moving,
            layers=settings.lora_layers,
            seed=seed,
        )
        plain = adapters.merged
    elif settings.train or settings.train_last is not None:
        check_names(model, settings.train, "transfer.train")
        moving = settings.train or last_blocks(model, settings.train_last or 1)
        freeze_but(model, moving)
    else:
        return Tuned((), rate_factors(model, blocks, settings.rate_factor) if blocks else {}, plain)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not trained:
        raise InputError(f"expected modules with parameters to train, found none in {', '.join(moving)}.")
    _log.info("%s parameters train, in %s", f"{trained:,}", ", ".join(name or "the model" for name in moving))
    factors = rate_factors(model, blocks, settings.rate_factor) if blocks else {}
    return Tuned(still_modules(model, moving), factors, plain)


def new_parameters(model: nn.Module, source: nn.Module | None, settings: TransferSettings) -> frozenset[str]:
    """Return the names of parameters that do not come from the source.

    Args:
        model: The model that trains.
        source: The model that it was made from, before its last layer was replaced; None where that is the same.
        settings: Name new layers besides.

    Raises:
        InputError: If such a layer is not there.
    """
    check_names(model, settings.new_layers, "transfer.new_layers")
    old = {} if source is None else {name: parameter.shape for name, parameter in source.named_parameters()}
    found = set()
    for name, parameter in model.named_parameters():
        # A first layer fitted to other channels has other inputs, but comes from the source.
        replaced = source is not None and (name not in old or old[name][:1] != parameter.shape[:1])
        if replaced or within(name, settings.new_layers):
            found.add(name)
    return frozenset(found)


def make_penalty(
    model: nn.Module,
    settings: TransferSettings,
    *,
    new: Collection[str],
    source: nn.Module | None,
    data: Data | None,
    count: int,
    seed: int = 0,
    measure: bool = True,
    tell: bool = True,
) -> Anchored | None:
    """Return the penalty that settings ask for.

    Args:
        model: The model that trains, on its device, with the weights it starts from.
        settings: Which penalty.
        new: Names of parameters that do not come from the source.
        source: The model that it was made from, as for `new_parameters`.
        data: Samples of the source, for EWC.
        count: Training samples.
        seed: Fixes which samples are drawn.
        measure: Whether EWC is to measure; else its weights are 0, to be filled by a checkpoint.
        tell: Whether what EWC does not hold is logged, by one process of many.

    Raises:
        InputError: If EWC has no samples of the source, or these do not fit it.
    """
    weight = settings.penalty_weight
    if settings.penalty == "l2-sp":
        return l2_sp(model, new=new, alpha=_ALPHA if weight is None else weight, beta=settings.new_weight)
    if settings.penalty == "none":
        return None
    if data is None:
        raise InputError(
            'expected transfer.source_data with transfer.penalty = "ewc", found none. Name samples that the model was '
            "made with, without labels if need be, or choose l2-sp, which needs none."
        )
    # Frozen layers, too, have to answer; they have no gradients.
    asked = copy.deepcopy(model if source is None else source)
    asked.to(next(model.parameters()).device)
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in asked.named_parameters():
        parameter.requires_grad_(name in moving and name not in new)
    if measure:
        try:
            fisher = _measured(asked, source_samples(data, settings.fisher_samples, seed), seed)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"expected samples that the model takes as transfer.source_data, found {type(error).__name__}: "
                f"{error!s:.300}. Prepare them as the model was trained."
            ) from error
    else:
        fisher = {name: torch.zeros_like(p) for name, p in asked.named_parameters() if p.requires_grad}
    rows = getattr(data.train.dataset, "samples", None) if data.train.labels is None else len(data.train.labels)
    relative = (rows or len(data.train.dataset)) / max(count, 1)  # type: ignore[arg-type]
    made = ewc(model, fisher, weight=relative if weight is None else weight, new=new)
    free = without_information(model, fisher, new)
    if free and tell:
        _log.warning(
            "EWC holds nothing of %s, which %s not from the source: what it says of old classes is not protected "
            "there. Where classes are added, statistics of the source, prototypes or replay keep them.",
            ", ".join(free[:4]) + (", ..." if len(free) > 4 else ""),
            "is" if len(free) == 1 else "are",
        )
    return made


def _measured(model: nn.Module, blocks: Iterable[Tensor], seed: int) -> dict[str, Tensor]:
    first = next(model.parameters())
    total: dict[str, Tensor] = {}
    count = 0
    for x in blocks:
        for name, found in fisher_diagonal(model, x.to(first), seed=seed + count).items():
            total[name] = total.get(name, 0) + len(x) * found
        count += len(x)
    if not count:
        raise InputError("expected samples as transfer.source_data, found none. Name the source's.")
    return {name: found / count for name, found in total.items()}


def source_samples(data: Data, most: int, seed: int) -> Iterator[Tensor]:
    """Give samples of a training part, unvaried, in blocks ``(n, ...)``: the first of shards, else drawn by seed."""
    dataset: Any = data.train.dataset
    plain = getattr(dataset, "plain", None)
    dataset = plain() if plain else dataset
    if isinstance(dataset, IterableDataset):
        samples = (sample[0] for sample in islice(iter(dataset), most))
    else:
        rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        samples = (dataset[int(row)][0] for row in rows)
    while block := list(islice(samples, _BLOCK)):
        yield torch.stack(block)
