"""Tails of Keras models: cuts among layers, the converting process's half on files as TensorFlow's leaves them."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.converters.keras_source.blocks import block_cuts, find_cut, separating
from acclimate.converters.keras_source.convert import convert_keras
from acclimate.converters.keras_source.request import FEATURES, MAPS, Answer, exported
from acclimate.converters.keras_source.unroll import Step
from acclimate.converters.keras_source.without_torch import Without
from acclimate.errors import AcclimateError, CutError, InputError, MissingExtraError
from acclimate.manifest import Tap

TORCH = find_spec("torch") is not None and find_spec("onnx") is not None
KERAS = all(find_spec(name) is not None for name in ("tensorflow", "tf2onnx"))


class Layers:
    """Layers' calls with the shapes that Keras would give them, without Keras."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.source = SimpleNamespace(shape=(None, 8, 8, 4))

    def call(
        self, kind: str, name: str, *inputs: Any, shape: tuple[int, ...], weights: bool = False, **more: Any
    ) -> Any:
        held = [SimpleNamespace(shape=(3, 3))] if weights else []
        layer = type(kind, (SimpleNamespace,), {})(weights=held, **more)
        output = SimpleNamespace(shape=(None, *shape))
        self.steps.append(Step(name, layer, inputs, output))
        return output

    def conv(self, name: str, x: Any, width: int, kind: str = "Conv2D", kernel: int = 1) -> Any:
        return self.call(kind, name, x, shape=(8, 8, width), weights=True, kernel_size=(kernel, kernel))


def mobile() -> tuple[Layers, Any]:
    """A stem, an inverted residual with a shortcut, one without and with a gate, and pooling."""
    made = Layers()
    stem = x = made.conv("stem", made.source, 4, kernel=3)
    x = made.conv("project", made.conv("dw", made.conv("expand", x, 12), 12, "DepthwiseConv2D", 3), 4)
    x = made.call("Add", "body/add", stem, x, shape=(8, 8, 4))
    x = made.conv("dw2", made.conv("expand2", x, 12), 12, "DepthwiseConv2D", 3)
    squeezed = made.conv("gate2", made.conv("gate1", made.call("Pool", "pool", x, shape=(1, 1, 12)), 3), 12)
    x = made.call("Multiply", "gated", x, squeezed, shape=(8, 8, 12))
    x = made.conv("project2", x, 6)
    x = made.call("ReLU", "relu", made.conv("last", x, 24), shape=(8, 8, 24))
    return made, made.call("GlobalAveragePooling2D", "pooled", x, shape=(24,))


def test_blocks_of_layers() -> None:
    """A depthwise convolution takes what expands, its gate and its projection with it; a residual is one block."""
    made, end = mobile()
    stops = separating(made.steps)
    assert [step.name for step in block_cuts(stops, end)] == ["project2", "body/add", "stem"]
    assert find_cut(made.steps, end, 2).name == "body/add"
    assert find_cut(made.steps, end, "add").name == "body/add"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (4, r"a tail of 1 to 3 blocks, found 4. Possible cuts, from the head: \['project2'"),
        ("dw", "which a shortcut or a branch passes by"),
        ("nothing", "expected a layer in front of the head as cut, found 'nothing'"),
        ("pooled", "expected a cut in front of the head's input"),
    ],
)
def test_cuts_that_are_none(wanted: str | int, message: str) -> None:
    """They name some that are."""
    made, end = mobile()
    with pytest.raises(CutError, match=message):
        find_cut(made.steps, end, wanted)


