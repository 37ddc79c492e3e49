"""What a tail is said to hold at once is what its graph holds, and bounds the memory that its models take."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from onnx import TensorProto, helper
from torch import nn

from acclimate.converters.tail_workspace import workspace
from acclimate.converters.training import CompiledTail, compile_training
from acclimate.converters.training.tflite_emit import emit_tflite
from acclimate.edge.tail.cost import memory
from acclimate.map_code import MapCode
from acclimate.tail_content import PARAMETERS, SPEC, TailContent, pack_tail
from acclimate.tail_spec import BATCH

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model(*nodes: Any) -> bytes:
    """Return a graph from ``x (n, 100)`` and ``w (k, 100)`` to ``y``."""
    given = [
        helper.make_tensor_value_info("x", FLOAT, ["n", 100]),
        helper.make_tensor_value_info("w", FLOAT, ["k", 100]),
    ]
    graph = helper.make_graph(list(nodes), "g", given, [helper.make_tensor_value_info("y", FLOAT, None)])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    )


def one(kind: str, taken: str, made: str, **attributes: Any) -> Any:
    return helper.make_node(kind, taken.split(), made.split(), **attributes)


def test_what_has_gone_does_not_count() -> None:
    """A chain holds two results at a time, however long it is; one that is taken at its end stays until then."""
    row = 4 * BATCH * 100
    chain = [one("Neg", "x", "a"), one("Neg", "a", "b"), one("Neg", "b", "c"), one("Neg", "c", "y")]
    assert workspace(model(*chain), 7) == 2 * row
    assert workspace(model(*chain[:3], one("Add", "a c", "y")), 7) == 3 * row
    assert workspace(model(one("Neg", "x", "y")), 7) == 0


def test_rows_classes_and_types_count() -> None:
    """Products of rows and classes, and numbers of eight bytes."""
    logits = [one("Gemm", "x w", "a", transB=1), one("Cast", "a", "b", to=INT64), one("Cast", "b", "y", to=FLOAT)]
    assert workspace(model(*logits), 7) == (4 + 8) * BATCH * 7


RUN = """
import json, sys
from pathlib import Path
import numpy as np
from acclimate.edge.tail.forward import Forward
from acclimate.edge.tail.stepper import Stepper
from acclimate.map_code import MapCode
from acclimate.tail_content import TailContent, _arrays
from acclimate.tail_spec import Spec

def told(key):
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().partition(key)[2].split()[0])

folder, runtime = Path(sys.argv[1]), sys.argv[2]
__import__("onnxruntime" if runtime == "onnx" else "ai_edge_litert.interpreter")
before = told("VmRSS:")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
spec = Spec.from_json((folder / "tail.json").read_bytes())
parameters, _ = _arrays((folder / "tail.safetensors").read_bytes(), "here", spec)
code = MapCode(np.ones(16, np.float32), np.zeros(16, np.float32), spec.map, 1)
models = [(folder / f"{name}.{runtime}").read_bytes() for name in ("tail", "train")]
content = TailContent(*models, spec, parameters, None, code, runtime)
forward, stepper = Forward(content, 1), Stepper(content, 10, 32, 1)
stepper.begin(parameters)
stepper.map[...] = np.random.default_rng(0).normal(size=stepper.map.shape)
stepper.target[:, 0] = 1
for _ in range(3):
    stepper.step(0.001, 0.0)
    forward.logits(stepper.map, stepper.parameters)
print(json.dumps(told("VmHWM:") - before))
"""


@cache
def compiled() -> CompiledTail:
    """Compile a tail whose results take much more memory than its parameters."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return compile_training(nn.Sequential(*layers), torch.randn(2, 16, 48, 48), head=("4.weight", "4.bias"))


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_a_fresh_process_takes_less(runtime: Any, tmp_path: Path) -> None:
    """A convolution on large maps, most of whose memory is results: the bound holds, and is not three times it."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak from a moment on")
    pytest.importorskip("ai_edge_litert", reason="acclimate[convert-tflite] is not installed")
    made = compiled()
    models = [made.forward, made.step]
    spec = replace(made.spec, working=sum(workspace(content, 10) for content in models))
    if runtime == "tflite":
        models = [emit_tflite(content, "tail") for content in models]
    code = MapCode(np.ones(16, np.float32), np.zeros(16, np.float32), spec.map, 1)
    content = TailContent(models[0], models[1], spec, made.initial, None, code, runtime)
    for name, member in pack_tail(content).items():
        (tmp_path / name).write_bytes(member)
    assert {PARAMETERS, SPEC} <= {path.name for path in tmp_path.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), runtime], capture_output=True, text=True, check=True
    )
    took = json.loads(done.stdout.splitlines()[-1])
    bound = memory(content, 10, 0, 0)
    assert took < bound < 3 * took
