"""A source: what gives latents of raw samples and, with a head, probabilities of its own classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...converters.keras_source.locate import is_keras
from ...converters.splitting.examine import Taps
from ...errors import InputError

Float32 = NDArray[np.float32]
# Called with the number of samples done.
Done = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Look:
    """What a source makes of samples.

    Args:
        latents: ``(n, d) float32``.
        probabilities: ``(n, z) float32`` of its own classes, or None where it has no head that tells classes.
        classes: Names of its classes, or None where they are not known.
        notes: What a reader should know, in words.
    """

    latents: Float32
    probabilities: Float32 | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """Something that may be started from. `look` runs its backbone once per sample."""

    def look(self, frames: NDArray[Any], done: Done) -> Look:
        """Embed samples.

        Args:
            frames: ``(n, ...)`` raw samples.
            done: Called with the number of samples that are embedded.

        Raises:
            InputError: If the samples are not what it takes.
        """


def open_source(
    source: "str | os.PathLike[str] | nn.Module | Source",
    *,
    taps: Taps = "all",
    code: str | None = None,
    resize: tuple[int, int] | None = None,
) -> Source:
    """Open what a text names: a bundle (``.acc``), the folder of a run or checkpoint, or a model by name.

    Args:
        source: The text, a torch module in evaluation mode, or a source.
        taps: What the latents of a model are made of; a bundle has its own.
        code: Function that builds the network of a checkpoint, where one does.
        resize: Height and width that a model takes, if frames have another size; by default what its origin knows.

    Raises:
        InputError: If it names nothing.
        AcclimateError: If it is damaged.
    """
    if not isinstance(source, str | os.PathLike | nn.Module):
        if not callable(getattr(source, "look", None)):
            raise InputError(
                f"expected a source by name, a torch module or an object with look(), found {type(source).__name__}."
            )
        return source
    from .bundle_source import BundleSource
    from .model_source import ModelLook

    if isinstance(source, nn.Module):
        from ...converters.sources.load import ModelSource

        return ModelLook(ModelSource(source), taps, resize)
    named = os.fspath(source)
    if named.endswith(".acc"):
        return BundleSource(Path(named))
    if is_keras(named) or any((folder / "model.keras").is_file() for folder in (Path(named), Path(named, "model"))):
        raise InputError(
            f"expected a bundle or a torch model, found the Keras model {named!r}. Convert it ('acclimate convert'), "
            f"and name the bundle."
        )
    if Path(named).is_dir():
        from ..trained import load_trained

        return ModelLook(load_trained(named, code=code), taps, resize)
    from ...converters.sources.load import load_source

    return ModelLook(load_source(named), taps, resize)
