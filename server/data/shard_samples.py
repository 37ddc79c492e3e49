"""One sample of a shard: its members by ending, undecoded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np

from ...errors import InputError, LabelError
from .found import UNLABELLED
from .image_files import IMAGES, decode_image
from .wav import open_wav

_IMAGES = tuple(ending.removeprefix(".") for ending in IMAGES)
Form = Literal["image", "sound", "tensor"]


@dataclass(frozen=True)
class ShardSample:
    """A sample as it is in its shard.

    Args:
        name: Shard and key.
        form: What the content is.
        content: An image, a WAV file or an .npy file.
        labels: Label of each task as text, `UNLABELLED` for none.
    """

    name: str
    form: Form
    content: bytes
    labels: tuple[str, ...]

    def decode(self, channels: int, most_pixels: int) -> Any:
        """Return the raw sample that transforms take.

        Raises:
            InputError: If it cannot be decoded; the message names it.
        """
        if self.form == "image":
            return decode_image(self.content, self.name, channels, most_pixels)
        if self.form == "sound":
            return open_wav(self.content, self.name)
        try:
            found = np.load(BytesIO(self.content), allow_pickle=False)
            return np.ascontiguousarray(found, np.float32)
        # A damaged file makes NumPy raise what it likes.
        except Exception as error:
            raise InputError(
                f"{self.name}: expected an .npy file of numbers, found that {type(error).__name__}. Write it anew."
            ) from error

    def place(self, task: int, name: str, places: Mapping[str, int]) -> int:
        """Return the place of a label among its classes, -1 for unlabelled.

        Args:
            task: Which task.
            name: Its name.
            places: Place of each class by its name.

        Raises:
            LabelError: If it is none of them.
        """
        label = self.labels[task]
        if label == UNLABELLED:
            return -1
        if label not in places:
            raise LabelError(
                f"{self.name}: expected {name} out of {len(places)} classes ({', '.join(list(places)[:8])}), found "
                f"{label[:40]!r}. Mend the shard, or name all in data.classes."
            )
        return places[label]


def sample_of(group: Mapping[str, Any], shard: str, labels: Sequence[str]) -> ShardSample:
    """Make a sample of the members that share a key.

    Args:
        group: ``__key__``, and content by ending: an image, ``wav`` or ``npy``; the label in ``cls`` or ``json``.
        shard: Name of the shard.
        labels: Names of the tasks, which are keys of ``json``; ``cls`` is that of a single task.

    Raises:
        InputError: If it has no such member, or several.
    """
    name = f"{shard}/{group['__key__']}"
    forms: dict[str, Form] = {**dict.fromkeys(_IMAGES, "image"), "wav": "sound", "npy": "tensor"}
    endings = [ending for ending in group if ending in forms]
    if len(endings) != 1:
        raise InputError(
            f"{name}: expected one member with the sample ({', '.join(forms)}), found {sorted(endings) or 'none'} "
            f"with {sorted(key for key in group if not key.startswith('__'))}. Write the shard anew."
        )
    return ShardSample(name, forms[endings[0]], group[endings[0]], _labels(group, name, labels))


def _labels(group: Mapping[str, Any], name: str, labels: Sequence[str]) -> tuple[str, ...]:
    if not labels:
        return ()
    if len(labels) == 1 and "cls" in group:
        return (_known(_text(group["cls"], name).strip()),)
    if "json" not in group:
        return (UNLABELLED,) * len(labels)
    try:
        told = json.loads(group["json"])
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{name}: expected JSON with the labels, found that {error}. Write the shard anew.") from error
    if not isinstance(told, dict):
        raise LabelError(f"{name}: expected JSON with the keys {list(labels)}, found {type(told).__name__}.")
    return tuple(_known(str(told.get(label, UNLABELLED))) for label in labels)


def _known(label: str) -> str:
    return UNLABELLED if label in ("-1", "None") else label


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except ValueError as error:
        raise LabelError(f"{name}: expected the label as text in UTF-8, found that {error}.") from error
