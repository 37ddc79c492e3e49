"""Load the data that settings name: found, labelled, split, and ready to be read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError, LabelError
from .arrays import ArrayReader, find_npz
from .csv_source import find_listed_files, find_table, with_columns
from .encode import encode, name_tasks
from .found import Found
from .function_source import find_function
from .hold_out import hold_out
from .image_files import IMAGES, find_image_folder
from .image_transform import ImageTransform
from .samples import Samples, Transform
from .series import SeriesTransform, WindowReader, cut_series, find_series_table
from .settings import AUDIO_AUGMENTS, IMAGE_AUGMENTS, SERIES_AUGMENTS, DataSettings
from .shard_source import load_shards
from .shard_target import load_target_shards, prepared_as, shard_form
from .shards import ShardSamples
from .sounds import SoundTransform, find_sound_folder
from .split import Data, Split, Task
from .target import no_labels, require_form, require_labelled, require_shape, target_seed, target_settings
from .texts import Chosen

_AUGMENTS = {
    "image": IMAGE_AUGMENTS,
    "sound": AUDIO_AUGMENTS,
    "series": SERIES_AUGMENTS,
    "table": ("jitter",),
    "tensor": (),
}
# Rows that means and deviations are taken of at a time.
_BLOCK = 65_536


def load_data(settings: DataSettings, *, seed: int) -> Data:
    """Find the data of a run and split it. Files are read when their sample is asked for; `validate_data` reads all.

    Args:
        settings: What to load.
        seed: Fixes the split and all augmentation.

    Returns:
        Training and validation parts.

    Raises:
        InputError: If the data is not there, cannot be read, or is not what the settings say.
        LabelError: If a label is none of the classes.
        MissingExtraError: If a package for this kind of data is not installed.
    """
    kind = kind_of(settings.train, settings)
    if kind == "shards":
        sharded = load_shards(settings, seed=seed)
        return sharded if settings.target is None else _with_target(sharded, None, kind, settings, seed)
    train, validation = _find(settings.train, kind, settings)
    if settings.validation is not None:
        own = with_columns(settings, kind)
        validation, _ = _find(settings.validation, kind_of(settings.validation, settings), own)
    parts = [train] if validation is None else [train, validation]
    _check_parts(parts, settings)
    tasks = name_tasks(train.tasks, train.labels, settings.classes, train.classes)
    labels = [encode(part, tasks) for part in parts]
    if validation is None:
        first, second = hold_out(labels[0], settings.validation_share, seed, train.groups)
    else:
        first, second = np.arange(len(train.names)), np.arange(0)
    if not len(first):
        raise InputError(f"expected samples to train on in {train.source}, found none. Lower data.validation_share.")
    transform, mean, std = _transform(train, first, settings)
    trained = _split(train, first, labels[0], transform, seed if settings.augment else None)
    if validation is not None:
        validated: Split | None = _split(validation, np.arange(len(validation.names)), labels[1], transform, None)
    else:
        validated = _split(train, second, labels[0], transform, None) if len(second) else None
    loaded = Data(trained, validated, tasks[0].classes, _shape(trained), train.source, tasks, mean, std)
    return loaded if settings.target is None else _with_target(loaded, train, kind, settings, seed)


def _with_target(data: Data, train: Found | None, kind: str, settings: DataSettings, seed: int) -> Data:
    """Add the samples of the target, prepared as those trained on; either may be in shards."""
    like = prepared_as(data.train, data.shape, train)
    unread = target_settings(settings, kind)

    def split(place: str, own: DataSettings, tasks: tuple[Task, ...], own_seed: int) -> Split:
        its_kind = kind_of(place, settings)
        if its_kind == "shards":
            return load_target_shards(place, settings, like, tasks=tasks, seed=None if tasks else own_seed)
        if train is None and like.form == "image":
            own = replace(own, channels=like.channels)
        part = _find(place, its_kind, own)[0]
        if train is None:
            like.require(shard_form(part.form), None, part.source)
        else:
            require_form(part, train)
        labels = encode(part, tasks) if tasks else no_labels(part, data.tasks)
        if tasks:
            require_labelled(int((labels >= 0).sum()), part.source)
        varied = own_seed if settings.augment and not tasks else None
        made = _split(part, np.arange(len(part.names)), labels, like.transform, varied)
        require_shape(part, data.shape, _shape(made))
        return made

    held = None
    if settings.target_validation is not None:
        held = split(settings.target_validation, replace(unread, labels=settings.labels), data.tasks, seed)
    target = split(str(settings.target), unread, (), target_seed(seed))
    return replace(data, target=target, target_validation=held)


def kind_of(source: str, settings: DataSettings) -> str:
    """Return what a source is: as the settings say, else by its ending and content.

    Raises:
        InputError: If that does not tell.
    """
    if settings.kind != "auto":
        return settings.kind
    path = Path(source)
    ending = path.suffix.lower()
    if path.is_dir():
        files = (file.suffix.lower() for file in path.rglob("*"))
        first = next((found for found in files if found == ".wav" or found in IMAGES), "")
        return "audio" if first == ".wav" else "images"
    if ending == ".tar":
        return "shards"
    if ending == ".npz":
        return "arrays"
    if ending in (".csv", ".tsv"):
        return "files" if settings.path_column else "series" if settings.window else "table"
    if ":" in source and source.rpartition(":")[2].isidentifier():
        return "function"
    raise InputError(
        f"expected a folder of images or WAV files, an .npz or .csv file, shards (.tar), or a function "
        f"(module:function) as data, found {source!r}. Check the path, or set data.kind."
    )


def form_of(data: Data) -> str | None:
    """Return what a sample of the data was found as: a `Form`, ``shards``, or None where data is not from here."""
    dataset = data.train.dataset
    if isinstance(dataset, ShardSamples):
        return "shards"
    transform = getattr(dataset, "transform", None)
    if isinstance(transform, ImageTransform | SoundTransform):
        return "image" if isinstance(transform, ImageTransform) else "sound"
    if not isinstance(transform, SeriesTransform):
        return None
    # Of tensors nothing is standardised, and of series and tables only where settings say so.
    kinds = {1: "table", 2: "series"}
    return kinds.get(len(data.shape), "tensor") if transform.settings.kind not in ("arrays", "function") else "tensor"


def data_notes(data: Data) -> dict[str, Any]:
    """Return what is noted of data beside weights, JSON values only."""
    return {
        "classes": list(data.classes),
        "tasks": [{"name": task.name, "classes": list(task.classes)} for task in data.tasks],
        "shape": list(data.shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "source": data.source,
        "form": form_of(data),
    }


def _find(source: str, kind: str, settings: DataSettings) -> tuple[Found, Found | None]:
    path = Path(source)
    if kind == "function":
        train, validation = find_function(source, settings)
        return _windowed(train, settings), None if validation is None else _windowed(validation, settings)
    if path.suffix.lower() == ".npz":
        return _windowed(find_npz(path, settings), settings), None
    if kind in ("images", "audio"):
        folder = find_sound_folder(path) if kind == "audio" else None
        return folder or find_image_folder(path, settings.channels, settings.most_pixels), None
    if kind in ("files", "table", "series"):
        read = {"files": find_listed_files, "table": find_table, "series": find_series_table}[kind]
        return read(path, settings), None
    raise InputError(f"expected {kind} as an .npz file, found {source!r}. Check data.kind.")


def _windowed(found: Found, settings: DataSettings) -> Found:
    return cut_series(found, settings) if found.form == "series" else found


def _check_parts(parts: list[Found], settings: DataSettings) -> None:
    """Refuse parts of different forms or tasks, and augmentation that is for another form."""
    form, tasks = parts[0].form, list(parts[0].tasks)
    for part in parts:
        if list(part.tasks) != tasks:
            raise LabelError(
                f"expected labels {tasks} in the validation data, as in the training data, found {list(part.tasks)}. "
                f"Name the same."
            )
    if any(part.form != form for part in parts):
        raise InputError(
            f"expected validation data like the training data ({form}), found {parts[1].form}: {parts[1].source}."
        )
    if form in ("table", "series", "tensor"):
        # Windows and means fit as many columns or channels; tensors are taken as they are.
        shapes = [part.reader.read(0).shape[0 if form == "tensor" else -1 :] for part in parts]
        if shapes[-1] != shapes[0]:
            raise InputError(
                f"expected validation samples with the columns, channels or shape of the training data {shapes[0]}, "
                f"found {shapes[-1]} in {parts[-1].source}. Prepare both alike."
            )
    if wrong := [name for name in settings.augment if name not in _AUGMENTS[form]]:
        known = ", ".join(_AUGMENTS[form]) or "none"
        raise InputError(f"expected augmentation of {form} samples ({known}) in data.augment, found {wrong[0]!r}.")


def _transform(
    found: Found, rows: NDArray[np.int64], settings: DataSettings
) -> tuple[Transform, tuple[float, ...], tuple[float, ...]]:
    """Return what makes x of a raw sample, with the numbers that it standardises by."""
    if found.form == "image":
        return ImageTransform(settings), settings.mean, settings.std
    if found.form == "sound":
        return SoundTransform(settings), settings.mean, settings.std
    plain = replace(settings, augment=()) if found.form == "tensor" else settings
    if found.form == "tensor" or not settings.standardise:
        return SeriesTransform(plain, torch.zeros(()), torch.ones(())), (), ()
    mean, std = moments(found, rows)
    return SeriesTransform(plain, mean, std), tuple(mean.tolist()), tuple(std.tolist())


def moments(found: Found, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each column or channel over some samples, ``(d,) float32``.

    A channel that never changes has deviation 1, so that it becomes 0.
    """
    reader = found.reader
    if not isinstance(reader, ArrayReader | WindowReader):
        raise InputError(f"expected arrays to standardise, found {found.source}. Set data.standardise = false.")
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    shift: torch.Tensor | None = None
    for start in range(0, len(rows), _BLOCK):
        block = torch.from_numpy(np.stack([reader.read(int(row)) for row in rows[start : start + _BLOCK]])).double()
        block = block.reshape(-1, block.shape[-1])
        # Sums of squares lose their digits where the mean is large: they are of distances from the first block's mean.
        shift = block.mean(dim=0) if shift is None else shift
        count, total = count + len(block), total + (block - shift).sum(dim=0)
        squares = squares + (block - shift).square().sum(dim=0)
    if shift is None:
        raise InputError(f"expected samples in {found.source}, found none.")
    centre = total / count
    variance = (squares / count - centre.square()).clamp(min=0)
    std = torch.where(variance > 1e-12 * (1 + shift.square()), variance.sqrt(), torch.ones_like(variance))
    return (shift + centre).float(), std.float()


def _split(
    found: Found, rows: NDArray[np.int64], labels: NDArray[np.int64], transform: Transform, seed: int | None
) -> Split:
    dataset = Samples(found.reader, rows.astype(np.int64), labels[rows], transform, seed=seed)
    groups, domains = (
        None if texts is None else [texts[row] for row in rows] for texts in (found.groups, found.domains)
    )
    return Split(dataset, labels[rows], Chosen(found.names, rows), groups, domains)


def _shape(split: Split) -> tuple[int, ...]:
    """Return the shape of the first x that can be read; which cannot is told by validation, all at once."""
    dataset = split.dataset
    failed: InputError | None = None
    for index in range(min(100, len(split.names or ()))):
        try:
            return tuple(dataset[index][0].shape)
        except InputError as error:
            failed = failed or error
    raise failed or InputError("expected samples to train on, found none. Check data.train.")
