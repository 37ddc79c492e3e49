"""What a source of data finds: samples that can be read, with their labels as they stand there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .samples import Reader

Form = Literal["image", "tensor", "sound", "series", "table"]
# A sample without a label has this one.
UNLABELLED = ""


@dataclass(frozen=True, eq=False)
class Found:
    """Samples of one place.

    Args:
        reader: Reads them.
        labels: For each task, the label of each sample as text; `UNLABELLED` for none.
        tasks: Names of the tasks.
        names: File or row of each sample, for messages.
        groups: Group of each; None without groups.
        form: What a raw sample is: an image ``(h, w, c) uint8``, a tensor as the model takes it, a sound ``(n,)``, a
            series ``(t, c)``, or a row of a table ``(d,)``, all ``float32``.
        source: What it is, in words.
        classes: Names of classes that are known to be there, with or without samples.
        domains: Source domain of each; None without.
    """

    reader: Reader
    labels: tuple[Sequence[str], ...]
    tasks: tuple[str, ...]
    names: Sequence[str]
    groups: Sequence[str] | None
    form: Form
    source: str
    classes: tuple[str, ...] = ()
    domains: Sequence[str] | None = None
