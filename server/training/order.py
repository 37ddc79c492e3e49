"""The order of samples: what each step of an epoch takes, as a function of seed and epoch alone."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.draws import seed_of

# Which kind of draw a seed is for, so that no two kinds share their numbers.
_ORDER = 1


def epoch_rows(count: int, batch_size: int, *, seed: int, epoch: int, labels: NDArray[Any] | None = None) -> Tensor:
    """Return the rows of each step of an epoch.

    Args:
        count: Samples there are.
        batch_size: Samples in one step, at most `count`; a last smaller batch is left out.
        seed: Seed of the run.
        epoch: Counted from 0.
        labels: ``(count,) int64`` to draw every class equally often, with replacement; None for each row once.
            Unlabelled rows (-1) are then left out.

    Returns:
        ``(steps, batch_size) int64``.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, epoch, 0, _ORDER))
    steps = count // batch_size
    if labels is None:
        rows = torch.randperm(count, generator=generator)[: steps * batch_size]
    else:
        weights = _class_weights(torch.as_tensor(labels))
        rows = torch.multinomial(weights, steps * batch_size, replacement=True, generator=generator)
    return rows.view(steps, batch_size)


def _class_weights(labels: Tensor) -> Tensor:
    weights = torch.zeros(len(labels), dtype=torch.float64)
    known = labels >= 0
    weights[known] = 1 / labels[known].bincount()[labels[known]].double()
    return weights
