"""Backbones in ONNX Runtime: what it would take and we do not, and what it says when it fails."""

import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge.runtime.onnx_scan import refuse_external_data
from acclimate.edge.runtime.runtime import Embedder, load_backbone
from acclimate.errors import BackendError
from acclimate.manifest import InputSpec

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SPEC = InputSpec((2, 3), "uint8", (0, 255), ("time", "channel"))
FRAMES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def load(content: bytes, spec: InputSpec = SPEC) -> Embedder:
    """Load a backbone of 2 x 3 frames and width 6."""
    return load_backbone(content, "onnx", spec, 6, 1)


def identity(write: ModuleType, *nodes: bytes, outputs: Any = None, inputs: Any = None, constants: Any = ()) -> bytes:
    """Return a model that turns frames into floats and goes on with more nodes."""
    cast = write.node("Cast", ["input"], ["f"], write.attribute("to", 3, write.FLOAT, 2))
    ends = [write.value("input", ["n", 2, 3], write.UINT8)], [write.value("latent", ["n", 6])]
    graph = write.graph([cast, *nodes], inputs or ends[0], outputs or ends[1], *constants)
    return bytes(write.model(graph))


def test_a_backbone_by_hand_runs(onnx_by_hand: ModuleType) -> None:
    """The files of these tests are sound until something is done to them."""
    found = load(onnx_by_hand.backbone(divide=2.0)).embed(FRAMES)
    np.testing.assert_array_equal(found, FRAMES.reshape(2, 6).astype(np.float32) / 2)


def test_ids_go_in_as_they_are(onnx_by_hand: ModuleType) -> None:
    """A backbone of int32 serves a bundle of int32, and no other; nor does one of bytes serve ids."""
    o, spec = onnx_by_hand, InputSpec((2, 3), "int32", (0, 2**31 - 1), ("time", "channel"))
    flat, ends = o.node("Flatten", ["f"], ["latent"]), [o.value("input", ["n", 2, 3], 6)]
    content = identity(o, flat, inputs=ends)
    ids = np.arange(12, dtype=np.int32).reshape(2, 2, 3) * 1_000_000
    np.testing.assert_array_equal(load(content, spec).embed(ids), ids.reshape(2, 6).astype(np.float32))
    with pytest.raises(BackendError, match=r"expected a backbone from \(n, 2, 3\) uint8"):
        load(content)
    with pytest.raises(BackendError, match=r"expected a backbone from \(n, 2, 3\) int32"):
        load(o.backbone(), spec)


def test_a_fixed_batch_is_refused(onnx_by_hand: ModuleType) -> None:
    """A backbone that takes one frame at a time, and no other number, is told when it is opened."""
    for batch in (1, 4):
        with pytest.raises(
            BackendError, match=r"expected a backbone from \(n, 2, 3\) uint8 to \(n, 6\) float32, found"
        ):
            load(onnx_by_hand.backbone(batch=batch))


def test_other_ends_are_refused(onnx_by_hand: ModuleType) -> None:
    """Two inputs, two outputs, another type."""
    o = onnx_by_hand
    flat = o.node("Flatten", ["f"], ["latent"])
    again = o.node("Identity", ["latent"], ["more"])
    whole = o.node("Cast", ["latent"], ["whole"], o.attribute("to", 3, o.INT64, 2))
    inputs = [o.value("input", ["n", 2, 3], o.UINT8), o.value("other", ["n"], o.UINT8)]
    wrong = [
        identity(o, flat, inputs=inputs),
        identity(o, flat, again, outputs=[o.value("latent", ["n", 6]), o.value("more", ["n", 6])]),
        identity(o, flat, whole, outputs=[o.value("whole", ["n", 6], o.INT64)]),
    ]
    for content in wrong:
        with pytest.raises(BackendError, match=r"expected a backbone from .*, found \[.*Convert the model again"):
            load(content)


def test_operators_that_nobody_has(onnx_by_hand: ModuleType) -> None:
    """A custom operator, and an operator set of the future: the message says what ONNX Runtime says, and what to do."""
    o = onnx_by_hand
    custom = o.node("Secret", ["f"], ["latent"], domain="com.example")
    future = o.node("NoSuchOperator", ["f"], ["latent"])
    for content in (identity(o, custom), identity(o, future)):
        with pytest.raises(BackendError, match=r"cannot load the backbone: .*Install a newer onnxruntime, or convert"):
            load(content)


def test_external_data_is_refused_before_it_is_read(onnx_by_hand: ModuleType) -> None:
    """The scan stands in front of the runtime."""
    o = onnx_by_hand
    content = identity(
        o, o.node("Add", ["f", "w"], ["latent"]), constants=[o.external_tensor("w", [2, 3], "/etc/passwd")]
    )
    with pytest.raises(BackendError, match="found one that names an external file"):
        load(content)


def test_its_own_format_is_refused(onnx_by_hand: ModuleType, tmp_path: Path) -> None:
    """ONNX Runtime also reads a format of its own, which nobody scans; not even under cover of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.log_severity_level = 4
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(onnx_by_hand.backbone(), options, providers=["CPUExecutionProvider"])
    own = (tmp_path / "m.ort").read_bytes()
    # As a protocol buffer the place of its root is field 1 and the head of field 2, its name field 2, the rest field 3.
    root = bytes([0x08, 7, 0x12, 4])
    moved = struct.unpack("<I", root)[0] - struct.unpack_from("<I", own)[0]
    field_3 = bytes([3 << 3 | 2]) + onnx_by_hand.varint(moved + len(own) - 8 - 5)
    hidden = root + own[4:8] + field_3 + bytes(moved - len(field_3)) + own[8:]
    refuse_external_data(hidden)
    for content in (own, hidden):
        with pytest.raises(BackendError, match=r"expected an ONNX file|cannot load the backbone: .*(protobuf|graph)"):
            load(content)


def test_values_that_are_none(onnx_by_hand: ModuleType) -> None:
    """A backbone that divides by zero gives an error that names the frame, not a latent."""
    embedder = load(onnx_by_hand.backbone(divide=0.0))
    with pytest.raises(BackendError, match=r"gives NaN or infinity for frame 0 of 2\. Look at that frame"):
        embedder.embed(FRAMES)


def test_a_failing_run_is_explained(onnx_by_hand: ModuleType) -> None:
    """What goes wrong at run time becomes an error of ours, and the next call works."""
    o = onnx_by_hand
    two_frames_only = o.tensor("shape", [2], struct.pack("<2q", 2, 6), o.INT64)
    embedder = load(identity(o, o.node("Reshape", ["f", "shape"], ["latent"]), constants=[two_frames_only]))
    with pytest.raises(BackendError, match=r"onnxruntime .* failed on \(1, 2, 3\) uint8: .*Convert the model again"):
        embedder.embed(FRAMES[:1])
    np.testing.assert_array_equal(embedder.embed(FRAMES), FRAMES.reshape(2, 6).astype(np.float32))
