"""Small Keras models for the tests, made in a process of their own: `python keras_models.py FOLDER` fills a folder.

TensorFlow must never be imported by the tests themselves. What Keras computes, and what the converter's modules that
run beside TensorFlow say of models that they refuse, is left as numpy files and JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")

SIZE, CLASSES = 32, 5


def frames(n: int, height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """Make frames of coloured blocks."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (n, -(-height // 4), -(-width // 4), channels))
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2)[:, :height, :width].astype(np.uint8)


def nested() -> Any:
    """A functional model with another one inside, residual, with its own rescaling and a layer for training alone."""
    import keras
    from keras import layers

    inner = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 255)(inner)
    x = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(16, 3, 2, "same", use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y))
    x = layers.Add(name="join")([x, y])
    # Squeeze and excitation, whose vectors are no ends of stages.
    gate = layers.Reshape((1, 1, 16))(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply(name="gated")([x, layers.Conv2D(16, 1, activation="sigmoid")(gate)])
    x = layers.ZeroPadding2D()(x)
    x = layers.Conv2D(32, 3, 2, activation="relu", name="deep")(x)
    body = keras.Model(inner, x, name="body")
    outer = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(body(layers.RandomFlip()(outer), training=False))
    # What is asked to train always is in inference all the same where a model is used.
    x = layers.Dropout(0.2)(x, training=True)
    return keras.Model(outer, layers.Dense(CLASSES, activation="softmax", name="head")(x))


def binary() -> Any:
    """A Sequential model with one output and a sigmoid, of colour, behind a flattened map."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(12, 3, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dense(10, activation="relu", name="hidden"),
            layers.Dense(1, activation="sigmoid", name="yes"),
        ]
    )


def motion() -> Any:
    """A model of samples that are no frames, with two values as output."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((24, 3)),
            layers.Conv1D(8, 5, activation="relu"),
            layers.MaxPooling1D(2, name="halved"),
            layers.Conv1D(16, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="values"),
        ]
    )


def convolutional() -> Any:
    """A model whose head is a 1x1 convolution, pooled behind it."""
    import keras
    from keras import layers

    x = given = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, 2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 1, name="last")(x))
    return keras.Model(given, layers.Activation("softmax")(x))


def mobilenet() -> Any:
    """A large one of the applications, as small as it comes."""
    import keras

    return keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=CLASSES)


def refused() -> dict[str, Any]:
    """Models that cannot be split."""
    import keras
    from keras import layers

    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    vector = layers.GlobalAveragePooling2D()(a)
    twice = layers.Dense(3, name="twice")
    position = layers.Dense(4, name="position")

    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.head(x)

    own = Net()
    own(np.zeros((1, 3), np.float32))
    return {
        "two inputs": keras.Model([a, b], layers.Dense(2)(layers.GlobalAveragePooling2D()(a + b))),
        "two outputs": keras.Model(a, [layers.Dense(2)(vector), vector]),
        "no dense": keras.Model(a, layers.MaxPooling2D(name="ending")(layers.Conv2D(4, 3)(a))),
        "curved": keras.Model(a, layers.Dense(4, activation="tanh", name="curved")(vector)),
        "positions": keras.Model(a, position(a)),
        "shared": keras.Model(a, twice(twice(vector))),
        "softmax of positions": keras.Model(
            a, layers.GlobalAveragePooling2D()(layers.Softmax(name="early")(layers.Conv2D(4, 1)(a)))
        ),
        "wide": keras.Model(a, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="wide")(a))),
        "other output": keras.Model(a, layers.UnitNormalization(name="unit")(layers.Dense(4)(vector))),
        "own code": own,
    }


def settled(model: Any, x: NDArray[Any], seed: int = 1) -> Any:
    """Give every BatchNorm factors of its own and the statistics of samples, and the head a wider kernel and a bias."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            gamma, beta, *others = layer.get_weights()
            factors = random.uniform(0.8, 1.2, gamma.shape), random.normal(0, 0.2, beta.shape)
            layer.set_weights([*factors, *others])
            layer.momentum = 0.0
    model(np.asarray(x, np.float32), training=True)
    head = model.layers[-1]
    if type(head).__name__ == "Dense":
        kernel, bias = head.get_weights()
        head.set_weights([4 * kernel, random.normal(0, 0.5, bias.shape)])
    return model


def main(folder: Path) -> None:
    """Write models, what they give for samples, and what is said of those that are refused."""
    import keras
    from keras import layers

    from acclimate.converters.keras_source.preparation import resize_matrix

    keras.utils.set_random_seed(0)
    gray = frames(64, 20, 24, 1)
    small = np.einsum("hi,nijc,wj->nhwc", resize_matrix(20, 16), gray / np.float32(255), resize_matrix(24, 16))
    rows = np.random.default_rng(0).normal(5, 2, (64, 24, 3)).astype(np.float32)
    given = {
        "nested": (nested(), frames(64, SIZE, SIZE, 3)),
        "binary": (binary(), np.repeat((small - 0.4) / 0.2, 3, 3)),
        "motion": (motion(), (rows - 5) / 2),
        "convolutional": (convolutional(), frames(64, 16, 16, 3) / 255),
        "mobilenet": (mobilenet(), frames(32, 96, 96, 3) / 127.5 - 1),
    }
    for name, (model, x) in given.items():
        settled(model, x).save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", np.asarray(model.predict(np.asarray(x, np.float32), verbose=0)))
    np.save(folder / "gray.npy", gray)
    np.save(folder / "rows.npy", rows)
    x = keras.Input((8, 8, 3), name="given")
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Lambda(lambda v: v * 2, name="doubling")(x)))
    keras.Model(x, y).save(folder / "lambda.keras")
    broken = motion()
    broken.layers[0].set_weights([w * np.nan for w in broken.layers[0].get_weights()])
    broken.save(folder / "nan.keras")
    models = refused()
    models["own code"].save(folder / "own.keras")
    (folder / "told.json").write_text(json.dumps({"refused": _said(models), "scaling": _scalings()}))


def _said(models: dict[str, Any]) -> dict[str, str]:
    import keras

    from acclimate.converters.keras_source.head import find_head
    from acclimate.converters.keras_source.unroll import check_structure, unroll
    from acclimate.errors import CutError

    said = {}
    for name, model in models.items():
        try:
            check_structure(model)
            find_head(unroll(model, keras.Input((8, 8, 3))))
            said[name] = "taken"
        except CutError as error:
            said[name] = str(error)
    return said


def _scalings() -> dict[str, list[list[float]]]:
    from acclimate.converters.keras_source.scaling import application_scaling

    return {name: application_scaling(name).tolist() for name in ("MobileNetV2", "EfficientNetB0", "ResNet50")}


def live(folder: Path) -> None:
    """Convert a model that is in this process."""
    from acclimate.converters import convert_keras

    convert_keras(
        convolutional(), frames(16, 16, 16, 3), out=folder / "live.acc", runtimes=("onnx",), quantize=False, taps="last"
    )


if __name__ == "__main__":
    (live if sys.argv[2:] == ["live"] else main)(Path(sys.argv[1]))
