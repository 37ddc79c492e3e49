"""A tail in LiteRT: the same numbers as in ONNX Runtime, for any batch and classes, and forged files are refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="acclimate[onnx] is not installed")
pytest.importorskip("ai_edge_litert", reason="acclimate[tflite] is not installed")

from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.edge.runtime.tflite_operators import NEEDED
from acclimate.edge.runtime.tflite_scan import refuse_unsound_model
from acclimate.edge.tail.forward import Forward
from acclimate.edge.tail.stepper import Stepper
from acclimate.errors import BackendError
from acclimate.tail_content import TailContent

Float32 = NDArray[np.float32]
CONV_2D, STRIDED_SLICE, BATCH_MATMUL, CUSTOM = 3, 45, 126, 32
INT64, RESOURCE = 4, 13


@pytest.fixture(scope="module")
def tails(tail_bundle: Path) -> tuple[TailContent, TailContent]:
    """The tail of the same network for ONNX Runtime and for LiteRT."""
    with Bundle(tail_bundle) as bundle:
        onnx, litert = bundle.tail("onnx"), bundle.tail("tflite")
    assert onnx is not None
    assert litert is not None
    return onnx, litert


@pytest.fixture(scope="module")
def litert(tails: tuple[TailContent, TailContent]) -> TailContent:
    """That for LiteRT."""
    return tails[1]


def start(content: TailContent, k: int) -> dict[str, Float32]:
    """Return parameters for k classes."""
    return {
        name: np.resize(values, (k, *values.shape[1:])) if name in content.spec.head else values
        for name, values in content.parameters.items()
    }


def losses(content: TailContent, k: int, n: int, steps: int) -> tuple[list[float], dict[str, Float32]]:
    """Train on random maps, and return the losses and the parameters."""
    draw = np.random.default_rng(0)
    stepper = Stepper(content, k, n, 1)
    stepper.begin(start(content, k))
    found = []
    for _ in range(steps):
        y = draw.integers(0, k, n)
        stepper.map[...] = draw.normal(size=stepper.map.shape) + y.reshape(-1, 1, 1, 1)
        stepper.target[...] = np.eye(k)[y]
        stepper.weight[...] = draw.uniform(0, 2, n)
        found.append(stepper.step(0.02, 0.02))
    return found, stepper.parameters


@pytest.mark.parametrize(("k", "n"), [(2, 32), (3, 1), (7, 5)])
def test_it_trains_as_in_onnx_runtime(tails: tuple[TailContent, TailContent], k: int, n: int) -> None:
    """A hundred steps from the shipped weights have the same losses, to 1e-4, and end at the same weights."""
    (expected, weights), (found, others) = (losses(tail, k, n, 100) for tail in tails)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    for name, values in weights.items():
        np.testing.assert_allclose(others[name], values, rtol=1e-3, atol=1e-4)


def test_logits_are_those_of_onnx_runtime(tails: tuple[TailContent, TailContent]) -> None:
    """One loaded model serves every batch and every number of classes in turn, from several threads."""
    draw = np.random.default_rng(1)
    onnx, litert = (Forward(tail, 1) for tail in tails)

    def check(n: int, k: int) -> float:
        maps, parameters = draw.normal(size=(n, *tails[0].spec.map)).astype(np.float32), start(tails[0], k)
        return float(np.abs(litert.logits(maps, parameters) - onnx.logits(maps, parameters)).max())

    assert max(check(n, k) for n in (1, 40, 3) for k in (2, 9)) < 1e-4
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(check, *zip(*[(n, k) for n in range(1, 9) for k in (2, 3)], strict=True))) < 1e-4


def test_rows_of_weight_zero_leave_no_trace(litert: TailContent) -> None:
    """They fill up a batch: the step is that of the others alone."""
    draw = np.random.default_rng(2)
    maps, target = draw.normal(size=(8, *litert.spec.map)), np.eye(3)[draw.integers(0, 3, 8)]
    ends = []
    for n in (5, 8):
        stepper = Stepper(litert, 3, n, 1)
        stepper.begin(litert.parameters)
        stepper.map[...], stepper.target[...] = maps[:n], target[:n]
        stepper.weight[...] = np.arange(n) < 5
        ends.append((stepper.step(0.1, 0.0), stepper.parameters))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-6)
    for name, values in ends[0][1].items():
        np.testing.assert_allclose(values, ends[1][1][name], atol=1e-6)


def test_a_size_that_fails_does_not_spoil_the_next(litert: TailContent) -> None:
    """Maps of another shape are refused, before and behind which the model goes on."""
    forward, draw = Forward(litert, 1), np.random.default_rng(3)
    maps = draw.normal(size=(4, *litert.spec.map)).astype(np.float32)
    first = forward.logits(maps, litert.parameters)
    with pytest.raises(BackendError, match="'map' has the shape"):
        forward.logits(maps[:, :-1], litert.parameters)
    odd = {**litert.parameters, litert.spec.weight or "": np.ones((2, 5), np.float32)}
    with pytest.raises(BackendError, match=r"'parameter/head\.weight' has the shape"):
        forward.logits(maps, odd)
    np.testing.assert_array_equal(forward.logits(maps, litert.parameters), first)


def test_values_that_are_none(litert: TailContent) -> None:
    """Infinite logits are refused; an infinite loss is told, as too high a rate gives one."""
    endless = {name: np.full_like(values, np.inf) for name, values in litert.parameters.items()}
    with pytest.raises(BackendError, match="NaN or infinity"):
        Forward(litert, 1).logits(np.ones((2, *litert.spec.map), np.float32), endless)
    stepper = Stepper(litert, 3, 2, 1)
    stepper.begin(endless)
    assert not np.isfinite(stepper.step(0.1, 0.1))


def altered(content: bytes, alter: Callable[[Any], object]) -> bytes:
    """Return a file after a change to its model."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    alter(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def first(model: Any, code: int) -> Any:
    """Return the first operator of a kind."""
    codes = [entry.builtinCode for entry in model.operatorCodes]
    return next(o for o in model.subgraphs[0].operators if codes[o.opcodeIndex] == code)


