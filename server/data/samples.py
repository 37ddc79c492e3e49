"""A data set whose samples are read one by one, when they are asked for."""

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .draws import drawn_from, seed_of
from .fingerprint import Fingerprint

# What a source gives and a transform takes: an array, or a sound whose samples are read in parts.
Raw = Any


class Reader(Protocol):
    """Reads raw samples by their place. Must be possible to hand to another process."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def read(self, row: int) -> Raw:
        """Return a raw sample; InputError names what cannot be read."""

    def fingerprint(self, row: int) -> Fingerprint:
        """Return what makes the sample the same as another: a hash of its file or array; InputError as for `read`."""


class Transform(Protocol):
    """Makes of a raw sample what a model takes."""

    def __call__(self, raw: Raw, *, vary: bool) -> Tensor:
        """Return ``float32``; where `vary`, drawn from torch's generator of the CPU."""


@runtime_checkable
class ManyReader(Reader, Protocol):
    """Reads several samples of one shape at once."""

    def many(self, rows: NDArray[np.int64]) -> Tensor:
        """Return them as ``(rows, ...)``."""


@runtime_checkable
class ManyTransform(Transform, Protocol):
    """Transforms several samples at once."""

    @property
    def draws_alone(self) -> bool:
        """Whether `many` can vary samples, and draws from a generator of its own for that."""

    def many(self, raws: Tensor | Sequence[Raw], seeds: Sequence[int] | None) -> Tensor:
        """Return ``(n, ...) float32``, each as by itself with torch's generator at its seed; None varies nothing."""


class Samples(Dataset[tuple[Tensor, Any, int]]):
    """Samples by their place, augmented as seed, epoch and place say: the same in any worker, in any order.

    Args:
        reader: Reads raw samples.
        rows: ``(n,) int64`` which of them are here.
        labels: ``(n,)`` or ``(n, tasks) int64``, -1 for unlabelled.
        transform: Makes x of a raw sample.
        seed: Of the run; None never varies anything.
        views: How often a sample is drawn; x is ``(views, ...)`` for more than one.
    """

    def __init__(
        self,
        reader: Reader,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        transform: Transform,
        *,
        seed: int | None = None,
        views: int = 1,
    ) -> None:
        self.reader, self.rows, self.labels = reader, rows, labels
        self._labels = torch.from_numpy(np.ascontiguousarray(labels))
        self.transform, self.seed, self.views = transform, seed, views
        able = isinstance(transform, ManyTransform) and (seed is None or transform.draws_alone)
        self._many = cast(ManyTransform, transform) if able else None
        # In memory that workers share, so that those that outlive an epoch see the next one's number.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Any, int]:
        row = int(self.rows[index])
        raw = self.reader.read(row)
        label = self._labels[index]
        y = label if label.dim() == 0 else tuple(label)
        if self.seed is None:
            x = self.transform(raw, vary=False)
            return (x if self.views == 1 else torch.stack([x] * self.views)), y, index
        drawn: list[Tensor] = []
        for view in range(self.views):
            # By the row, so that a sample is varied alike wherever the split puts it.
            with drawn_from(seed_of(self.seed, self.epoch, row, view)):
                drawn.append(self.transform(raw, vary=True))
        return (drawn[0] if self.views == 1 else torch.stack(drawn)), y, index

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Any, int]]:
        """Return several samples, each as it is by itself; torch's loaders ask for them so."""
        if self._many is None:
            return [self[index] for index in indices]
        x, y, keys = self.read_batch(indices)
        apart = y.unbind() if isinstance(y, Tensor) else list(zip(*(task.unbind() for task in y), strict=True))
        return list(zip(x.unbind(), apart, keys, strict=True))

    def read_batch(self, indices: Sequence[int]) -> tuple[Tensor, Any, list[int]]:
        """Return several samples as one batch, each as it is by itself.

        Args:
            indices: Their places, at least one.

        Returns:
            x ``(n, ...) float32``, y ``(n,) int64`` or a tuple of such for several tasks, and the places.
        """
        keys = list(indices)
        y = self._labels[torch.tensor(keys)]
        labels: Any = y if y.dim() == 1 else y.unbind(1)
        if self._many is None:
            return torch.stack([self[key][0] for key in keys]), labels, keys
        rows = self.rows[keys]
        reader = self.reader
        raws = reader.many(rows) if isinstance(reader, ManyReader) else [reader.read(row) for row in rows.tolist()]
        if self.seed is None:
            drawn = [self._many.many(raws, None)] * self.views
        else:
            seeds = [[seed_of(self.seed, self.epoch, row, view) for row in rows.tolist()] for view in range(self.views)]
            drawn = [self._many.many(raws, own) for own in seeds]
        return (drawn[0] if self.views == 1 else torch.stack(drawn, 1)), labels, keys

    @property
    def draws_alone(self) -> bool:
        """Whether reading leaves torch's generator of the process alone all the while, so that a thread may do it."""
        return self.seed is None or self._many is not None

    @property
    def epoch(self) -> int:
        """The epoch whose draws are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the given epoch from now on, in workers too."""
        self._epoch.fill_(epoch)

    def fingerprint(self, index: int) -> Fingerprint:
        """Return what makes a sample the same as another."""
        return self.reader.fingerprint(int(self.rows[index]))

    def plain(self) -> "Samples":
        """Return the same samples as they are, unvaried."""
        return Samples(self.reader, self.rows, self.labels, self.transform)

    def with_views(self, views: int) -> "Samples":
        """Return the same samples, each drawn several times: x is ``(views, ...)``."""
        return Samples(self.reader, self.rows, self.labels, self.transform, seed=self.seed, views=views)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Samples":
        """Return some of the samples; the key counts them anew."""
        chosen = np.asarray(indices, np.int64)
        return Samples(
            self.reader, self.rows[chosen], self.labels[chosen], self.transform, seed=self.seed, views=self.views
        )
