"""TFLite files that would end the process, or that reach outside of themselves, are refused before LiteRT sees them."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.bundle import Bundle
from acclimate.edge.runtime.tflite_scan import refuse_unsound_model
from acclimate.errors import BackendError

DEPTHWISE_CONV_2D, CUSTOM, WHILE = 4, 32, 119
INT8 = 9


@pytest.fixture(scope="module")
def sound(tiny_bundle: Path) -> bytes:
    """A TFLite file that the converters wrote."""
    with Bundle(tiny_bundle) as bundle:
        return bundle.backbone("tflite")


@pytest.fixture(scope="module")
def buffers() -> Any:
    """LiteRT's own reader and writer of TFLite files, independent of the scan."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert, which writes the files of these tests, is missing")
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils


def altered(buffers: Any, content: bytes, alter: Callable[[Any], object]) -> bytes:
    """Return a file after a change to its model."""
    model = buffers.convert_bytearray_to_object(bytearray(content))
    alter(model)
    return bytes(buffers.convert_object_to_bytearray(model))


def operators(model: Any) -> Any:
    """Return the operators of a model's one graph."""
    return model.subgraphs[0].operators


def quantized(model: Any) -> Any:
    """Return the quantization of the first 8-bit tensor that has one."""
    return next(t.quantization for t in model.subgraphs[0].tensors if t.type == INT8 and t.quantization is not None)


def put(values: Any, place: int, value: int) -> Any:
    """Return numbers with one replaced."""
    changed = np.array(values)
    changed[place] = value
    return changed


def leave_out_input(model: Any) -> None:
    operators(model)[1].inputs = put(operators(model)[1].inputs, 0, -1)


def take_beyond(model: Any) -> None:
    operators(model)[1].inputs = put(operators(model)[1].inputs, 0, len(model.subgraphs[0].tensors))


def take_later(model: Any) -> None:
    operators(model)[0].inputs = put(operators(model)[0].inputs, 0, operators(model)[3].outputs[0])


def take_own_result(model: Any) -> None:
    operators(model)[1].inputs = put(operators(model)[1].inputs, 0, operators(model)[1].outputs[0])


def give_twice(model: Any) -> None:
    operators(model)[2].outputs = operators(model)[1].outputs


def give_constant(model: Any) -> None:
    constant = next(i for i, t in enumerate(model.subgraphs[0].tensors) if model.buffers[t.buffer].data is not None)
    operators(model)[1].outputs = put(operators(model)[1].outputs, 0, constant)


def no_operators(model: Any) -> None:
    model.subgraphs[0].operators = []


def output_from_nowhere(model: Any) -> None:
    model.subgraphs[0].outputs = np.array([len(model.subgraphs[0].tensors) + 5], np.int32)


def input_from_nowhere(model: Any) -> None:
    model.subgraphs[0].inputs = np.array([-1], np.int32)