def test_a_package_is_as_if_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither imported nor found, while others are: the libraries beside TensorFlow ask for torch in both ways."""
    finders: list[Any] = [Without(finder, "colorsys") for finder in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert find_spec("colorsys") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("colorsys")
    assert isinstance(find_spec("this"), ModuleSpec)


@pytest.mark.parametrize(
    ("options", "missing", "error", "message"),
    [
        ({"last": 1}, "torch", MissingExtraError, r"the tail of a Keras model needs 'torch'.*acclimate\[convert\]"),
        ({"train": ["a*"]}, "", InputError, "beside a tail"),
        ({"penalty": "ewc"}, "", InputError, "beside a tail"),
    ],
)
def test_what_is_refused_at_once(
    options: dict[str, Any],
    missing: str,
    error: type[AcclimateError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where torch is not installed, and without a tail; before the model is looked at."""
    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: None if name == missing else True)
    with pytest.raises(error, match=message):
        convert_keras("none.keras", np.zeros((8, 8, 8, 3), np.uint8), out=tmp_path / "a.acc", **options)
    assert list(tmp_path.iterdir()) == []


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def leave(folder: Path, samples: NDArray[np.float32]) -> tuple[Answer, NDArray[np.float32], NDArray[np.float32]]:
    """Leave an exported file as tf2onnx writes it, channels first inside, and the maps; return features too."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Transpose", ["input"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "k0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["cut"]),
        helper.make_node("Transpose", ["cut"], ["given"], perm=[0, 2, 3, 1]),
        helper.make_node("Identity", ["given"], ["map"]),
        # 'same' of a stride of two pads one side alone.
        helper.make_node(
            "Conv", ["cut", "layer/k1:0", "layer/b1:0"], ["b"], pads=[0, 0, 1, 1], strides=[2, 2], group=6
        ),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Identity", ["mean"], [FEATURES]),
        helper.make_node("ReduceMean", ["cut"], ["tap"], axes=[2, 3], keepdims=0),
        helper.make_node("Concat", ["tap", "mean"], ["latent"], axis=1),
    ]
    weights = {"k0": normal(6, 3, 3, 3), "layer/k1:0": normal(6, 1, 3, 3, seed=1), "layer/b1:0": normal(6, seed=2)}
    outputs: dict[str, list[str | int]] = {"latent": ["n", 12], "map": ["n", 8, 8, 6], FEATURES: ["n", 6]}
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    exported(folder, "onnx", mapped=True).write_bytes(content)
    latents, maps, features = onnxruntime.InferenceSession(content).run(None, {"input": samples})
    np.save(folder / MAPS, maps)
    assert latents.shape == (len(samples), 12)
    return Answer(taps=(("a", 6), ("head:input", 6)), cut="body/relu"), maps, features


@pytest.mark.needs_torch
@pytest.mark.skipif(not TORCH, reason="acclimate[convert] is not installed")
def test_the_converting_processes_half(tmp_path: Path) -> None:
    """From a file with channels first inside and maps with channels last: logits of the head on the file's features."""
    import torch

    from acclimate.converters.keras_source.parts import KerasParts
    from acclimate.converters.keras_source.tail import plan_keras_tail
    from acclimate.converters.original import ExportedFiles
    from acclimate.edge.runtime.onnx import open_model

    samples = normal(9, 8, 8, 3, seed=3)
    answer, maps, features = leave(tmp_path, samples)
    head = KerasParts((Tap("a", 0, 6), Tap("head:input", 6, 6)), "head:input", normal(4, 6, seed=4), normal(4, seed=5))
    plan = plan_keras_tail(tmp_path, answer, head, samples)
    assert (plan.cut.cut, plan.cut.shape, plan.cut.axis) == ("body/relu", (8, 8, 6), 3)
    assert plan.compiled.spec.head == ("head/weight", "head/bias")
    names = [p.name for p in plan.compiled.spec.parameters]
    assert names == ["layer/k1:0", "layer/b1:0", "head/weight", "head/bias"]
    expected = features @ head.weight.T + head.bias
    with torch.no_grad():
        np.testing.assert_allclose(plan.tail.module(torch.from_numpy(maps)).numpy(), expected, rtol=1e-4, atol=1e-4)
    feed = {f"parameter/{name}": value for name, value in plan.compiled.initial.items()}
    (logits,) = open_model(plan.compiled.forward, 1, "tail").run(["logits"], {"map": maps, **feed})
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    assert isinstance(plan.mapped.module, ExportedFiles)
    given = open_model(plan.mapped.module.files["onnx"], 1, "backbone")
    assert [output.name for output in given.get_outputs()] == ["latent", "map"]
    np.testing.assert_array_equal(given.run(["map"], {"input": samples})[0], maps)


@pytest.mark.slow
@pytest.mark.needs_torch
@pytest.mark.skipif(not (TORCH and KERAS), reason="acclimate[convert,keras] is not installed")
def test_a_whole_conversion(tmp_path: Path) -> None:
    """Torch in this process, TensorFlow in another: a bundle whose tail gives the logits of its own head."""
    import os
    import subprocess

    from acclimate.edge.runtime.runtime import load_backbone
    from acclimate.edge.tail.forward import Forward

    code = (
        "import keras; from keras import layers as l; keras.utils.set_random_seed(0); i = keras.Input((16, 16, 3));"
        "x = l.Conv2D(6, 3, 2, activation='relu')(l.Rescaling(1 / 255)(i));"
        "x = l.Add(name='join')([x, l.Conv2D(6, 3, padding='same', activation='relu')(x)]);"
        "x = l.GlobalAveragePooling2D()(l.Conv2D(8, 3, 2, 'same', activation='gelu')(x));"
        f"keras.Model(i, l.Dense(4, activation='softmax')(x)).save({str(tmp_path / 'm.keras')!r})"
    )
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    raw = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3)).astype(np.uint8)
    out = tmp_path / "m.acc"
    report = convert_keras(tmp_path / "m.keras", raw, out=out, cut="join", runtimes=("onnx",), quantize=False)
    assert report.tail is not None
    assert "tensorflow" not in sys.modules
    with Bundle(out) as bundle:
        bundle.verify()
        tail, head, manifest = bundle.tail("onnx"), bundle.head("onnx"), bundle.manifest
        backbone = load_backbone(bundle.backbone("onnx"), "onnx", manifest.input, manifest.width, 1, (7, 7, 6))
    assert tail is not None
    assert head is not None
    latents, maps = backbone.embed_with_maps(raw)
    expected = latents @ head.weight.T + head.bias
    np.testing.assert_allclose(Forward(tail, 1).logits(maps, tail.parameters), expected, rtol=1e-3, atol=1e-4)
