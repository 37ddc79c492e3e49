"""The cuts of Keras models: what each costs, and the two processes that list them."""

import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acclimate.converters.keras_source.cuts import measure_cuts
from acclimate.converters.keras_source.head import Head
from acclimate.converters.keras_source.listing import list_keras_cuts
from acclimate.converters.keras_source.request import PREPARATION, SAMPLES, Answer, Request
from acclimate.converters.keras_source.unroll import Step
from acclimate.converters.keras_source.workload import multiply_adds
from acclimate.errors import AcclimateError, CalibrationError, CutError, InputError, MissingExtraError

TORCH = find_spec("torch") is not None and find_spec("onnx") is not None
KERAS = all(find_spec(name) is not None for name in ("tensorflow", "tf2onnx"))


class Calls:
    """Layers' calls as Keras would leave them, without Keras."""

    def __init__(self, *shape: int) -> None:
        self.steps: list[Step] = []
        self.x: Any = SimpleNamespace(shape=(None, *shape))

    def call(self, kind: str, name: str, shape: tuple[int, ...], *inputs: Any, **given: Any) -> Any:
        """Add a call; arrays among what is given are weights."""
        held = {what: SimpleNamespace(shape=v.shape, path=f"{name}/{what}") for what, v in given.items() if is_array(v)}
        layer = type(kind, (SimpleNamespace,), {})(**{"bias": None, **given, **held}, weights=list(held.values()))
        layer.trainable_weights = [weight for weight in layer.weights if "moving" not in weight.path]
        self.x = SimpleNamespace(shape=(None, *shape))
        self.steps.append(Step(name, layer, inputs, self.x))
        return self.x

    def conv(self, name: str, shape: tuple[int, ...], kernel: tuple[int, ...], **given: Any) -> Any:
        kind = "DepthwiseConv2D" if name == "dw" else "Conv2D"
        size = {"kernel": np.zeros(kernel), "kernel_size": kernel[:2]}
        return self.call(kind, name, shape, self.x, **size, **given)

    def norm(self, name: str, width: int) -> Any:
        given = {what: np.zeros(width) for what in ("gamma", "beta", "moving_mean", "moving_variance")}
        return self.call("BatchNormalization", name, self.x.shape[1:], self.x, **given)


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def relu(x: Any) -> Any:
    """Stand for an activation; only its name counts."""


def backbone(between: Callable[[Calls], None] = lambda made: None) -> Any:
    """A convolution with a norm, an inverted residual without shortcut, and a linear head."""
    made = Calls(8, 8, 3)
    made.conv("stem", (8, 8, 4), (3, 3, 3, 4))
    made.norm("stem_norm", 4)
    made.call("ReLU", "stem_relu", (8, 8, 4), made.x)
    made.conv("expand", (8, 8, 6), (1, 1, 4, 6), bias=np.zeros(6), activation=relu)
    made.conv("dw", (8, 8, 6), (3, 3, 6, 1))
    made.norm("dw_norm", 6)
    made.conv("project", (8, 8, 4), (1, 1, 6, 4), bias=np.zeros(4))
    between(made)
    pooled = made.call("GlobalAveragePooling2D", "pool", (4,), made.x)
    made.call("Dense", "fc", (5,), pooled, kernel=np.zeros((4, 5)), bias=np.zeros(5))
    head = Head(made.steps[-1], pooled, np.zeros((5, 4), np.float32), np.zeros(5, np.float32), "linear")
    return SimpleNamespace(steps=tuple(made.steps), head=head, taps=[("stem_relu", 4), ("fc:input", 4)])


def test_cuts_by_hand() -> None:
    """Every figure of a network that is small enough to count on paper; norms go into the convolutions before them."""
    head, deeper = measure_cuts(backbone())
    assert (head["name"], head["blocks"], head["map_shape"], head["latent_bytes"]) == ("fc:input", 0, [4], 8)
    assert (head["parameters"], head["multiply_adds"], head["activation_bytes"]) == (25, 20, 32 * 4 * 5)
    assert (deeper["name"], deeper["blocks"], deeper["map_shape"]) == ("stem_relu", 1, [8, 8, 4])
    assert deeper["latent_bytes"] == 8 + 8 * 8 * 4
    behind = (24 + 6) + (54 + 6) + (24 + 4) + 25
    assert deeper["parameters"] == behind
    assert deeper["parameter_share"] == pytest.approx(behind / (behind + 108 + 4))
    products = 64 * (6 * 4 + 6 * 9 + 4 * 6) + 20
    assert deeper["multiply_adds"] == products
    assert deeper["compute_share"] == pytest.approx(products / (products + 64 * 4 * 27))
    # An activation inside of a layer is a result of its own.
    assert deeper["activation_bytes"] == 32 * 4 * (2 * 384 + 384 + 256 + 4 + 5)
    assert deeper["notes"] == head["notes"] == deeper["shared"] == []


