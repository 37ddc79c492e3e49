"""Load shards: find them, learn their classes and number of samples, split them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...errors import InputError
from .encode import name_tasks
from .image_files import decode_image
from .image_transform import ImageTransform
from .samples import Transform
from .series import SeriesTransform
from .settings import AUDIO_AUGMENTS, IMAGE_AUGMENTS, DataSettings
from .shard_files import expand_shards, read_shard
from .shard_samples import ShardSample
from .shards import ShardSamples
from .sounds import SoundTransform
from .split import Data, Split, Task

_LABEL = "label"


def load_shards(settings: DataSettings, *, seed: int) -> Data:
    """Load shards; without a pattern for validation, a share of whole shards is kept.

    Samples are counted and classes collected in one pass, which decodes nothing. Training shards are not read for it
    where `classes` and `samples` are set.

    Args:
        settings: What to load.
        seed: Fixes the split, the order and all augmentation.

    Raises:
        InputError: If a shard is missing, cannot be read, or holds something else than samples.
        LabelError: If a label is none of the classes.
    """
    shards = expand_shards(settings.train)
    kept: list[str] = []
    if settings.validation is not None:
        kept = expand_shards(settings.validation)
    elif settings.validation_share and len(shards) > 1:
        count = max(1, round(settings.validation_share * len(shards)))
        chosen = set(np.random.default_rng(seed).permutation(len(shards))[:count].tolist())
        kept = [shard for i, shard in enumerate(shards) if i in chosen]
        shards = [shard for i, shard in enumerate(shards) if i not in chosen]
    names = settings.labels or (_LABEL,)
    first = next(read_shard(shards[0], names), None)
    if first is None:
        raise InputError(f"expected samples in {shards[0]}, found none. Leave the shard out.")
    _check_augment(first, settings)
    counts, tasks = _count(shards, kept, names, settings)
    places = [(task.name, places_of(task)) for task in tasks]
    channels = settings.channels or _channels(first, settings)
    transforms = _transforms(settings)

    def samples(part: Sequence[str], count: int, own_seed: int | None) -> ShardSamples:
        return ShardSamples(
            part,
            places,
            transforms,
            channels=channels,
            most_pixels=settings.most_pixels,
            samples=count,
            seed=own_seed,
            vary=bool(settings.augment),
            buffer=settings.shuffle,
        )

    train = samples(shards, counts[0], seed)
    shape = tuple(train.item(first, vary=False)[0].shape)
    validation = Split(samples(kept, counts[1], None), None, None, None) if kept else None
    source = f"{counts[0]} samples in {len(shards)} shards {settings.train}"
    return Data(
        Split(train, None, None, None),
        validation,
        tasks[0].classes,
        shape,
        source,
        tasks,
        settings.mean,
        settings.std,
    )


def _count(
    shards: Sequence[str], kept: Sequence[str], names: tuple[str, ...], settings: DataSettings
) -> tuple[tuple[int, int], tuple[Task, ...]]:
    """Return the number of samples of both parts, and the tasks."""
    if settings.classes and settings.samples is not None:
        held = sum(1 for shard in kept for _ in read_shard(shard, names))
        return (settings.samples, held), (Task(names[0], settings.classes),)
    columns: list[set[str]] = [set() for _ in names]
    counts = [0, 0]
    for part, group in enumerate((shards, kept)):
        for shard in group:
            for sample in read_shard(shard, names):
                counts[part] += 1
                for column, label in zip(columns, sample.labels, strict=True):
                    column.add(label)
    return (counts[0], counts[1]), name_tasks(names, columns, settings.classes)


def places_of(task: Task) -> dict[str, int]:
    """Return the place of each class of a task by what shards may call it."""
    places = {name: i for i, name in enumerate(task.classes)}
    # Labels may be numbers of classes that the settings name.
    return places if any(name.isdigit() for name in places) else {**places, **{str(i): i for i in places.values()}}


def _channels(first: ShardSample, settings: DataSettings) -> int:
    if first.form != "image":
        return 1
    image = decode_image(first.content, first.name, 3, settings.most_pixels)
    return 1 if bool((image == image[..., :1]).all()) else 3


def _transforms(settings: DataSettings) -> dict[str, Transform]:
    plain = SeriesTransform(replace(settings, augment=()), torch.zeros(()), torch.ones(()))
    return {"image": ImageTransform(settings), "sound": SoundTransform(settings), "tensor": plain}


def _check_augment(first: ShardSample, settings: DataSettings) -> None:
    known = {"image": IMAGE_AUGMENTS, "sound": AUDIO_AUGMENTS, "tensor": ()}[first.form]
    if wrong := [name for name in settings.augment if name not in known]:
        raise InputError(
            f"expected augmentation of {first.form} samples ({', '.join(known) or 'none'}) in data.augment, found "
            f"{wrong[0]!r}."
        )
