"""Batches of source and target together, for objectives that adapt to a domain without labels."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ...errors import InputError
from ..config.read import PretrainConfig
from ..data.draws import seed_of
from ..data.split import Data, Split
from ..data.target import require_labelled
from .batches import Batch, Batches, step_size

if TYPE_CHECKING:
    from accelerate import Accelerator

# A pair of samples is the least that has a spread.
_LEAST = 2
# Which kind of draw a seed is for: the target has an order of its own.
_TARGET = 8


@dataclass(frozen=True, eq=False)
class PairedBatches:
    """The training samples of one process: an epoch is a pass over the source, beside which the target is cycled.

    A part is x ``(b + m, ...)``, source before target, and y: the source's labels ``(b,)``, the domain of each sample
    ``(b + m,)``, 0 for the target and 1 and up for sources, and the share of training done so far, ``(1,) float32``.

    Args:
        source: Labelled samples.
        target: Samples whose labels are not taken; steps of another size.
        total: Steps of the whole run.
        domains: ``(n,) int64`` source domain by key, counted from 1; None where all are of one.
        names: Of the target's samples by key, for messages.
    """

    source: Batches
    target: Batches
    total: int
    domains: Tensor | None = None
    names: Sequence[str] | None = None

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.source.steps

    @property
    def batch_size(self) -> int:
        """Samples of the source in one step, over all processes and parts."""
        return self.source.batch_size

    @property
    def part_size(self) -> int:
        """Samples of the source that one process takes at once."""
        return self.source.part_size

    def epoch(self, number: int, begin: int = 0) -> Generator[list[Batch], None, None]:
        """Give the parts of each step of an epoch; see `Batches.epoch`. The target's place follows from the step."""
        first = number * self.steps + begin
        with closing(self.source.epoch(number, begin)) as own, closing(self._targets(first)) as others:
            for step, (parts, beside) in enumerate(zip(own, others, strict=False), first):
                yield [self._joined(part, other, step) for part, other in zip(parts, beside, strict=True)]

    def _targets(self, step: int) -> Generator[list[Batch], None, None]:
        number, begin = divmod(step, self.target.steps)
        while True:
            with closing(self.target.epoch(number, begin)) as parts:
                yield from parts
            number, begin = number + 1, 0

    def _joined(self, part: Batch, other: Batch, step: int) -> Batch:
        x, labels, keys = part
        if not isinstance(labels, Tensor):
            raise InputError(f"expected labels of one task to adapt with, found {len(labels)} tasks.")
        own = torch.ones(len(x), dtype=torch.int64) if self.domains is None else self.domains[torch.tensor(list(keys))]
        domains = torch.cat([own, torch.zeros(len(other[0]), dtype=torch.int64)])
        named = [key if self.names is None else self.names[key] for key in other[2]]
        return torch.cat([x, other[0]]), (labels, domains, torch.tensor([step / self.total])), [*keys, *named]


def paired(source: Batches, data: Data, settings: PretrainConfig, engine: "Accelerator") -> PairedBatches:
    """Return batches of a run that adapts to a target.

    Args:
        source: Its labelled samples.
        data: With the target.
        settings: Of the run.
        engine: Device and processes.

    Raises:
        InputError: If there is no target, or its samples cannot be shared out.
    """
    target, training = require_target(data, settings), settings.training
    dataset = target.dataset
    stream = isinstance(dataset, IterableDataset)
    count = int(getattr(dataset, "samples", 0)) if stream else len(dataset)  # type: ignore[arg-type]
    shares = training.accumulation * engine.num_processes
    wanted = settings.objective.target_batch or source.batch_size
    _require_pairs(source, wanted, count, shares)
    batches = Batches(
        dataset,
        count,
        step_size(wanted, count, parts=training.accumulation, processes=engine.num_processes),
        parts=training.accumulation,
        rank=engine.process_index,
        processes=engine.num_processes,
        workers=settings.run.workers,
        seed=seed_of(training.seed, 0, 0, _TARGET),
        pin=source.pin,
    )
    if batches.steps == 0:
        raise InputError(
            f"expected samples for one step of {batches.batch_size} or more in the target, found {count} in a stream. "
            f"Lower objective.target_batch or run.workers."
        )
    domains = domain_numbers(data.train)
    numbers = None if domains is None else torch.tensor(domains)
    return PairedBatches(source, batches, source.steps * training.epochs, numbers, target.names)


def require_target(data: Data, settings: PretrainConfig) -> Split:
    """Return the target of a run.

    Raises:
        InputError: If there is none, or the source tells no domains though they were asked for.
    """
    if data.target is None:
        raise InputError(
            f"expected samples of the target with the objective {settings.objective.name}, found none. Set data.target "
            f"to where they are."
        )
    held = data.target_validation
    if settings.objective.guard and held is not None and held.labels is not None:
        require_labelled(int((held.labels >= 0).sum()), settings.data.target_validation or "what was handed over")
    if settings.data.domain is not None and data.train.domains is None:
        raise InputError(
            f"expected data.domain = {settings.data.domain!r} with rows of a table, listed files or arrays, found "
            f"{data.source}. Leave it out."
        )
    return data.target


def _require_pairs(source: Batches, wanted: int, count: int, shares: int) -> None:
    """Refuse parts of a step in which one side has too few samples to be aligned."""
    if source.part_size < _LEAST:
        raise InputError(
            f"expected {_LEAST} source samples or more in each of the {shares} parts of a step to align with the "
            f"target, found {source.part_size}. Set training.batch_size to {_LEAST * shares} or more."
        )
    if count < _LEAST * shares:
        raise InputError(
            f"expected {_LEAST * shares} target samples or more, {_LEAST} in each of the {shares} parts of a step, "
            f"found {count}. Name more as data.target, or lower training.accumulation."
        )
    if (wanted % shares and wanted <= count) or wanted < _LEAST * shares:
        fitting = max(_LEAST, -(-wanted // shares)) * shares
        raise InputError(
            f"expected objective.target_batch as a multiple of {shares}, the parts of a step, with {_LEAST} samples or "
            f"more in each, found {wanted}. Set it to {fitting}."
        )


def domain_numbers(split: Split) -> list[int] | None:
    """Return the source domain of each sample, counted from 1 in the order of their names; None where there is one."""
    if split.domains is None:
        return None
    places: dict[Any, int] = {name: place for place, name in enumerate(sorted(set(split.domains)), 1)}
    return [places[name] for name in split.domains]