def test_a_norm_behind_another_layer_stays() -> None:
    """It trains its two vectors, and the note says what becomes of its statistics."""
    plain, more = (measure_cuts(made)[1] for made in (backbone(), backbone(lambda made: later_norm(made))))
    assert more["parameters"] == plain["parameters"] + 2 * 4
    assert more["notes"] == ["1 batch normalisations keep their running statistics."]


def later_norm(made: Calls) -> None:
    made.call("ReLU", "relu", (8, 8, 4), made.x)
    made.norm("late", 4)


def test_nothing_is_listed_in_front_of_what_has_no_gradient() -> None:
    """A transposed convolution behind a cut would be refused by `convert`."""

    def transposed(made: Calls) -> None:
        made.call("Conv2DTranspose", "up", (8, 8, 4), made.x, kernel=np.zeros((1, 1, 4, 4)))

    assert [cut["name"] for cut in measure_cuts(backbone(transposed))] == ["fc:input"]


def test_weights_of_both_sides_are_named() -> None:
    """A layer that is called on both sides of a cut; the cut is listed and cannot be used."""

    def again(made: Calls) -> None:
        made.steps.append(Step("again", made.steps[0].layer, (made.x,), SimpleNamespace(shape=(None, 8, 8, 4))))
        made.x = made.steps[-1].output

    (_, deeper, first) = measure_cuts(backbone(again))
    assert [deeper["name"], first["name"]] == ["project", "stem_relu"]
    assert deeper["shared"] == first["shared"] == ["stem/kernel"]


@pytest.mark.parametrize(
    ("kind", "shape", "inputs", "given", "expected"),
    [
        ("Dense", (7, 5), [(7, 3)], {"kernel": np.zeros((3, 5))}, 7 * 15),
        ("EinsumDense", (7, 2, 4), [(7, 3)], {"kernel": np.zeros((3, 2, 4)), "equation": "abc,cde->abde"}, 7 * 24),
        ("Conv2DTranspose", (8, 8, 5), [(4, 4, 3)], {"kernel": np.zeros((3, 3, 5, 3))}, 16 * 3 * 9 * 5),
        ("LSTM", (4,), [(10, 3)], {"kernel": np.zeros((3, 16)), "recurrent": np.zeros((4, 16))}, 10 * 7 * 16),
        ("Matmul", (5, 7), [(5, 6), (6, 7)], {}, 5 * 6 * 7),
        ("Embedding", (9, 4), [(9,)], {"embeddings": np.zeros((50, 4))}, 0),
        ("Add", (7, 3), [(7, 3), (7, 3)], {}, 0),
    ],
)
def test_multiply_adds_of_layers(
    kind: str, shape: tuple[int, ...], inputs: list[tuple[int, ...]], given: dict[str, Any], expected: int
) -> None:
    """Counted by hand."""
    made = Calls(1)
    made.call(kind, "layer", shape, *(SimpleNamespace(shape=(None, *one)) for one in inputs), **given)
    assert multiply_adds(made.steps[0]) == expected


def test_multiply_adds_of_attention() -> None:
    """Keys and values are as many as the source is long, queries and results as the target; then the two products."""
    weights = [
        SimpleNamespace(shape=shape, path=f"attention/{part}/kernel")
        for part, shape in (("query", (6, 2, 4)), ("key", (6, 2, 4)), ("value", (6, 2, 3)), ("output", (2, 3, 6)))
    ]
    config = {"num_heads": 2, "key_dim": 4, "value_dim": 3}
    layer = type("MultiHeadAttention", (SimpleNamespace,), {})(weights=weights, get_config=lambda: config)
    target, source, result = (SimpleNamespace(shape=(None, length, 6)) for length in (5, 9, 5))
    expected = 5 * (48 + 36) + 9 * (48 + 36) + 5 * 9 * 2 * (4 + 3)
    assert multiply_adds(Step("attention", layer, (target, source), result)) == expected


