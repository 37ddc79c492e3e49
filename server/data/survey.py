"""Go through all samples of a part once: what can be read, its content, its shape and its class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from .arrays import ArrayReader
from .fingerprint import Fingerprint, fingerprint
from .samples import Samples
from .series import WindowReader
from .shards import ShardSamples
from .split import Split

# Samples of fewer bytes, such as rows of a few whole numbers, are often alike by chance.
_TELLING_BYTES = 256
Look = tuple[Fingerprint, tuple[int, ...], int]


@dataclass
class Survey:
    """What going through a part gives.

    Args:
        names: Of each sample.
        digests: Hash of the content of each; None where it could not be read.
        labels: Place of the class of each in the first task.
        unreadable: What went wrong, by name.
        shapes: Other shapes of x than the first sample's, by name.
        small: Whether samples are so small that some are alike by chance.
    """

    names: list[str] = field(default_factory=list)
    digests: list[bytes | None] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    small: bool = True


def count_samples(split: Split) -> int:
    """Return how many samples a part has."""
    dataset = split.dataset
    return dataset.samples if isinstance(dataset, ShardSamples) else len(split.names or ())


def survey(split: Split, shape: tuple[int, ...], step: Callable[[int], Any]) -> Survey:
    """Read all samples of a part.

    Args:
        split: The part.
        shape: Shape that each x should have.
        step: Called with the number of samples read.
    """
    part = Survey()
    for name, read in _samples(split):
        part.names.append(name)
        try:
            content, x_shape, label = read()
        except InputError as error:
            part.digests.append(None)
            part.labels.append(-1)
            part.unreadable[name] = str(error)
            continue
        finally:
            step(len(part.names))
        part.small = part.small and content.size < _TELLING_BYTES
        part.digests.append(content.digest)
        part.labels.append(label)
        if x_shape != shape:
            part.shapes[name] = x_shape
    return part


def _samples(split: Split) -> Iterator[tuple[str, Callable[[], Look]]]:
    """Give the name of each sample, and what returns its content, the shape of its x, and its class."""
    dataset = split.dataset
    if isinstance(dataset, ShardSamples):
        for sample in dataset.raw():

            def read_shard(sample: Any = sample) -> Look:
                x, y, _ = dataset.item(sample, vary=False)
                return (
                    fingerprint(sample.content, sample.name),
                    tuple(x.shape),
                    int(y[0] if isinstance(y, tuple) else y),
                )

            yield sample.name, read_shard
        return
    if not isinstance(dataset, Samples) or split.names is None:
        raise InputError(f"expected data from load_data, found {type(dataset).__name__}.")
    plain = dataset.plain()
    # What is in memory can be read, and is of one shape.
    known = tuple(plain[0][0].shape) if isinstance(dataset.reader, ArrayReader | WindowReader) else None
    first = dataset.labels if dataset.labels.ndim == 1 else dataset.labels[:, 0]
    for index, name in enumerate(split.names):

        def read(index: int = index) -> Look:
            shape = known if known is not None else tuple(plain[index][0].shape)
            return dataset.fingerprint(index), shape, int(first[index])

        yield name, read
