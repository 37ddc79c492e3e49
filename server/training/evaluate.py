"""Answers of a model on a whole split, each process its part."""

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ...errors import InputError
from .batches import collate
from .metrics import Counts, count_into, no_counts, unpacked
from .workers import opened

if TYPE_CHECKING:
    from accelerate import Accelerator

_Batches: TypeAlias = Generator[tuple[Tensor, Any], None, None]


@torch.no_grad()
def evaluate(
    module: nn.Module,
    dataset: Dataset[Any],
    classes: tuple[int, ...],
    engine: "Accelerator",
    *,
    batch_size: int,
    workers: int = 0,
) -> tuple[Counts, ...]:
    """Count the answers of every task of an objective on a split; the mode of the module is put back.

    Args:
        module: The objective as the engine prepared it; without labels it returns logits of every task.
        dataset: Gives ``(x, y, key)``.
        classes: Classes of each task.
        engine: Device and processes.
        batch_size: Samples in one run of one process.
        workers: Processes that load data.

    Returns:
        What the scores of each task are made of, over all processes.

    Raises:
        InputError: If a task has no labelled sample.
    """
    was_training = module.training
    module.eval()
    # Sums are in float64, which Apple's devices do not have.
    place = torch.device("cpu") if engine.device.type == "mps" else engine.device
    counts = [no_counts(k, place) for k in classes]
    try:
        with closing(_own(dataset, engine, batch_size, workers)) as batches:
            for x, y in batches:
                for task, logits in enumerate(module(x.to(engine.device))):
                    labels = y[task] if isinstance(y, tuple) else y
                    count_into(counts[task], logits.to(place), labels.to(place))
    finally:
        module.train(was_training)
    summed = [_summed(part, k) for part, k in zip(counts, classes, strict=True)]
    for task, part in enumerate(summed):
        if not float(part.confusion.sum()):
            raise InputError(f"expected labelled samples for validation, found none of task {task}. Label some.")
    return tuple(summed)


def _own(dataset: Dataset[Any], engine: "Accelerator", batch_size: int, workers: int) -> _Batches:
    """Give this process's batches: as many in every process, as sharded models gather parameters together."""
    options: dict[str, Any] = {
        "num_workers": workers,
        "collate_fn": collate,
        "generator": torch.Generator().manual_seed(0),
    }
    if isinstance(dataset, IterableDataset):
        # Each process has its own shards.
        with opened(DataLoader(dataset, batch_size=batch_size, **options)) as stream:
            for x, y, _ in stream:
                yield x, y
        return
    total, processes = len(dataset), engine.num_processes  # type: ignore[arg-type]
    share = -(-total // processes)
    begin = engine.process_index * share
    # Places behind the end are samples seen elsewhere, whose labels are taken away.
    places = torch.arange(begin, begin + share)
    batches = torch.split(places, batch_size)
    loader = DataLoader(dataset, batch_sampler=[(part % total).tolist() for part in batches], **options)
    with opened(loader) as found:
        for part, (x, y, _) in zip(batches, found, strict=True):
            seen = part < total
            yield x, tuple(_hide(t, seen) for t in y) if isinstance(y, tuple) else _hide(y, seen)


def _hide(labels: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen, labels, -1)


def _summed(counts: Counts, classes: int) -> Counts:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return counts
    vector = counts.packed()
    torch.distributed.all_reduce(vector)
    return unpacked(vector, classes)
