"""A compiled tail as TFLite: LiteRT trains as ONNX Runtime does, whatever the layers, the batch and the classes."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("ai_edge_litert", reason="acclimate[convert-tflite] is not installed")

import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from acclimate.converters import tail_tflite
from acclimate.converters.quantization.tflite_graph import read_model
from acclimate.converters.tail_tflite import TfliteTail, as_tflite
from acclimate.converters.training import CompiledTail, compile_training
from acclimate.converters.training.tflite_emit import emit_tflite
from acclimate.converters.training.tflite_ops import EMITTERS
from acclimate.edge.runtime.tflite_operators import NEEDED
from acclimate.edge.tail.forward import Forward
from acclimate.edge.tail.stepper import Stepper
from acclimate.errors import ConversionError
from acclimate.map_code import MapCode
from acclimate.tail_content import TailContent

from .training_parity import randomise

Float32 = NDArray[np.float32]
Run = tuple[list[float], dict[str, Float32]]
K = 4


class Residual(nn.Module):
    """Layers around which their input goes, then a mean over positions and a head."""

    def __init__(self, layers: nn.Module, width: int, behind: nn.Module) -> None:
        super().__init__()
        self.layers, self.behind, self.head = layers, behind, nn.Linear(width, K)

    def forward(self, x: Tensor) -> Tensor:
        y = self.behind(self.layers(x) + x)
        return self.head(y.mean((2, 3)) if y.dim() == 4 else y.mean(1))  # type: ignore[no-any-return]


def inverted_residual() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(6, 24, 1, bias=False), nn.BatchNorm2d(24), nn.Hardswish()]
    layers += [nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6()]
    return Residual(nn.Sequential(*layers, nn.Conv2d(24, 6, 1), nn.BatchNorm2d(6)), 6, nn.Identity())


def basic_block() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
    return Residual(nn.Sequential(*layers, nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)), 6, nn.ReLU())


def attention() -> nn.Module:
    block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
    return Residual(block, 16, nn.Identity())


def others() -> nn.Module:
    """Strides, groups, both poolings, and activations that TFLite lacks."""
    layers: list[nn.Module] = [nn.Conv2d(6, 8, 3, 2, 1), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 1, groups=2)]
    layers += [nn.SiLU(), nn.AvgPool2d(2), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, K))


TAILS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(16, K)), (16,), "0"),
    "perceptron": (lambda: nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, K)), (16,), "2"),
    "inverted residual": (inverted_residual, (6, 7, 7), "head"),
    "basic block": (basic_block, (6, 7, 7), "head"),
    "attention": (attention, (9, 16), "head"),
    "others": (others, (6, 13, 13), "9"),
}
CASES = [(name, "sgd", "l2sp") for name in TAILS]
CASES += [(name, "adam", "ewc") for name in ("perceptron", "inverted residual", "basic block")]
CASES += [("perceptron", "sgd", "none"), ("linear", "adam", "none")]


@cache
def compiled(name: str, optimiser: Any = "sgd", penalty: Any = "l2sp") -> tuple[CompiledTail, Float32]:
    """Compile one of the tails, for any number of classes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make, shape, head = TAILS[name]
    maps = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    options = {"head": (f"{head}.weight", f"{head}.bias"), "optimiser": optimiser, "penalty": penalty}
    return compile_training(randomise(make()), maps, **options), maps.numpy()


def content(tail: CompiledTail, models: CompiledTail | TfliteTail) -> TailContent:
    """Return a tail as a device has it; the code of its maps plays no part."""
    code = MapCode(np.ones(1, np.float32), np.zeros(1, np.float32), (1,), 1)
    runtime: Any = "tflite" if isinstance(models, TfliteTail) else "onnx"
    return TailContent(models.forward, models.step, tail.spec, tail.initial, None, code, runtime)


def train(tail: TailContent, steps: int, k: int = K, n: int = 16) -> Run:
    """Train on random maps that the classes shift."""
    draw = np.random.default_rng(0)
    first = {
        name: np.resize(v, (k, *v.shape[1:])) if name in tail.spec.head else v for name, v in tail.parameters.items()
    }
    stepper = Stepper(tail, k, n, 1)
    stepper.begin(first, {name: draw.uniform(0, 2, v.shape).astype(np.float32) for name, v in first.items()})
    losses = []
    # At twice the rate one rectifier decides otherwise after 55 steps, as it does in ONNX Runtime with rows in another
    # order.
    for _ in range(steps):
        y = draw.integers(0, k, n)
        shift = y.reshape(-1, *[1] * len(tail.spec.map))
        stepper.map[...] = draw.normal(size=stepper.map.shape) + 0.3 * shift
        stepper.target[...] = np.eye(k)[y]
        stepper.weight[...] = draw.uniform(0.2, 2, n)
        losses.append(stepper.step(0.01 if tail.spec.optimiser == "sgd" else 0.002, 0.1))
    return losses, {name: values.copy() for name, values in stepper.parameters.items()}


