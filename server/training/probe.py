"""How good the features of a model are: a linear probe, fitted on some labels and scored on others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..objectives.linear_probe import fit_linear, probe_rows
from ..objectives.projector import features
from .batches import collate
from .metrics import Counts, Metrics, count_into, metrics_of, no_counts


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier on frozen features.

    Args:
        weight: ``(k, d) float64``.
        bias: ``(k,) float64``.
        samples: Labelled samples that it was fitted on.
        metrics: Its scores on validation samples; None without any.
        counts: What they are made of.
    """

    weight: Tensor
    bias: Tensor
    samples: int
    metrics: Metrics | None
    counts: Counts | None = None


def linear_probe(
    model: nn.Module,
    head: str,
    train: tuple[Dataset[Any], NDArray[np.int64]],
    validation: Dataset[Any] | None,
    classes: int,
    *,
    share: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
) -> Probe:
    """Fit a linear probe on the features of a model, in evaluation mode, and score it.

    Args:
        model: The model, on any device; stays as it is.
        head: Name of its last linear layer, in front of which the features are taken.
        train: Samples, unvaried, and their labels ``(n,) int64``, -1 for unlabelled.
        validation: Samples to score on.
        classes: k.
        share: Share of the labels of each class that is used, above 0 to 1; at least one each.
        seed: Fixes which.
        batch_size: Samples in one run.
    """
    was_training = model.training
    model.eval()
    try:
        rows = probe_rows(train[1], share, seed=seed)
        weight, bias = fit_linear(*_features(model, head, Subset(train[0], rows.tolist()), batch_size), classes)
        counts = None
        if validation is not None:
            found, labels = _features(model, head, validation, batch_size)
            counts = no_counts(classes, torch.device("cpu"))
            count_into(counts, found.double() @ weight.T + bias, labels)
    finally:
        model.train(was_training)
    return Probe(weight, bias, len(rows), None if counts is None else metrics_of(counts), counts)


@torch.no_grad()
def _features(model: nn.Module, head: str, dataset: Dataset[Any], batch_size: int) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collate, generator=torch.Generator().manual_seed(0))
    pairs = [(features(model, head, x.to(device)).cpu(), y) for x, y, _ in loader]
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])
