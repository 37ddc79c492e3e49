"""Batches of one process: its share of every step, from any step of any epoch on."""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ...errors import InputError, TrainingError
from .order import epoch_rows
from .workers import ahead, opened

Targets: TypeAlias = Tensor | tuple[Tensor, ...]
Batch: TypeAlias = tuple[Tensor, Targets, Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Batches:
    """The training samples of one process.

    Args:
        dataset: Gives ``(x, y, key)``; one that is read in a stream gives each process its own part.
        count: Samples there are, over all processes.
        batch_size: Samples in one step, over all processes and parts.
        parts: Parts that a step's batch is computed in.
        rank: Which process this is.
        processes: How many there are.
        workers: Processes that load data for this one.
        seed: Seed of the run.
        labels: ``(count,) int64`` to draw every class equally often; None for each sample once.
        pin: Whether memory is pinned, for a GPU.
    """

    dataset: Dataset[Any]
    count: int
    batch_size: int
    parts: int = 1
    rank: int = 0
    processes: int = 1
    workers: int = 0
    seed: int = 0
    labels: NDArray[Any] | None = None
    pin: bool = False

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        if not isinstance(self.dataset, IterableDataset):
            return self.count // self.batch_size
        # Each worker reads its own part of a stream, and leaves out a last smaller batch of its own.
        lost = max(1, self.workers) * (self.part_size - 1)
        return max(0, -(-(self.count // self.processes - lost) // self.part_size)) // self.parts

    @property
    def part_size(self) -> int:
        """Samples that one process takes at once."""
        return self.batch_size // (self.parts * self.processes)

    def epoch(self, number: int, begin: int = 0) -> Generator[list[Batch], None, None]:
        """Give the parts of each step of an epoch; whoever stops before its end has to close it.

        Args:
            number: The epoch, counted from 0.
            begin: The step to begin at, counted from 0; nothing before it is read, except of a stream.

        Raises:
            TrainingError: If a stream ends too early.
        """
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(number)
        # Workers have generators of their own; taking a batch over from one takes time, too.
        reading = ahead if self.workers or getattr(self.dataset, "draws_alone", False) else nullcontext
        with opened(self._loader(number, begin)) as read, reading(read) as batches:
            if isinstance(self.dataset, IterableDataset):
                batches = islice(batches, begin * self.parts, None)
            for step in range(begin, self.steps):
                parts = list(islice(batches, self.parts))
                if len(parts) < self.parts:
                    raise TrainingError(
                        f"expected {self.steps} steps of data in an epoch, found {step}. Set data.samples to what the "
                        f"shards hold."
                    )
                yield parts

    def _loader(self, number: int, begin: int) -> DataLoader[Any]:
        # The loader would draw from the global generator, which belongs to the training.
        options: dict[str, Any] = {
            "num_workers": self.workers,
            "collate_fn": collate,
            "pin_memory": self.pin,
            "generator": torch.Generator().manual_seed(0),
        }
        size = self.part_size
        if isinstance(self.dataset, IterableDataset):
            return DataLoader(self.dataset, batch_size=size, drop_last=True, **options)
        rows = epoch_rows(self.count, self.batch_size, seed=self.seed, epoch=number, labels=self.labels)
        own = rows[begin:].view(-1, self.parts, self.processes, size)[:, :, self.rank].reshape(-1, size)
        # Whole batches are read, and nothing is left to collate.
        options["collate_fn"] = _as_it_is
        return DataLoader(_Parts(self.dataset), sampler=own.tolist(), batch_size=None, **options)


class _Parts(Dataset[Batch]):
    """A data set by the parts of its steps: what is asked for is the places of a part's samples."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, places: list[int]) -> Batch:
        return read_batch(self.dataset, places)


def read_batch(dataset: Dataset[Any], places: Sequence[int]) -> Batch:
    """Return samples of a data set as one batch: at once where it can, else one by one."""
    if hasattr(dataset, "read_batch"):
        batch: Batch = dataset.read_batch(places)
        return batch
    return collate([dataset[place] for place in places])


def _as_it_is(batch: Batch) -> Batch:
    return batch


def collate(samples: list[tuple[Tensor, Any, Any]]) -> Batch:
    """Return samples ``(x, y, key)`` as one batch."""
    first = samples[0][1]
    if isinstance(first, tuple):
        y: Targets = tuple(torch.stack([s[1][task] for s in samples]) for task in range(len(first)))
    else:
        y = torch.stack([s[1] for s in samples])
    return torch.stack([s[0] for s in samples]), y, [s[2] for s in samples]


def step_size(batch_size: int, count: int, *, parts: int, processes: int) -> int:
    """Return the samples of one step: the batch size, or what there is where that is less.

    Raises:
        InputError: If they cannot be shared out evenly.
    """
    shares = parts * processes
    size = batch_size if batch_size <= count else count // shares * shares
    if size == 0 or size % shares:
        raise InputError(
            f"expected training.batch_size as a multiple of {shares} ({processes} processes times {parts} parts), and "
            f"as many samples, found {batch_size} and {count}. Choose {-(-batch_size // shares) * shares}."
        )
    return size
