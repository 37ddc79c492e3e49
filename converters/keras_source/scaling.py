"""How a Keras model wants pixel values scaled, where the caller does not say."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConversionError
from .models import application_module
from .preparation import Preparation
from .unroll import unroll

# Layers that scale their input: in front of them pixel values stay as they are.
_SCALING = ("Rescaling", "Normalization")


def model_scaling(application: str | None, model: Any, preparation: Preparation) -> tuple[Preparation, str]:
    """Scale pixel values as the model was trained with them.

    Args:
        application: Name in ``keras.applications``, or None for a model from a file.
        model: The model.
        preparation: What else is done.

    Returns:
        The preparation with it, and what was found, in words.

    Raises:
        ConversionError: If an application's own scaling is no sum of the channels times constants.
    """
    if application is None:
        inside = scales_itself(model)
        told = "values 0 to 255, since the model scales them" if inside else "values 0 to 1"
        scale = np.full(1, 1.0 if inside else 1 / 255, np.float32)
        return replace(preparation, scale=scale, shift=np.zeros(1, np.float32)), told
    found = application_scaling(application)
    mix, shift = found[:-1].astype(np.float32), found[-1].astype(np.float32)
    told = f"as keras.applications.{application} does"
    if np.count_nonzero(mix - np.diag(np.diag(mix))):
        return replace(preparation, mix=mix, shift=shift), told
    return replace(preparation, scale=np.diag(mix).copy(), shift=shift), told


def scales_itself(model: Any) -> bool:
    """Say whether a layer that scales comes before the first one with weights."""
    import keras

    given = model.inputs[0]
    for step in unroll(model, keras.Input(given.shape[1:], dtype=given.dtype)):
        if step.kind in _SCALING or step.has_weights:
            return step.kind in _SCALING
    return False


def application_scaling(name: str) -> NDArray[np.float64]:
    """Find how an application scales pixel values, by asking its own ``preprocess_input``.

    Args:
        name: Name in ``keras.applications``.

    Returns:
        ``(channels + 1, channels)``: what a value of 1 in each channel adds, and in the last row what black gives.

    Raises:
        ConversionError: If it is no sum of the channels, times constants.
    """
    prepare = application_module(name).preprocess_input
    probes = np.concatenate([np.eye(3) * 255, np.zeros((1, 3)), [[10.0, 130.0, 250.0]]])[:, None, None]
    found = np.asarray(prepare(probes.astype(np.float32).copy(), data_format="channels_last"), np.float64)[:, 0, 0]
    black = found[3]
    matrix = (found[:3] - black) / 255
    if not np.allclose(probes[4, 0, 0] @ matrix + black, found[4], atol=1e-3):
        raise ConversionError(f"expected keras.applications.{name} to scale pixels linearly. Pass mean and std.")
    return np.concatenate([matrix, [black]])
