"""Build a Keras model with an output per class, in TensorFlow's process."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...converters.keras_source.archive import check_archive
from ...converters.keras_source.models import application_module
from ...converters.sources.python import call_function
from ...errors import ConversionError, InputError

# Behind the last Dense layer, these change nothing but how its answers are written.
_AFTER_HEAD = ("Softmax", "Activation", "Dropout", "Identity")
# Of BatchNorm's statistics, as in torch: some applications keep .999, which thousands of steps do not fill.
_MOMENTUM = 0.9
_PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def build_model(asked: Mapping[str, Any], classes: int, shape: Sequence[int], *, seed: int, precision: str) -> Any:
    """Build a model for data.

    Args:
        asked: From `asked.asked_model`.
        classes: Outputs that it gets.
        shape: Shape of one sample, channels last.
        seed: Fixes the weights of what is not loaded.
        precision: ``float32``, or ``bfloat16`` for passes in that type with weights in float32.

    Returns:
        A functional ``keras.Model`` from ``(b, *shape) float32`` to logits ``(b, classes) float32``, all of it
        trainable, of Keras's own layers.

    Raises:
        InputError: If there is no such model, or it does not take such samples.
        CutError: If it holds code of its own, which its file could not be loaded with.
        ConversionError: If a file is damaged.
    """
    import keras

    keras.utils.set_random_seed(seed)
    # A user's settings could say otherwise.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(_PRECISIONS[precision])
    if asked.get("application"):
        model = _application(asked["application"], asked["weights"], classes, tuple(shape))
    else:
        found = load_file(Path(asked["file"])) if asked.get("file") else _called(asked["function"])
        model = _with_head(found, classes)
    _check_input(model, tuple(shape))
    model.trainable = True
    with tempfile.TemporaryDirectory() as folder:
        # Better now than after hours.
        path = Path(folder, "model.keras")
        model.save(str(path))
        check_archive(path)
    return model


def load_file(path: Path) -> Any:
    """Load a Keras file without running anything that it holds.

    Raises:
        InputError: If there is none.
        ConversionError: If it is none, or damaged.
        CutError: If it holds code.
    """
    import keras

    check_archive(path)
    try:
        return keras.saving.load_model(str(path), compile=False, safe_mode=True)
    # Keras raises anything.
    except Exception as error:
        raise ConversionError(
            f"{path.name}: expected a model that Keras {keras.__version__} loads in safe mode, found "
            f"{type(error).__name__}: {short(error)}. Save it anew with model.save('model.keras')."
        ) from error


def short(error: BaseException) -> str:
    """Return an error's message in one line of moderate length."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def _application(name: str, weights: str | None, classes: int, shape: tuple[int, ...]) -> Any:
    import keras

    application_module(name)
    try:
        body = getattr(keras.applications, name)(
            include_top=False, weights=weights, input_shape=shape, pooling="avg", name="body"
        )
    except Exception as error:
        raise InputError(
            f"expected that keras.applications.{name} can be built for {shape} with weights {weights or 'at random'}, "
            f"found: {short(error)}. Change data.size or data.channels, or choose another model."
        ) from error
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, _MOMENTUM)
    return keras.Model(body.input, _head(classes)(body.output), name=name.lower())


def _called(function: str) -> Any:
    import keras

    model = call_function(function, "to make a Keras model")
    if not isinstance(model, keras.Model):
        raise InputError(f"expected {function!r} to return a Keras model, found {type(model).__name__}. Return it.")
    return model


def _with_head(model: Any, classes: int) -> Any:
    """Return a model whose last Dense layer gives logits of so many classes: its own where it does, else a new one."""
    import keras

    # A subclass has neither.
    inputs, outputs = (getattr(model, name, None) or [] for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"expected a Sequential or functional Keras model with one input and one output, found "
            f"{type(model).__name__} with {len(outputs)} outputs. Build it with keras.Input."
        )
    layer = outputs[0]._keras_history.operation
    while type(layer).__name__ in _AFTER_HEAD:
        layer = layer.input._keras_history.operation
    if not isinstance(layer, keras.layers.Dense):
        raise InputError(
            f"expected a Keras model that ends in a Dense layer, with softmax at most behind it, found "
            f"{type(layer).__name__} ({layer.name!r}). Let it end in keras.layers.Dense."
        )
    features = layer.input
    activation = keras.activations.serialize(layer.activation)
    fits = layer.units == classes and activation in ("linear", "softmax")
    if fits and activation == "linear" and layer is outputs[0]._keras_history.operation:
        return model
    head = _head(classes, name=layer.name)
    made = keras.Model(inputs[0], head(features), name=model.name)
    if fits:
        head.set_weights(layer.get_weights() if layer.use_bias else [layer.kernel, head.bias])
    return made


def _head(classes: int, name: str = "head") -> Any:
    import keras

    # In whole precision, whatever the others compute in.
    return keras.layers.Dense(classes, name=name, dtype="float32")


def _check_input(model: Any, shape: tuple[int, ...]) -> None:
    wanted = tuple(model.inputs[0].shape)[1:]
    if len(wanted) != len(shape) or any(a not in (None, b) for a, b in zip(wanted, shape, strict=True)):
        raise InputError(
            f"expected samples {wanted} (channels last), as {model.name!r} takes, found {shape}. Change data.size or "
            f"data.channels, or choose another model."
        )
