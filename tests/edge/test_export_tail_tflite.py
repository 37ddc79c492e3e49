"""A trained tail behind a backbone as one TFLite file gives what the two give one after the other, or is refused."""

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.edge.export.tail_tflite import _clipped, export_tail_tflite
from acclimate.edge.export.tflite_graph import OpenModel
from acclimate.edge.runtime.runtime import Embedder, installed, load_backbone
from acclimate.edge.runtime.tflite_scan import refuse_unsound_model
from acclimate.edge.tail.forward import Forward
from acclimate.errors import BackendError, InputError
from acclimate.map_code import MapCode
from acclimate.tail_content import TailContent

Float32 = NDArray[np.float32]
RUNTIME = installed("tflite")
WIDTH, ADD, RELU = 52, 0, 19
pytestmark = pytest.mark.skipif(RUNTIME is None, reason="no TFLite runtime is installed")


@pytest.fixture(scope="module")
def backbone(tail_bundle: Path) -> bytes:
    with Bundle(tail_bundle) as bundle:
        return bundle.backbone("tflite")


@pytest.fixture(scope="module")
def embedder(tail_bundle: Path, backbone: bytes) -> Embedder:
    with Bundle(tail_bundle) as bundle:
        return load_backbone(backbone, "tflite", bundle.manifest.input, WIDTH, 1, (16, 4, 4))


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Noise of every contrast: many maps leave the range of the code below."""
    draw = np.random.default_rng(0)
    return (draw.random((300, 8, 8, 1)) * draw.random((300, 1, 1, 1)) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tail(tail_bundle: Path, embedder: Embedder, frames: NDArray[np.uint8]) -> TailContent:
    """The tail, with a code that much of the maps are clipped by, in each channel another way."""
    with Bundle(tail_bundle) as bundle:
        content = bundle.tail("tflite")
    assert content is not None
    maps = embedder.embed_with_maps(frames)[1]
    low, high = (np.quantile(maps, share, axis=(0, 2, 3)).astype(np.float32) for share in (0.1, 0.8))
    return replace(content, code=MapCode(np.maximum(high - low, 1e-2) / np.float32(255), low, (16, 4, 4), 1))


def trained(tail: TailContent, k: int) -> dict[str, Float32]:
    """Return parameters for k classes, as far from the shipped ones as training may bring them."""
    draw = np.random.default_rng(k)
    shapes = {n: (k, *v.shape[1:]) if n in tail.spec.head else v.shape for n, v in tail.parameters.items()}
    return {
        n: (np.resize(tail.parameters[n], shape) + draw.normal(0, 0.1, shape)).astype(np.float32)
        for n, shape in shapes.items()
    }


def names(k: int) -> list[str]:
    return [f"class {i}" for i in range(k)]


def interpreter(content: bytes) -> Any:
    return import_module(f"{RUNTIME}.interpreter").Interpreter(model_content=content, num_threads=1)


def run(content: bytes, *batches: NDArray[np.uint8]) -> list[Float32]:
    """Run a file on batches in turn, with nothing of ours."""
    runner = interpreter(content).get_signature_runner()
    return [runner(input=batch)["probabilities"] for batch in batches]


def rows(embedder: Embedder, tail: TailContent, frames: NDArray[np.uint8], parameters: dict[str, Float32]) -> Float32:
    """Return the probabilities of the rows, from backbone and tail one after the other."""
    maps = tail.code.clip(embedder.embed_with_maps(frames)[1])
    logits = Forward(tail, 1).logits(maps, parameters)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Float32 = powers / powers.sum(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("k", [1, 3, 40])
def test_it_computes_what_the_parts_do(
    backbone: bytes, embedder: Embedder, tail: TailContent, frames: NDArray[np.uint8], k: int
) -> None:
    """One file, batches of 300, 1 and 8 in turn, with the shipped number of classes and others: within 1e-5."""
    parameters = trained(tail, k)
    expected = rows(embedder, tail, frames, parameters)
    content = export_tail_tflite(backbone, WIDTH, tail, parameters, names(k))
    for found in run(content, frames, frames[:1], frames[:8]):
        np.testing.assert_allclose(found, expected[: len(found)], atol=1e-5)
        np.testing.assert_array_equal(found.argmax(axis=1), expected[: len(found)].argmax(axis=1))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == names(k)


def test_maps_are_brought_into_range(
    backbone: bytes, embedder: Embedder, tail: TailContent, frames: NDArray[np.uint8]
) -> None:
    """Without it the file would give something else for these frames."""
    parameters = trained(tail, 3)
    wide = replace(tail, code=MapCode(np.full(16, 1e6, np.float32), np.full(16, -1e8, np.float32), (16, 4, 4), 1))
    apart = rows(embedder, wide, frames, parameters) - rows(embedder, tail, frames, parameters)
    assert np.abs(apart).max() > 0.1
    (found,) = run(export_tail_tflite(backbone, WIDTH, wide, parameters, names(3)), frames)
    np.testing.assert_allclose(found, rows(embedder, wide, frames, parameters), atol=1e-5)


def test_rows_of_one_class_add_up(
    backbone: bytes, embedder: Embedder, tail: TailContent, frames: NDArray[np.uint8]
) -> None:
    """A class of two rows has the sum of their probabilities."""
    parameters = trained(tail, 3)
    content = export_tail_tflite(backbone, WIDTH, tail, parameters, names(2), np.array([0, 1, 0]))
    whole = rows(embedder, tail, frames, parameters)
    (found,) = run(content, frames)
    np.testing.assert_allclose(found, np.stack([whole[:, 0] + whole[:, 2], whole[:, 1]], 1), atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((16, 2, 2, 4), 1), ((2, 8, 4, 4), 4), ((4, 2, 2, 4, 4), 3)])
def test_maps_of_many_axes_are_brought_into_range(
    backbone: bytes, embedder: Embedder, frames: NDArray[np.uint8], shape: tuple[int, ...], axis: int
) -> None:
    """Of more axes than LiteRT compares: each channel into its own range all the same."""
    maps = embedder.embed_with_maps(frames)[1].reshape(-1, *shape)
    draw, c = np.random.default_rng(0), shape[axis - 1]
    scale, offset = draw.uniform(1e-4, 1e-3, c).astype(np.float32), draw.normal(0, 0.1, c).astype(np.float32)
    code = MapCode(scale, offset, shape, axis)
    model = OpenModel(backbone, WIDTH)
    assert model.map is not None
    clipped = _clipped(model, model.reshaped("other", model.map, shape), code)
    content = model.write(model.reshaped("flat", clipped, (256,)), "probabilities")
    (found,) = run(content, frames)
    np.testing.assert_allclose(found.reshape(maps.shape), code.clip(maps), atol=1e-6)


def test_the_file_is_one_that_others_can_read(backbone: bytes, tail: TailContent, frames: NDArray[np.uint8]) -> None:
    """Equal models are equal files, with both parts at multiples of 64; it is allocated for one frame, and sound."""
    one, other = (export_tail_tflite(backbone, WIDTH, tail, trained(tail, 4), names(4)) for _ in range(2))
    assert one == other
    assert one.index(backbone) % 64 == one.index(tail.forward) % 64 == 0
    refuse_unsound_model(one)
    model = interpreter(one)
    (details,) = model.get_output_details()
    assert (list(details["shape"]), list(details["shape_signature"])) == ([1, 4], [-1, 4])
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert, which has the reader, is missing")
    from ai_edge_litert.tools import flatbuffer_utils

    read = flatbuffer_utils.convert_bytearray_to_object(bytearray(one))
    again = bytes(flatbuffer_utils.convert_object_to_bytearray(read))
    np.testing.assert_array_equal(run(again, frames)[0], run(one, frames)[0])


def test_what_does_not_belong_together_is_refused(
    backbone: bytes, tail: TailContent, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backbone without maps, other maps, missing parameters, of other shapes, a file too large, odd names."""
    with Bundle(tiny_bundle) as bundle:
        plain = bundle.backbone("tflite")
    three, other = trained(tail, 3), replace(tail, code=replace(tail.code, shape=(16, 2, 8)))
    cases: list[tuple[bytes, TailContent, dict[str, Float32], str]] = [
        (plain, tail, three, "found maps of shape None"),
        (backbone, other, three, r"found maps of shape \(16, 4, 4\)"),
        (backbone, tail, {n: v for n, v in three.items() if n != "head.bias"}, r"found inputs \['map'"),
        (backbone, tail, {**three, "head.weight": three["head.weight"][:, 1:]}, r"found 'parameter/head.weight' of"),
        (backbone, tail, {**three, "head.bias": three["head.bias"][None]}, r"found 'parameter/head.bias' of shape"),
        (backbone, replace(tail, forward=backbone), three, "none of those that such files have"),
        (backbone, replace(tail, forward=tail.step), three, r"found \d+ outputs"),
        (backbone, replace(tail, forward=b"PK\x03\x04"), three, "does not begin as one"),
        (backbone[:-300], tail, three, "expected"),
    ]
    for before, content, parameters, match in cases:
        with pytest.raises(BackendError, match=rf"{match}.*onvert the model again"):
            export_tail_tflite(before, WIDTH, content, parameters, names(3))
    with pytest.raises(InputError, match="printable"):
        export_tail_tflite(backbone, WIDTH, tail, three, ["a", "b\nc", "d"])
    monkeypatch.setattr("acclimate.edge.export.flatbuffer_writer.MAX_BYTES", len(backbone))
    with pytest.raises(BackendError, match=r"below 2 GiB, found [\d,]+ bytes"):
        export_tail_tflite(backbone, WIDTH, tail, three, names(3))


