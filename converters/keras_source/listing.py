"""List the places where a Keras model may be cut, with what each would cost a device, and which fits a budget."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, InputError
from ...extras import require
from ..samples import check_calibration
from ..tap_pooling import Pooling, check_pooling
from .locate import RANDOM, KerasModel, locate
from .preparation import prepare_samples
from .process import run_worker
from .request import IMAGENET, PREPARATION, SAMPLES, Request

if TYPE_CHECKING:
    from ..splitting.cuts import Cut

_SAMPLES = 4


def list_keras_cuts(
    model: "str | os.PathLike[str] | KerasModel",
    samples: NDArray[Any],
    *,
    taps: str | Sequence[str] = "all",
    pooling: Pooling = "mean",
    resize: tuple[int, int] | None = None,
) -> "tuple[Cut, ...]":
    """Find the layers in front of the blocks of a Keras model, from the head backwards.

    TensorFlow runs in a process of its own.

    Args:
        model: As for `convert_keras`; ``"keras:NAME"`` needs no weights here.
        samples: ``(n, height, width, channels) uint8`` frames as the sensor gives them, or ``(n, ...) float32`` samples
            as the model takes them.
        taps: As for `convert_keras`. A bundle keeps them all beside the map, those behind the cut too.
        pooling: Likewise.
        resize: Likewise.

    Returns:
        The cuts, the head's input the first, as far back as everything behind them can be trained.

    Raises:
        CutError: If the model cannot be split, or holds code.
        CalibrationError: If it does not take the samples.
        ConversionError: If the file is none of Keras.
        InputError: If another argument does not fit.
        MissingExtraError: If a package is not installed.
    """
    require("tensorflow", extra="keras", needed_by="listing the cuts of a Keras model")
    require("torch", extra="convert", needed_by="the tail of a Keras model")
    from ..splitting.cuts import Cut

    check_pooling(pooling, taps)
    check_calibration(samples)
    shape = tuple(samples.shape[1:])
    preparation = prepare_samples(shape, frames=samples.dtype == np.uint8, resize=resize)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, application = locate(_untrained(model), None, folder)
        if application is not None and (len(shape) != 3 or shape[2] not in (1, 3)):
            raise CalibrationError(
                f"expected samples (height, width, 3) for keras.applications.{application}, channels last, found "
                f"{shape}. Reorder the axes."
            )
        size = resize or (shape[0], shape[1] if len(shape) > 1 else 1)
        Request(
            path=None if file is None else str(file.absolute()),
            application=application,
            weights=None,
            outputs=IMAGENET,
            seed=0,
            size=(int(size[0]), int(size[1]), 3),
            taps=taps if isinstance(taps, str) else list(taps),
            own_scale=False,
            runtimes=[],
            pooling=pooling,
            lists_cuts=True,
        ).write(folder)
        preparation.write(folder / PREPARATION)
        rows = np.linspace(0, len(samples) - 1, _SAMPLES).astype(int)
        np.save(folder / SAMPLES, samples[rows], allow_pickle=False)
        found = run_worker(folder).cuts
    plain: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in cut.items()} for cut in found
    ]
    return tuple(Cut(**cut) for cut in plain)


def _untrained(model: "str | os.PathLike[str] | KerasModel") -> "str | os.PathLike[str] | KerasModel":
    """Leave an application without its weights, which no cut depends on."""
    if not isinstance(model, str) or not model.startswith("keras:"):
        return model
    name, _, wanted = model.partition("@")
    if wanted not in ("", RANDOM):
        raise InputError(f"expected {name} or {name}@{RANDOM}, found {model!r}. Leave the rest out.")
    return f"{name}@{RANDOM}"
