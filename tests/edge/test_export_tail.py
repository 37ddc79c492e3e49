"""A trained tail behind a backbone gives what the two give one after the other, or the two are not joined."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acclimate.edge.export.tail_onnx import export_tail
from acclimate.edge.tail.forward import Forward
from acclimate.errors import BackendError
from acclimate.map_code import MapCode

from ..fixtures.onnx_by_hand import FLOAT, INT64, UINT8, attribute, field, graph, model, node, tensor, value
from .tail_by_hand import SHAPE, SIZE, by_hand, forward_model

onnxruntime = pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
FRAMES = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)
# Pixels lie on both sides of what it can hold, in each channel another way.
CODE = MapCode(np.array([0.2, 0.3], np.float32), np.array([90, 120], np.float32), SHAPE, 1)
_GIVEN = by_hand(3)
# Pixels are large, and logits should not be.
TAIL = replace(_GIVEN, code=CODE, parameters={name: v * np.float32(0.05) for name, v in _GIVEN.parameters.items()})


def backbone(*, output: str = "map", opset: int = 18, inside: str = "f") -> bytes:
    """Return a backbone whose latents and maps are the pixels."""
    nodes = [
        node("Cast", ["input"], [inside], attribute("to", 3, FLOAT, 2)),
        node("Reshape", [inside, "shape"], ["latent"]),
        node("Identity", [inside], [output]),
    ]
    shape = tensor("shape", [2], struct.pack("<2q", -1, SIZE), INT64)
    outputs = [value("latent", ["n", SIZE]), value(output, ["n", *SHAPE])]
    return model(graph(nodes, [value("input", ["n", *SHAPE], UINT8)], outputs, shape), opset=opset)


def run(content: bytes, logits: str = "logits") -> Any:
    """Run an exported file with nothing of ours."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", logits], {"input": FRAMES})


def expected() -> np.ndarray:
    """Return the probabilities of the rows, from the tail alone."""
    logits = Forward(TAIL, 1).logits(CODE.clip(FRAMES.astype(np.float32)), TAIL.parameters)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("inside", ["f", "tail/graph/flat", "logits", "tail/low!"])
@pytest.mark.parametrize("opset", [18, 20])
def test_maps_are_brought_into_range_and_names_do_not_clash(inside: str, opset: int) -> None:
    """Each channel into its own range, whatever the backbone calls its tensors and whatever operators it uses."""
    content = export_tail(backbone(inside=inside, opset=opset), TAIL, TAIL.parameters, ["a", "b", "c"])
    found, logits = run(content, "logits_" if inside == "logits" else "logits")
    assert np.allclose(found, expected(), atol=1e-5)
    assert np.allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), found, atol=1e-5)


def test_rows_of_one_class_add_up() -> None:
    """A class of two rows has the sum of their probabilities."""
    found, _ = run(export_tail(backbone(), TAIL, TAIL.parameters, ["a", "b"], np.array([0, 1, 0])))
    whole = expected()
    assert np.allclose(found, np.stack([whole[:, 0] + whole[:, 2], whole[:, 1]], 1), atol=1e-5)


def looped() -> bytes:
    branch = field(1, "body") + field(6, graph([], [], [])) + field(20, 5)
    return model(graph([node("Loop", ["map"], ["logits"], branch)], [], []), opset=18)


@pytest.mark.parametrize(
    ("before", "tail", "match"),
    [
        (backbone(output="other"), None, "belongs once"),
        (backbone(opset=17), None, "operators of version 18"),
        (backbone(opset=30), None, "found version 30"),
        (backbone(), forward_model(opset=17), "operators of version 17"),
        (backbone(), looped(), "branches or loops"),
        (backbone(), forward_model() + field(25, b""), "functions"),
        (backbone(), b"PK\x03\x04", "expected an ONNX"),
    ],
)
def test_what_cannot_be_joined_is_refused(before: bytes, tail: bytes | None, match: str) -> None:
    """Without maps, with operators that may mean something else, or with parts that cannot be renamed."""
    content = TAIL if tail is None else replace(TAIL, forward=tail)
    with pytest.raises(BackendError, match=match):
        export_tail(before, content, TAIL.parameters, ["a", "b", "c"])