def sparse(model: Any) -> None:
    from ai_edge_litert.schema_py_generated import SparsityParametersT

    model.subgraphs[0].tensors[5].sparsity = SparsityParametersT()


def variable(model: Any) -> None:
    model.subgraphs[0].tensors[5].isVariable = True


def no_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[6].buffer = 99


def fixed_batch(model: Any) -> None:
    model.subgraphs[0].tensors[0].shapeSignature = None


def another_name(model: Any) -> None:
    model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].name = b"loss"


def twice(model: Any) -> None:
    model.subgraphs[0].tensors[4].name = b"parameter/head.weight"


def no_text(model: Any) -> None:
    model.subgraphs[0].tensors[6].name = b"\xff"


def an_input(model: Any) -> None:
    model.subgraphs[0].outputs = [3]


def more_axes(model: Any) -> None:
    model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].shape = [1, 1, 1]


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (sparse, "sparse"),
        (variable, "keeps a state"),
        (no_buffer, "a tensor without its buffer"),
        (fixed_batch, r"'map' of shape \(1, 16, 4, 4\)"),
        (another_name, "no output 'logits'"),
        (twice, "found inputs"),
        (no_text, "can't decode"),
        (an_input, "no output 'logits'"),
        (more_axes, "no output 'logits' of two axes"),
    ],
)
def test_a_forged_tail_is_refused(backbone: bytes, tail: TailContent, alter: Callable[[Any], None], match: str) -> None:
    """What cannot be moved, and what takes or gives something else than its spec says."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert, which writes the files of this test, is missing")
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(tail.forward))
    export_tail_tflite(backbone, WIDTH, tail, trained(tail, 3), names(3))
    alter(model)
    forged = replace(tail, forward=bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    with pytest.raises(BackendError, match=match):
        export_tail_tflite(backbone, WIDTH, forged, trained(tail, 3), names(3))


@settings(max_examples=300)
@given(st.data())
def test_damaged_tails_are_exported_or_refused(backbone: bytes, tail: TailContent, data: st.DataObject) -> None:
    """Nothing but errors of ours; what is exported holds both files unchanged, and is as sound as they are."""
    content = tail.forward
    start = data.draw(st.integers(0, len(content)))
    other = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\0\0\0\x80"])))
    for damaged in (content[:start] + other + content[start + len(other) :], content[:start], other):
        try:
            found = export_tail_tflite(backbone, WIDTH, replace(tail, forward=damaged), trained(tail, 3), names(3))
        except BackendError as error:
            if not re.search(r"expected .*, found .*onvert the model again", str(error)):
                raise
        else:
            assert backbone in found
            assert damaged in found
            refuse_unsound_model(found)


EXPORT_MANY = """
import json, random, struct, sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from acclimate.bundle import Bundle
from acclimate.edge.export.tail_tflite import export_tail_tflite
from acclimate.errors import BackendError

