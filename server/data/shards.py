"""WebDataset shards: samples that are read in a stream, shared out to processes and their workers."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ...errors import InputError
from ...extras import require
from .draws import drawn_from, seed_of
from .samples import Transform
from .shard_files import read_shard
from .shard_samples import ShardSample


class ShardSamples(IterableDataset[tuple[Tensor, Any, str]]):
    """Samples of shards, in an order and varied as seed, epoch and share of the stream say.

    Shards are shared out to the processes of a distributed run, and those of a process to its workers. Where there are
    several processes, each gives the same number of training samples in an epoch: it begins again, or stops short.

    Args:
        shards: Paths and addresses.
        tasks: For each task its name, and the place of each of its classes; without any, y is -1 and no label is read.
        transforms: By form of the raw sample: ``image``, ``sound``, ``tensor``.
        channels: Channels of images.
        most_pixels: Larger images are refused.
        samples: Samples in all shards.
        seed: Of the run; None gives each sample once, in order and as it is.
        vary: Whether samples are varied.
        buffer: Samples among which the next is drawn.
        views: How often a sample is drawn; x is ``(views, ...)`` for more than one.
    """

    def __init__(
        self,
        shards: Sequence[str],
        tasks: Sequence[tuple[str, dict[str, int]]],
        transforms: dict[str, Transform],
        *,
        channels: int,
        most_pixels: int,
        samples: int,
        seed: int | None = None,
        vary: bool = False,
        buffer: int = 2_000,
        views: int = 1,
    ) -> None:
        self.shards, self.tasks, self.transforms = list(shards), tuple(tasks), transforms
        self.channels, self.most_pixels, self.samples = channels, most_pixels, samples
        self.seed, self.vary, self.buffer, self.views = seed, vary, buffer, views
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Return the samples of an epoch in this process; without a seed, of all processes."""
        nodes = self._share()[1]
        return self.samples if self.seed is None else -(-self.samples // nodes)

    @property
    def epoch(self) -> int:
        """The epoch whose order and draws are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Order and draw as in the given epoch from the next iteration on."""
        self._epoch.fill_(epoch)

    def plain(self) -> "ShardSamples":
        """Return the same samples in order and as they are, unvaried."""
        return self._again()

    def with_views(self, views: int) -> "ShardSamples":
        """Return the same samples, each drawn several times: x is ``(views, ...)``.

        Raises:
            InputError: If nothing varies them.
        """
        if self.seed is None or not self.vary:
            raise InputError("expected views that differ, found none that do. Name some variations as data.augment.")
        return self._again(seed=self.seed, vary=True, buffer=self.buffer, views=views)

    def _again(self, **draws: Any) -> "ShardSamples":
        """Return the same shards, drawn from as said; as they are where nothing is."""
        return ShardSamples(
            self.shards,
            self.tasks,
            self.transforms,
            channels=self.channels,
            most_pixels=self.most_pixels,
            samples=self.samples,
            **draws,
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Any, str]]:
        node, nodes, worker, workers = self._share()
        own = self._own_shards()
        if self.seed is None:
            yield from (self.item(sample, vary=False) for sample in self._stream(own))
            return
        generator = random.Random(seed_of(self.seed, self.epoch, node, worker))  # noqa: S311
        # Alone, a process gives every sample once; several must take as many steps as each other.
        quota = None if nodes == 1 else self._quota(nodes, worker, workers)
        given = 0
        while own and given != quota:
            for sample in self._drawn(self._stream(own), generator):
                yield self.item(sample, vary=self.vary)
                given += 1
                if given == quota:
                    return
            if quota is None:
                return

    def raw(self) -> Iterator[ShardSample]:
        """Go through all samples in order, undecoded, for validation."""
        return self._stream(self.shards)

    def item(self, sample: ShardSample, *, vary: bool) -> tuple[Tensor, Any, str]:
        """Decode a sample, and vary it as seed, epoch and its name say."""
        raw = sample.decode(self.channels, self.most_pixels)
        labels = [torch.tensor(sample.place(i, *task)) for i, task in enumerate(self.tasks)] or [torch.tensor(-1)]
        y = labels[0] if len(labels) == 1 else tuple(labels)
        transform = self.transforms[sample.form]
        if not vary or self.seed is None:
            return transform(raw, vary=False), y, sample.name
        number = int.from_bytes(hashlib.blake2b(sample.name.encode(), digest_size=7).digest(), "little")
        drawn: list[Tensor] = []
        for view in range(self.views):
            with drawn_from(seed_of(self.seed, self.epoch, number, view)):
                drawn.append(transform(raw, vary=True))
        return (drawn[0] if self.views == 1 else torch.stack(drawn)), y, sample.name

    def _share(self) -> tuple[int, int, int, int]:
        """Return place and number of this process, and of this worker in it."""
        require("webdataset", extra="server", needed_by="reading shards")
        from webdataset.utils import pytorch_worker_info

        node, nodes, worker, workers = pytorch_worker_info()
        return int(node), int(nodes), int(worker), int(workers)

    def _own_shards(self) -> list[str]:
        from webdataset.shardlists import split_by_node, split_by_worker

        nodes = self._share()[1]
        if self.seed is not None and len(self.shards) < nodes:
            raise InputError(
                f"expected at least as many shards as processes ({nodes}), found {len(self.shards)}. Write smaller "
                f"shards, or start fewer processes."
            )
        shards = list(self.shards)
        if self.seed is not None:
            # The same order in every process, so that each shard goes to one of them.
            random.Random(seed_of(self.seed, self.epoch, -1)).shuffle(shards)  # noqa: S311
        return list(split_by_worker(split_by_node(shards)))

    def _quota(self, nodes: int, worker: int, workers: int) -> int:
        """Return how many samples this worker gives: workers without shards give none."""
        node_shards = len(self.shards) // nodes
        active = max(1, min(workers, node_shards))
        each, rest = divmod(-(-self.samples // nodes), active)
        return 0 if worker >= active else each + (worker < rest)

    def _stream(self, shards: Sequence[str]) -> Iterator[ShardSample]:
        names = tuple(name for name, _ in self.tasks)
        for shard in shards:
            yield from read_shard(shard, names)

    def _drawn(self, stream: Iterator[ShardSample], generator: random.Random) -> Iterator[ShardSample]:
        """Give the samples of a stream in a drawn order, holding some of them undecoded."""
        held: list[ShardSample] = []
        for sample in stream:
            if len(held) < self.buffer:
                held.append(sample)
                continue
            place = generator.randrange(len(held))
            yield held[place]
            held[place] = sample
        generator.shuffle(held)
        yield from held
