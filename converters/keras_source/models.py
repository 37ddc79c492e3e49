"""Load a Keras model: from a file, without running what it holds, or from `keras.applications` by name."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConversionError, CutError, InputError
from .request import Request


def load_model(request: Request) -> Any:
    """Load a model in inference mode.

    Args:
        request: Which.

    Returns:
        A ``keras.Model`` that computes in float32.

    Raises:
        InputError: If there is no application of that name, or the weights do not fit.
        ConversionError: If the file cannot be loaded.
        CutError: If its weights are no finite float32 numbers.
    """
    model = _from_file(request.path) if request.path is not None else _application(request)
    for layer in model._flatten_layers():
        policy = getattr(getattr(layer, "dtype_policy", None), "name", "float32")
        if policy.startswith("mixed_"):
            layer.dtype_policy = "float32"
        elif policy != "float32" and getattr(layer, "weights", ()):
            raise CutError(
                f"expected weights in float32, found the layer {layer.name!r} with the type {policy!r}. "
                f"Convert the model before it is quantized or halved."
            )
    for weight in model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise CutError(
                f"expected finite weights, found NaN or infinity in {weight.path!r}. "
                f"The training diverged: go back to an earlier checkpoint."
            )
    return model


def application_module(name: str) -> Any:
    """Return the module of ``keras.applications`` that builds a model.

    Raises:
        InputError: If there is none of that name.
    """
    import keras

    build = getattr(keras.applications, name, None)
    if not callable(build) or not name[:1].isupper():
        known = sorted(one for one in dir(keras.applications) if one[:1].isupper())
        raise InputError(f"expected a model of keras.applications, found {name!r}. There are: {', '.join(known)}.")
    return sys.modules[build.__module__]


def _from_file(path: str) -> Any:
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # Keras raises anything.
    except Exception as error:
        raise ConversionError(
            f"{Path(path).name}: expected a model that Keras {keras.__version__} loads in safe mode, found "
            f"{type(error).__name__}: {_short(error)}. Save it anew with model.save('model.keras')."
        ) from error


def _application(request: Request) -> Any:
    import keras

    name = str(request.application)
    keras.utils.set_random_seed(request.seed)
    application_module(name)
    try:
        build = getattr(keras.applications, name)
        model = build(weights=None, input_shape=request.size, classes=request.outputs)
    except Exception as error:
        raise InputError(
            f"expected that keras.applications.{name} can be built for {request.size}, found: {_short(error)}. "
            f"Choose another size with resize."
        ) from error
    if request.weights is not None:
        try:
            model.load_weights(request.weights)
        except Exception as error:
            raise InputError(
                f"expected weights of keras.applications.{name} with {request.outputs} outputs, found that "
                f"{Path(request.weights).name} does not fit: {_short(error)}. Name the classes that it was trained "
                f"for, or save the whole model as .keras."
            ) from error
    return model


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