runtime, seeds = sys.argv[2], range(int(sys.argv[3]))
interpreter = import_module(runtime + ".interpreter").Interpreter
with Bundle(Path(sys.argv[1])) as bundle:
    tail, backbone = bundle.tail("tflite"), bundle.backbone("tflite")

def damaged(seed):
    draw, content = random.Random(seed), bytearray(tail.forward)
    place = draw.randrange(len(content) // 4) * 4
    (value,) = struct.unpack_from("<i", content, place)
    others = (-1, 0, 1, 7, 65_536, 2**30, 2**31 - 1, -(2**31), value ^ 1, value ^ 256)
    struct.pack_into("<i", content, place, draw.choice(others))
    return replace(tail, forward=bytes(content))

def outcome(content):
    try:
        exported = export_tail_tflite(backbone, 52, content, tail.parameters, ["a", "b", "c"])
    except BackendError:
        return "refused"
    try:
        model = interpreter(model_content=exported, num_threads=1)
        model.allocate_tensors()
        model.invoke()
        return "runs"
    except Exception:
        return "refused by the runtime"

print(json.dumps([outcome(damaged(seed)) for seed in seeds]))
"""


def test_the_process_survives_what_was_made_of_damaged_tails(tail_bundle: Path, one_thread: dict[str, str]) -> None:
    """400 files with one wrong number each: refused by us, refused by the runtime, or run; no dead process."""
    command = [sys.executable, "-c", EXPORT_MANY, str(tail_bundle), str(RUNTIME), "400"]
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert outcomes.count("refused") > 30
    assert outcomes.count("runs") > 30


def test_it_loads_nothing_heavy() -> None:
    """Writing needs neither a runtime nor the packages that the converters need."""
    heavy = {"ai_edge_litert", "tflite_runtime", "flatbuffers", "torch", "onnxruntime"}
    script = f"import sys, acclimate.edge.export.tail_tflite; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
