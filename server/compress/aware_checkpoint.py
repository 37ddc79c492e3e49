"""Candidates trained for 8 bits, each kept in a checkpoint with its ranges."""

import copy
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..checkpoint import load_checkpoint, save_checkpoint
from ..model_folder import MODEL_FOLDER
from .candidates import RUNS, Made, Work
from .hold_ranges import hold_noted
from .quantize_aware import quantize_aware


class Unlabelled:
    """Batches of training samples without labels, in another order each time they are gone through.

    Args:
        dataset: Gives ``(x, ...)``, unvaried.
        batch_size: Samples of one batch.
        seed: Fixes the order.
        device: Where batches are given.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, seed: int, device: torch.device) -> None:
        self.dataset, self.batch_size, self.device = dataset, batch_size, device
        self._draws = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Tensor]:
        """Give batches ``(b, ...) float32``."""
        stream = isinstance(self.dataset, IterableDataset)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            shuffle=None if stream else True,
            generator=self._draws,
            collate_fn=lambda samples: torch.stack([sample[0] for sample in samples]).float(),
        )
        for x in loader:
            yield x.to(self.device)


def aware_model(work: Work, made: Made) -> nn.Module:
    """Train a candidate for 8 bits, or load what was trained already.

    Args:
        work: What candidates are made of.
        made: The candidate, in float. It is not changed.

    Returns:
        The model with its ranges, on the processor.

    Raises:
        InputError: If it cannot be simulated.
        TrainingError: If the training fails, or what was kept is damaged.
    """
    settings, training = work.config.compress, work.config.training
    folder = work.folder / RUNS / f"{made.name}-int8" / MODEL_FOLDER
    architecture = made.architecture or f"compressed {made.name}"
    if folder.exists():
        model = copy.deepcopy(made.model)
        hold_noted(model, load_checkpoint(folder, model, architecture=architecture).notes, folder)
        return model.eval()
    if work.stage is not None:
        work.stage(f"{made.name}-int8")
    on_gpu = work.device == "cuda" or (work.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if on_gpu else "cpu")
    dataset: Any = work.data.train.dataset
    plain = dataset.plain() if hasattr(dataset, "plain") else dataset
    model, report = quantize_aware(
        copy.deepcopy(made.model).to(device),
        Unlabelled(plain, training.batch_size, training.seed, device),
        steps=settings.quantize_steps,
        learning_rate=settings.quantize_rate,
        progress=work.progress,
    )
    model.cpu()
    notes = {**asdict(report), "ranges": {place: list(ends) for place, ends in report.ranges.items()}}
    save_checkpoint(folder, model, architecture=architecture, notes=notes)
    return model
