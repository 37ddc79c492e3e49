"""What loading gives: a training part and a validation part, with classes, names and groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data.

    Args:
        dataset: Gives ``(x, y, key)``: x ``float32``, y a scalar ``int64`` tensor or a tuple of one per task (-1 is
            unlabelled), key the place in `names`, or of shards the sample's name.
        labels: ``(n,)`` or ``(n, tasks) int64``; None where they are only known while reading.
        names: File or row of each sample, for messages; None likewise.
        groups: Group of each sample; None without groups.
        domains: Source domain of each sample; None where all are of one.
    """

    dataset: Dataset[Any]
    labels: Labels | None
    names: Sequence[str] | None
    groups: Sequence[str] | None
    domains: Sequence[str] | None = None


@dataclass(frozen=True)
class Task:
    """What one column of labels tells.

    Args:
        name: Its name.
        classes: Names of its classes in their order; none where nothing is labelled.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Data:
    """Data of a run.

    Args:
        train: What is trained on.
        validation: What is validated on; None if nothing is kept for it.
        classes: Names of the classes, of the first task where there are several.
        shape: Shape of one x.
        source: What it is, in words.
        tasks: All tasks, at least one.
        mean: What was taken from each channel or column.
        std: What each was divided by.
        target: Samples of the domain to adapt to, without labels; None without such.
        target_validation: Labelled samples of it; None without such.
    """

    train: Split
    validation: Split | None
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    source: str
    tasks: tuple[Task, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    target: Split | None = None
    target_validation: Split | None = None