def frames(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.needs_torch
@pytest.mark.skipif(not TORCH, reason="acclimate[convert] is not installed")
def test_what_is_asked_and_what_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The converting process asks for cuts of an application, which needs no weights, and returns them as such."""
    asked: list[tuple[Request, tuple[int, ...]]] = []

    def answer(folder: Path) -> Answer:
        assert (folder / PREPARATION).is_file()
        asked.append((Request.read(folder), np.load(folder / SAMPLES).shape))
        Answer(cuts=measure_cuts(backbone())).write(folder)
        return Answer.read(folder)

    from acclimate.converters.splitting.cuts import recommend

    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: True)
    monkeypatch.setattr("acclimate.converters.keras_source.listing.run_worker", answer)
    cuts = list_keras_cuts("keras:MobileNet", frames(9, 40, 48, 1), resize=(32, 32), taps=["a"])
    assert [(cut.name, cut.blocks, cut.map_shape) for cut in cuts] == [
        ("fc:input", 0, (4,)),
        ("stem_relu", 1, (8, 8, 4)),
    ]
    request, given = asked[0]
    assert (request.application, request.weights, request.size) == ("MobileNet", None, (32, 32, 3))
    assert (request.lists_cuts, request.cut, request.taps) == (True, None, ["a"])
    assert given == (4, 40, 48, 1)
    assert recommend(cuts, compute_share=1.0).cut == cuts[1]
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("model", "samples", "options", "missing", "error", "message"),
    [
        ("keras:MobileNet", frames(8, 8, 8, 3), {}, "tensorflow", MissingExtraError, r"acclimate\[keras\]"),
        ("keras:MobileNet", frames(8, 8, 8, 3), {}, "torch", MissingExtraError, r"acclimate\[convert\]"),
        ("keras:MobileNet@DEFAULT", frames(8, 8, 8, 3), {}, "", InputError, "expected keras:MobileNet or .*@random"),
        ("keras:MobileNet", frames(8, 3, 8, 8), {}, "", CalibrationError, r"channels last, found \(3, 8, 8\)"),
        ("none.keras", frames(8, 8, 8, 3), {}, "", InputError, "found nothing at none.keras"),
        ("none.keras", frames(4, 8, 8, 3), {}, "", CalibrationError, "at least 8"),
        ("none.keras", frames(8, 8, 8, 3), {"pooling": "max"}, "", InputError, "pooling as one of"),
        (object(), frames(8, 8, 8, 3), {}, "", CutError, "expected a Keras model, found object"),
    ],
)
def test_what_is_refused_at_once(
    model: Any,
    samples: Any,
    options: dict[str, Any],
    missing: str,
    error: type[AcclimateError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before TensorFlow starts."""
    if missing != "torch" and not TORCH:
        pytest.skip("acclimate[convert] is not installed")
    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: None if name == missing else True)
    with pytest.raises(error, match=message):
        list_keras_cuts(model, samples, **options)


CODE = """
import sys, keras, numpy as np
from keras import layers as l
keras.utils.set_random_seed(0)
i = keras.Input((16, 16, 3))
x = l.Conv2D(6, 3, 2, activation="relu")(l.Rescaling(1 / 255)(i))
y = l.ReLU()(l.BatchNormalization()(l.Conv2D(6, 3, padding="same", use_bias=False)(x)))
x = l.Add(name="join")([x, y])
y = l.Activation("hard_swish")(l.BatchNormalization()(l.Conv2D(12, 1)(x)))
y = l.BatchNormalization()(l.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
x = l.Reshape((49, 6), name="tokens")(l.BatchNormalization()(l.Conv2D(6, 1, use_bias=False)(y)))
y = l.LayerNormalization()(x)
x = l.Add(name="attended")([x, l.MultiHeadAttention(2, 4, use_bias=False)(y, y)])
x = l.GlobalAveragePooling1D()(x)
x = l.ReLU()(l.BatchNormalization()(l.Dense(7, use_bias=False)(x)))
model = keras.Model(i, l.Dense(4, activation="softmax")(x))
random = np.random.default_rng(0)
# Exporters leave out what adds 0.
for weight in model.weights:
    weight.assign(np.asarray(weight) + random.uniform(0.05, 0.3, weight.shape).astype("float32"))
model.save(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.needs_torch
@pytest.mark.skipif(not (TORCH and KERAS), reason="acclimate[convert,keras] is not installed")
def test_figures_are_those_of_the_tail(tmp_path: Path) -> None:
    """What a conversion at the deepest cut then trains and stores, layer by layer of other kinds."""
    import os
    import subprocess

    from acclimate.converters.keras_source.convert import convert_keras

    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    file = tmp_path / "m.keras"
    subprocess.run([sys.executable, "-c", CODE, str(file)], check=True, env=environment, capture_output=True)
    raw = frames(16, 16, 16, 3)
    cuts = list_keras_cuts(file, raw)
    names = [cut.name for cut in cuts]
    assert {"join", "tokens"} < set(names)
    report = convert_keras(file, raw, out=tmp_path / "m.acc", last=cuts[-1].blocks, runtimes=("onnx",), quantize=False)
    assert report.tail is not None
    assert report.tail.cut == cuts[-1].name
    assert report.tail.map_shape == cuts[-1].map_shape
    assert report.tail.trained == cuts[-1].parameters
    assert cuts[0].latent_bytes == report.width
    assert cuts[-1].latent_bytes == report.width + math.prod(report.tail.map_shape)
