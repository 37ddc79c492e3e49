"""Shards of the domain that a run adapts to: read as those trained on, in an order of their own."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .found import UNLABELLED, Found
from .samples import Transform
from .settings import DataSettings
from .shard_files import expand_shards, read_shard
from .shard_source import places_of
from .shards import ShardSamples
from .split import Split, Task
from .target import require_labelled


@dataclass(frozen=True, eq=False)
class Prepared:
    """How the samples that are trained on are made.

    Args:
        form: What a raw one is, as shards tell it: ``image``, ``sound``, ``tensor``.
        transform: Makes x of it.
        shape: Of one x.
        channels: Of images.
    """

    form: str
    transform: Transform
    shape: tuple[int, ...]
    channels: int

    def require(self, form: str, shape: tuple[int, ...] | None, source: str) -> None:
        """Refuse other samples than such.

        Raises:
            InputError: If form or shape differ.
        """
        if form != self.form:
            raise InputError(f"expected a target like the training data ({self.form}), found {form}: {source}.")
        if shape is not None and shape != self.shape:
            raise InputError(
                f"expected samples of shape {self.shape} in the target, as in the training data, found {shape} in "
                f"{source}. Set data.size, or prepare both alike."
            )


def shard_form(form: str) -> str:
    """Return what shards call a form of samples."""
    return form if form in ("image", "sound") else "tensor"


def prepared_as(split: Split, shape: tuple[int, ...], train: Found | None = None) -> Prepared:
    """Return how the samples of a training part are made.

    Args:
        split: The part, of files or of shards.
        shape: Of one x.
        train: What was found of files; None for shards.

    Raises:
        InputError: If shards hold no sample.
    """
    dataset = split.dataset
    channels = shape[0] if shape else 1
    if not isinstance(dataset, ShardSamples):
        if train is None:
            raise InputError(f"expected samples in files or shards, found {type(dataset).__name__}.")
        return Prepared(shard_form(train.form), dataset.transform, shape, channels)  # type: ignore[attr-defined]
    first = next(dataset.raw(), None)
    if first is None:
        raise InputError("expected samples to train on in the shards, found none. Check data.train.")
    return Prepared(first.form, dataset.transforms[first.form], shape, dataset.channels)


def load_target_shards(
    pattern: str, settings: DataSettings, like: Prepared, *, tasks: tuple[Task, ...] = (), seed: int | None
) -> Split:
    """Load shards beside those trained on; one pass counts their samples, and decodes the first.

    Args:
        pattern: Names them.
        settings: Of the run.
        like: How the samples trained on are made.
        tasks: Whose labels are read; none without any.
        seed: Fixes order and augmentation; None gives each sample once, in order and as it is.

    Raises:
        InputError: If a shard is missing or cannot be read, or its samples are of another form or shape.
    """
    shards = expand_shards(pattern)
    names = tuple(task.name for task in tasks)
    first = next(read_shard(shards[0], names), None)
    if first is None:
        raise InputError(f"expected samples in {shards[0]}, found none. Leave the shard out.")
    labelled = Counter(sample.labels[:1] for shard in shards for sample in read_shard(shard, names))
    count = labelled.total()
    source = f"{count} samples in {len(shards)} shards {Path(pattern).name}"
    like.require(first.form, None, source)
    if tasks:
        require_labelled(count - labelled[(UNLABELLED,)], source)
    made = ShardSamples(
        shards,
        [(task.name, places_of(task)) for task in tasks],
        {like.form: like.transform},
        channels=like.channels,
        most_pixels=settings.most_pixels,
        samples=count,
        seed=seed,
        vary=bool(settings.augment),
        buffer=settings.shuffle,
    )
    shape = tuple(like.transform(first.decode(like.channels, settings.most_pixels), vary=False).shape)
    like.require(first.form, shape, source)
    return Split(made, None, None, None)