def two_graphs(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


def no_graph(model: Any) -> None:
    model.subgraphs = []


def depthwise_without_bias(model: Any) -> None:
    code = model.operatorCodes[operators(model)[1].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = DEPTHWISE_CONV_2D
    operators(model)[1].inputs = operators(model)[1].inputs[:2]


def kind(code: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = code

    return alter


def unknown_kind(model: Any) -> None:
    operators(model)[0].opcodeIndex = 1_000


def scale(value: float) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        quantized(model).scale = np.full(len(quantized(model).scale), value, np.float32)

    return alter


def zero_point(value: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        quantized(model).zeroPoint = np.full(len(quantized(model).scale), value, np.int64)

    return alter


def external_tensor(model: Any) -> None:
    model.subgraphs[0].tensors[0].externalBuffer = 1


def external_group(model: Any) -> None:
    from ai_edge_litert.schema_py_generated import ExternalBufferGroupT

    group = ExternalBufferGroupT()
    group.name = "/etc/passwd"
    model.externalBufferGroups = [group]


def shape(*axes: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        model.subgraphs[0].tensors[-1].shape = np.array(axes, np.int32)

    return alter


def weights_at(offset: int) -> Callable[[Any], None]:
    def alter(model: Any) -> None:
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, offset, 4

    return alter


def weights_in_the_empty_buffer(model: Any) -> None:
    tensors = model.subgraphs[0].tensors
    constant = next(t for t in tensors if model.buffers[t.buffer].data is not None)
    for tensor in tensors:
        if model.buffers[tensor.buffer].data is None:
            tensor.buffer = len(model.buffers)
    model.buffers.append(copy.copy(model.buffers[0]))
    model.buffers[0].data, constant.buffer = model.buffers[constant.buffer].data, 0


def metadata_from_nowhere(model: Any) -> None:
    model.metadata[0].buffer = len(model.buffers)


UNSOUND: dict[str, tuple[Callable[[Any], None], str]] = {
    "an input is left out": (leave_out_input, "takes a tensor that nothing has made"),
    "an input is not there": (take_beyond, "takes a tensor that nothing has made"),
    "an input is made later": (take_later, "takes a tensor that nothing has made"),
    "an operator takes what it gives": (take_own_result, "takes a tensor that nothing has made"),
    "a tensor is made twice": (give_twice, "gives a tensor that is there already"),
    "a constant is overwritten": (give_constant, "gives a tensor that is there already"),
    "no operator": (no_operators, "its output is made by no operator"),
    "an output that is not there": (output_from_nowhere, "its output is made by no operator"),
    "an input that is not there": (input_from_nowhere, "its input is not one of its tensors"),
    "two graphs": (two_graphs, "it has 2 graphs instead of one"),
    "no graph": (no_graph, "it has 0 graphs instead of one"),
    "no place for a bias": (depthwise_without_bias, "has no place for its bias"),
    "custom operator": (kind(CUSTOM), "its operator 32 calls code outside of the graph"),
    "a loop": (kind(WHILE), "its operator 119 calls code outside of the graph"),
    "an operator out of the list": (unknown_kind, "not in its list of operators"),
    "scale 0": (scale(0), "has the scale 0"),
    "scale below 0": (scale(-1), "has the scale -1"),
    "scale that underflows": (scale(1e-44), r"has the scale 9\.\d+e-45"),
    "scale NaN": (scale(float("nan")), "has the scale nan"),
    "scale infinite": (scale(float("inf")), "has the scale inf"),
    "zero point above": (zero_point(128), "has the zero point 128"),
    "zero point below": (zero_point(-129), "has the zero point -129"),
    "zero point far away": (zero_point(-(2**62)), "has the zero point -4611686018427387904"),
    "metadata that are not there": (metadata_from_nowhere, "metadata in a buffer that is not there"),
    "a shape below 0": (shape(1, -52), r"has the shape \(1, -52\)"),
    "a shape without end": (shape(2**20, 2**20), r"has the shape \(1048576, 1048576\)"),
    "a tensor in another file": (external_tensor, "takes its values from another file"),
    "a group of other files": (external_group, "takes weights from other files"),
    "weights behind the end": (weights_at(2**40), "its weights lie outside of its flatbuffer"),
    "weights behind the flatbuffer": (weights_at(64), "its weights lie outside of its flatbuffer"),
    "weights in the buffer of no weights": (weights_in_the_empty_buffer, "takes a tensor that nothing has made"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_models_are_refused(sound: bytes, buffers: Any, name: str) -> None:
    """Each fault by itself, in a file that LiteRT's own writer made; without it the file passes."""
    alter, match = UNSOUND[name]
    refuse_unsound_model(altered(buffers, sound, lambda model: None))
    with pytest.raises(
        BackendError, match=rf"expected a sound TFLite file, found that .*{match}.*convert the model again"
    ):
        refuse_unsound_model(altered(buffers, sound, alter))


def test_a_bias_may_be_left_out(sound: bytes, buffers: Any) -> None:
    """What models do leave out, a third input, is no fault."""

    def alter(model: Any) -> None:
        operator = next(o for o in operators(model) if len(o.inputs) == 3)
        operator.inputs = put(operator.inputs, 2, -1)

    refuse_unsound_model(altered(buffers, sound, alter))


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(8), b"\x1c\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + bytes(100)])
def test_what_is_no_tflite_file(content: bytes) -> None:
    """Too short, of another kind, or pointing nowhere."""
    with pytest.raises(BackendError, match=r"expected a sound TFLite file, found that .*convert the model again"):
        refuse_unsound_model(content)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.data())
def test_any_bytes_pass_or_are_refused(sound: bytes, data: st.DataObject) -> None:
    """Random bytes, cut files and damaged ones never raise anything but ours."""
    start = data.draw(st.integers(0, len(sound)))
    other = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\0\0\0\x80"])))
    damaged = sound[:start] + other + sound[start + len(other) :]
    for one in (damaged, sound[:start], b"\x20\0\0\0TFL3" + data.draw(st.binary(max_size=80))):
        try:
            refuse_unsound_model(one)
        except BackendError as error:
            if not re.search(r"expected .*, found .*onvert the model again", str(error)):
                raise


LOAD_MANY = """
import json, random, struct, sys
from pathlib import Path
import numpy as np
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.errors import BackendError
from acclimate.manifest import InputSpec

folder, seeds = Path(sys.argv[1]), range(int(sys.argv[2]))
spec = InputSpec((8, 8, 1), "uint8", (0, 255), ("height", "width", "channel"))
frames = np.zeros((2, 8, 8, 1), np.uint8)
sound = (folder / "sound").read_bytes()

def outcome(content):
    print("loading", flush=True)
    try:
        load_backbone(content, "tflite", spec, 52, 1).embed(frames)
        return "runs"
    except BackendError:
        return "refused"

def damaged(seed):
    draw, content = random.Random(seed), bytearray(sound)
    place = draw.randrange(len(content) // 4) * 4
    (value,) = struct.unpack_from("<i", content, place)
    others = (-1, 0, 1, 7, 65_536, 2**30, 2**31 - 1, -(2**31), value ^ 1, value ^ 256)
    struct.pack_into("<i", content, place, draw.choice(others))
    return bytes(content)

files = sorted(path for path in folder.iterdir() if path.name != "sound")
results = {path.name: outcome(path.read_bytes()) for path in files}
print(json.dumps([results, [outcome(damaged(seed)) for seed in seeds]]))
"""


def test_the_process_survives(sound: bytes, buffers: Any, tmp_path: Path) -> None:
    """Unsound models, garbage, and 400 files with one wrong number: an error of ours each, and no dead process.

    Without the scan, LiteRT 2.3.0 ends the process with a segmentation fault on several of them.
    """
    (tmp_path / "sound").write_bytes(sound)
    for name, (alter, _) in UNSOUND.items():
        (tmp_path / name).write_bytes(altered(buffers, sound, alter))
    for length in (0, 7, 100, len(sound) // 2, len(sound) - 1):
        (tmp_path / f"first {length}").write_bytes(sound[:length])
    (tmp_path / "garbage").write_bytes(np.random.default_rng(0).bytes(len(sound)))
    command = [sys.executable, "-c", LOAD_MANY, str(tmp_path), "400"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    named, fuzzed = json.loads(done.stdout.splitlines()[-1])
    assert set(named.values()) == {"refused"}
    assert fuzzed.count("refused") > 50
    assert fuzzed.count("runs") > 50