def named(model: Any, name: bytes) -> Any:
    """Return the tensor of a name."""
    return next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == name)


def leave_out(code: int, place: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        inputs = list(first(model, code).inputs)
        inputs[place] = -1
        first(model, code).inputs = inputs

    return alter


def take_fewer(model: Any) -> None:
    first(model, STRIDED_SLICE).inputs = list(first(model, STRIDED_SLICE).inputs)[:2]


def kind(code: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = code

    return alter


def type_of(name: bytes, code: int) -> Callable[[Any], None]:
    return lambda model: setattr(named(model, name), "type", code)


def rename(old: bytes, new: bytes) -> Callable[[Any], None]:
    return lambda model: setattr(named(model, old), "name", new)


def more_axes(model: Any) -> None:
    named(model, b"map").shape, named(model, b"map").shapeSignature = [1, 1, 16, 4, 4], [-1, 1, 16, 4, 4]


def swap_outputs(model: Any) -> None:
    one, two = named(model, b"new_parameter/head.weight"), named(model, b"new_parameter/head.bias")
    one.name, two.name = two.name, one.name


@pytest.mark.parametrize(
    "alter",
    [
        leave_out(STRIDED_SLICE, 3),
        leave_out(BATCH_MATMUL, 1),
        take_fewer,
        kind(CUSTOM),
        kind(CONV_2D),
        type_of(b"loss", RESOURCE),
        type_of(b"loss", INT64),
        rename(b"map", b"maps"),
        rename(b"loss", b"\xff"),
        rename(b"momentum", b"learning_rate"),
        more_axes,
        swap_outputs,
    ],
)
def test_a_forged_step_is_refused(litert: TailContent, alter: Callable[[Any], None]) -> None:
    """Operators without what they need, of other kinds, on handles; other names and shapes than the spec's."""
    content = replace(litert, step=altered(litert.step, alter))
    with pytest.raises(BackendError):
        losses(content, 3, 4, 1)


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (take_fewer, "fewer tensors than it needs"),
        (leave_out(STRIDED_SLICE, 3), "nothing has made"),
        (kind(CUSTOM), "code outside of the graph"),
        (kind(CONV_2D), "none of those that such files have"),
        (type_of(b"loss", RESOURCE), "of type 13"),
        (type_of(b"loss", INT64), "of type 4"),
    ],
)
def test_the_runtime_does_not_see_what_would_end_the_process(
    litert: TailContent, alter: Callable[[Any], None], match: str
) -> None:
    """The scan in front of it refuses such a file, which as it was it does not."""
    refuse_unsound_model(litert.step, NEEDED)
    with pytest.raises(BackendError, match=match):
        refuse_unsound_model(altered(litert.step, alter), NEEDED)


@pytest.mark.parametrize("forge", [lambda t, o: t.forward, lambda t, o: o.step, lambda t, o: t.step[:-200], bytes])
def test_another_file_is_refused(tails: tuple[TailContent, TailContent], forge: Callable[..., bytes]) -> None:
    """Another model, one for the other runtime, half of one, and none."""
    onnx, litert = tails
    content = b"" if forge is bytes else forge(litert, onnx)
    with pytest.raises(BackendError):
        Stepper(replace(litert, step=content), 3, 4, 1)


def test_operators_are_those_that_the_runtime_has(litert: TailContent) -> None:
    """The checked-in tail has built-in operators alone, and only those that the scan lists under their numbers."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    from acclimate.edge.runtime import tflite_operators

    listed = tflite_operators._ONE | tflite_operators._TWO
    listed |= {name: code for name, (code, _) in tflite_operators._MORE.items()}
    assert {name: getattr(BuiltinOperator, name) for name in listed} == listed
    for content in (litert.forward, litert.step):
        model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
        assert {code.builtinCode for code in model.operatorCodes} <= set(NEEDED)
        assert all(code.customCode is None for code in model.operatorCodes)
