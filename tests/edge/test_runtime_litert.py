"""Backbones in LiteRT: batches that fail half-way, values that are none, names that are no text."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge.runtime.runtime import Embedder, load_backbone
from acclimate.errors import BackendError
from acclimate.manifest import InputSpec

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")

FLOAT32, INT32, UINT8 = 0, 2, 3
CAST, RESHAPE, DIV = 53, 22, 42
SPEC = InputSpec((2, 3), "uint8", (0, 255), ("time", "channel"))
FRAMES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def flatten(rows: int, divide: float = 1.0, name: bytes = b"input") -> bytes:
    """Return a backbone that flattens frames ``(n, 2, 3) uint8`` to so many rows (-1: any) and divides by a number."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    def tensor(shape: list[int], kind: int, buffer: int = 0) -> Any:
        made = schema.TensorT()
        made.shape, made.type, made.buffer = np.array(shape, np.int32), kind, buffer
        return made

    def buffer(values: Any) -> Any:
        made = schema.BufferT()
        made.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
        return made

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.operatorCodes, model.subgraphs = 3, [], [graph]
    model.buffers = [buffer(v) for v in (None, np.array([rows, 6], np.int32), np.array([divide], np.float32))]
    graph.tensors = [
        tensor([1, 2, 3], UINT8),
        tensor([1, 2, 3], FLOAT32),
        tensor([2], INT32, 1),
        tensor([1, 6], FLOAT32),
        tensor([1], FLOAT32, 2),
        tensor([1, 6], FLOAT32),
    ]
    graph.tensors[0].name = name
    graph.inputs, graph.outputs, graph.operators = [0], [5], []
    for kind, takes, gives in ((CAST, [0], [1]), (RESHAPE, [1, 2], [3]), (DIV, [3, 4], [5])):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), takes, gives
        if kind == DIV:
            operator.builtinOptionsType, operator.builtinOptions = (
                schema.BuiltinOptions.DivOptions,
                schema.DivOptionsT(),
            )
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def load(content: bytes) -> Embedder:
    """Load a backbone of 2 x 3 frames and width 6."""
    return load_backbone(content, "tflite", SPEC, 6, 1)


def test_a_backbone_by_hand_runs() -> None:
    """The files of these tests are sound until something is done to them."""
    found = load(flatten(-1, divide=2)).embed(FRAMES)
    np.testing.assert_array_equal(found, FRAMES.reshape(2, 6).astype(np.float32) / 2)


def test_a_failed_batch_does_not_spoil_the_next() -> None:
    """A backbone that takes one frame at a time says so when given two, and still takes one after that."""
    embedder = load(flatten(1))
    for _ in range(2):
        np.testing.assert_array_equal(embedder.embed(FRAMES[:1]), FRAMES[:1].reshape(1, 6).astype(np.float32))
        with pytest.raises(
            BackendError, match=r"ai_edge_litert .* failed on \(2, 2, 3\) uint8: .*Convert the model again"
        ):
            embedder.embed(FRAMES)


def test_rows_that_are_not_the_frames() -> None:
    """A backbone whose output has another number of rows than there are frames is not believed."""
    with pytest.raises(
        BackendError, match=r"expected latents \(2, 6\) float32, found that .* gives \(1, 6\)|failed on"
    ):
        load(flatten(1)).embed(FRAMES)


def test_values_that_are_none() -> None:
    """A backbone that divides by zero gives an error that names the frame, not a latent."""
    with pytest.raises(BackendError, match="gives NaN or infinity for frame 0 of 2"):
        load(flatten(-1, divide=0)).embed(FRAMES)


def test_names_that_are_no_text() -> None:
    """LiteRT cannot decode them and raises something of Python's; it becomes an error of ours."""
    with pytest.raises(
        BackendError, match=r"ai_edge_litert .* cannot load the backbone: .*utf-8.*convert the model again"
    ):
        load(flatten(-1, name=b"\xff\xfe"))


def test_a_nightly_build_has_no_version_of_its_own_name(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime is described all the same."""

    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("acclimate.edge.runtime.litert.version", unknown)
    with Bundle(tiny_bundle) as bundle:
        embedder = load_backbone(bundle.backbone("tflite"), "tflite", bundle.manifest.input, bundle.manifest.width, 1)
    assert embedder.description == "ai_edge_litert of unknown version"
