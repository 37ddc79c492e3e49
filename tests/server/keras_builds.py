"""What TensorFlow's process builds and refuses, and how it trains: `PYTHON keras_builds.py FOLDER` in that process.

Writes FOLDER/found.json. Nothing here needs torch.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow  # noqa: F401  before Acclimate, as the process does

from acclimate.errors import AcclimateError
from acclimate.server.keras.build import build_model
from acclimate.server.keras.trainee import Recipe, Trainee

FOLDER = Path(sys.argv[1])
X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
Y = np.eye(3, dtype=np.float32)[np.arange(8) % 3]


def net(*layers: Any, inputs: int = 6) -> Any:
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(4, activation="relu"), *layers])


@keras.saving.register_keras_serializable("shop")
class Own(keras.layers.Dense):  # type: ignore[misc]
    """A layer of somebody's own."""


def subclassed() -> Any:
    class Net(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    return Net()


def saved(model: Any, name: str) -> dict[str, Any]:
    model.save(str(FOLDER / name))
    return {"file": str(FOLDER / name)}


def called(make: Callable[[], Any], name: str) -> dict[str, Any]:
    setattr(sys.modules["__main__"], name, make)
    return {"function": f"__main__:{name}"}


def built(asked: dict[str, Any], shape: tuple[int, ...] = (6,), seed: int = 1, precision: str = "float32") -> Any:
    return build_model(asked, 3, shape, seed=seed, precision=precision)


def said(asked: dict[str, Any], shape: tuple[int, ...] = (6,)) -> str:
    try:
        built(asked, shape)
    except AcclimateError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def heads() -> dict[str, Any]:
    """Logits of a trained head stay those whose softmax the file gives; another number of classes is a new one."""
    dense = net(keras.layers.Dense(3, activation="softmax", bias_initializer="ones"))
    apart = net(keras.layers.Dense(3, use_bias=False), keras.layers.Softmax())
    five = net(keras.layers.Dense(5))
    found: dict[str, Any] = {}
    for name, model in (("dense", dense), ("apart", apart)):
        made = built(saved(model, f"{name}.keras"))
        found[name] = float(np.abs(softmax(np.asarray(made(X))) - np.asarray(model(X))).max())
    found["five"] = list(built(saved(five, "five.keras")).output.shape)
    gray = built({"application": "MobileNet", "weights": None}, (40, 32, 1))
    assert gray.input.shape == (None, 40, 32, 1)
    found["application"] = list(gray.output.shape)
    found["momentum"] = sorted({layer.momentum for layer in gray.layers if hasattr(layer, "momentum")})
    return found


def seeds() -> list[bool]:
    """Whether the same seed gives the same first weights, and another one others."""
    first, again, other = (
        np.asarray(built(called(lambda: net(keras.layers.Dense(3)), "seeded"), seed=seed)(X)) for seed in (1, 1, 2)
    )
    return [bool((first == again).all()), bool((first == other).all())]


def average() -> float:
    """How far the moving average is from its definition after some steps."""
    model = built(called(lambda: net(keras.layers.BatchNormalization(), keras.layers.Dense(3)), "averaged"))
    trainee = Trainee(model, Recipe(0.01, 0.1, 5.0, 0.6))
    wanted = [np.asarray(w) for w in model.weights]
    for step in range(8):
        trainee.fit([0.01], iter([(X, Y)]), lambda loss, norm: None)
        decay = min(0.6, (1 + step) / (10 + step))
        wanted = [decay * w + (1 - decay) * np.asarray(now) for w, now in zip(wanted, model.weights, strict=True)]
    own = [np.asarray(w) for w in model.weights]
    trainee.swap(averaged=True)
    away = max(float(np.abs(w - np.asarray(now)).max()) for w, now in zip(wanted, model.weights, strict=True))
    trainee.swap(averaged=False)
    assert all((w == np.asarray(now)).all() for w, now in zip(own, model.weights, strict=True))
    return away


def half() -> dict[str, Any]:
    """What bfloat16 changes: passes, not weights, and not logits."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = built(called(lambda: net(keras.layers.Dense(3)), f"in_{precision}"), precision=precision)
        taken: list[float] = []
        trainee = Trainee(model, Recipe(0.01, 0.1, 5.0, 0.0))
        trainee.fit([0.02] * 10, iter([(X, Y)] * 10), partial(_note, taken))
        losses[precision] = taken
    types = sorted({str(weight.dtype) for weight in model.weights})
    return {"losses": losses, "types": types, "logits": str(np.asarray(trainee.predict(X)).dtype)}


def _note(taken: list[float], loss: float, norm: float) -> None:
    taken.append(loss)


def offline(**options: Any) -> Any:
    assert options["weights"] == "imagenet"
    raise OSError("no way to the network")


offline.__module__ = keras.applications.MobileNet.__module__


def unloaded() -> str:
    """What is said where Keras cannot download weights."""
    whole, keras.applications.MobileNet = keras.applications.MobileNet, offline
    try:
        return said({"application": "MobileNet", "weights": "imagenet"}, (32, 32, 3))
    finally:
        keras.applications.MobileNet = whole


def refusals() -> dict[str, str]:
    path = FOLDER / "broken.keras"
    path.write_bytes(b"PK")
    return {
        "nothing of that name": said({"application": "Mobilenet", "weights": None}, (32, 32, 3)),
        "too small": said({"application": "MobileNet", "weights": None}, (8, 8, 3)),
        "offline": unloaded(),
        "broken": said({"file": str(path)}),
        "lambda": said(saved(net(keras.layers.Lambda(lambda x: x), keras.layers.Dense(3)), "lambda.keras")),
        "own": said(called(lambda: net(Own(3)), "own")),
        "no head": said(called(lambda: net(keras.layers.BatchNormalization()), "headless")),
        "subclass": said(called(subclassed, "subclass")),
        "other": said(called(lambda: 3, "other")),
        "fails": said(called(lambda: 1 / 0, "fails")),
        "shape": said(called(lambda: net(keras.layers.Dense(3), inputs=7), "wide")),
    }


found = {"heads": heads(), "seeds": seeds(), "average": average(), "refusals": refusals(), "half": half()}
found["torch"] = "torch" in sys.modules
(FOLDER / "found.json").write_text(json.dumps(found))