@pytest.mark.parametrize(("name", "optimiser", "penalty"), CASES)
def test_a_hundred_steps_are_those_of_onnx_runtime(name: str, optimiser: str, penalty: str) -> None:
    """The losses agree to 1e-4 all the way, and those of the tail fall; built-in operators of the list alone do it."""
    tail, maps = compiled(name, optimiser, penalty)
    found = as_tflite(tail, maps)
    assert isinstance(found, TfliteTail), found
    expected, losses = (train(content(tail, models), 100)[0] for models in (tail, found))
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    for model in (found.forward, found.step):
        parts = read_model(model)
        assert {code.builtinCode for code in parts.operatorCodes} <= set(NEEDED) - {schema.BuiltinOperator.CUSTOM}
        assert all(code.customCode is None for code in parts.operatorCodes)
        assert len(parts.subgraphs) == 1


@pytest.mark.parametrize("name", TAILS)
def test_any_batch_and_any_classes(name: str) -> None:
    """One pair of files takes every size: logits and ten steps are those of ONNX Runtime."""
    tail, maps = compiled(name)
    found = as_tflite(tail, maps)
    assert isinstance(found, TfliteTail), found
    draw = np.random.default_rng(3)
    for n, k in ((1, 2), (5, K), (33, 9)):
        (expected, weights), (losses, others) = (train(content(tail, m), 10, k, n) for m in (tail, found))
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)
        some = draw.normal(size=(n, *tail.spec.map)).astype(np.float32)
        logits = [Forward(content(tail, models), 1).logits(some, weights) for models in (tail, found)]
        np.testing.assert_allclose(logits[1], logits[0], rtol=1e-4, atol=1e-4)
        for one, values in weights.items():
            np.testing.assert_allclose(others[one], values, rtol=1e-3, atol=1e-4)


def test_writing_is_deterministic() -> None:
    """Equal models give equal bytes."""
    tail, _ = compiled("inverted residual")
    assert emit_tflite(tail.step, "step") == emit_tflite(tail.step, "step")


def one_node(kind: str, shape: list[int | str], given: list[onnx.TensorProto], **attributes: Any) -> bytes:
    """Return an ONNX model of one operator on `map`."""
    inputs = [helper.make_tensor_value_info("map", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    node = helper.make_node(kind, ["map", *(tensor.name for tensor in given)], ["logits"], **attributes)
    return bytes(helper.make_model(helper.make_graph([node], "one", inputs, outputs, given)).SerializeToString())


def integers(name: str, *numbers: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (one_node("Det", ["n", 3, 3], []), "operations that TFLite has, found 'Det'"),
        (one_node("Reshape", ["n", 2, "k"], [integers("shape", 0, -1)]), "where they are"),
        (
            one_node("Slice", ["n", 4], [integers("from", 1), integers("to", 3), integers("axes", 0)]),
            "parts of known axes",
        ),
        (one_node("Gather", ["n", 4], [integers("at", 0, 2)], axis=1), "one entry of an axis"),
    ],
)
def test_what_has_no_form_is_refused(model: bytes, match: str) -> None:
    """An operator that there is none of, axes that are free and move, parts of the batch: with the reason."""
    with pytest.raises(ConversionError, match=match):
        emit_tflite(model, "one")


def test_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail without a form, one that computes something else, and a runtime that is not there give words."""
    tail, maps = compiled("perceptron")
    odd = replace(tail, forward=one_node("Det", ["n", 3, 3], []))
    assert "found 'Det'" in str(as_tflite(odd, maps))
    with monkeypatch.context() as patched:
        patched.setitem(EMITTERS, "Neg", lambda writer, _, x: x)
        assert "LiteRT computes something else" in str(as_tflite(tail, maps))
    with monkeypatch.context() as patched:
        patched.setattr(tail_tflite, "find_spec", lambda _: None)
        assert "not installed" in str(as_tflite(tail, maps))
