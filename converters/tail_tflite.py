"""A compiled tail as TFLite, compared with its ONNX form; where there is no such form, the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ..edge.tail.graphs import load_graph
from ..errors import BackendError, ConversionError
from ..manifest import Runtime
from ..tail_spec import Spec
from .training import CompiledTail

Float32 = NDArray[np.float32]
_WHAT = "compiled tail"
# Of a tensor's length; the two runtimes add up in different orders.
_MOST = 1e-3
# What the two are compared at: a schedule in its course.
_SCALARS = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "momentum": 0.9, "step": 3.0}


@dataclass(frozen=True, eq=False)
class TfliteTail:
    """The models of a tail as TFLite.

    Args:
        forward: From maps and parameters to logits.
        step: One training step.
    """

    forward: bytes
    step: bytes


def as_tflite(compiled: CompiledTail, maps: Float32) -> TfliteTail | str:
    """Write a compiled tail as TFLite, and compare it with ONNX on a batch, with the shipped classes and with one more.

    Args:
        compiled: The tail, for any number of classes.
        maps: ``(n, *shape) float32``, at least two.

    Returns:
        The models, or why there are none, in words.
    """
    if find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed"
    from .training.tflite_emit import emit_tflite

    try:
        found = TfliteTail(emit_tflite(compiled.forward, "tail"), emit_tflite(compiled.step, "training_step"))
        off = max(_difference(compiled, found, maps[: 2 + more], compiled.spec.classes + more) for more in range(2))
    # LiteRT refuses what it has no kernel for.
    except (BackendError, ConversionError) as error:
        return str(error).rstrip(".")
    return found if off <= _MOST else f"LiteRT computes something else: a result is off by {off:.2g} of its length"


def _difference(compiled: CompiledTail, found: TfliteTail, maps: Float32, k: int) -> float:
    spec = compiled.spec
    rng = np.random.default_rng(k)
    shapes = {p.name: (k, *p.shape[1:]) if p.name in spec.head else p.shape for p in spec.parameters}
    given: dict[str, Float32] = {name: np.array(_SCALARS.get(name, 0.01), np.float32) for name in spec.scalars}
    given["map"], given["target"] = maps, np.eye(k, dtype=np.float32)[rng.integers(0, k, len(maps))]
    given["sample_weight"] = rng.uniform(0.5, 1.5, len(maps)).astype(np.float32)
    for name in spec.step_inputs:
        kind, _, of = name.partition("/")
        if name not in given:
            start = compiled.initial[of]
            rows = np.resize(start, shapes[of]) if kind in ("parameter", "reference") else np.zeros(shapes[of])
            noise = rng.normal(0, 0.01, shapes[of])
            # Running squares and Fisher information are 0 or more.
            given[name] = (rows + (abs(noise) if kind in ("square", "fisher") else noise)).astype(np.float32)
    steps = [_run(compiled.step, "onnx", spec, given, shapes), _run(found.step, "tflite", spec, given, shapes)]
    ahead = [_ahead(compiled.forward, "onnx", spec, given), _ahead(found.forward, "tflite", spec, given)]
    return max([_distance(*ahead), *(_distance(steps[0][name], steps[1][name]) for name in steps[0])])


def _ahead(content: bytes, runtime: Runtime, spec: Spec, given: Mapping[str, Float32]) -> Float32:
    graph = load_graph(content, runtime, spec.axes(spec.forward_inputs), ("logits",), 1, _WHAT)
    return graph.run({name: given[name] for name in spec.forward_inputs}, "logits")


def _run(
    content: bytes, runtime: Runtime, spec: Spec, given: Mapping[str, Float32], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float32]:
    graph = load_graph(content, runtime, spec.axes(spec.step_inputs), spec.step_outputs, 1, _WHAT)
    found = {name: np.zeros(shapes.get(name.partition("/")[2], ()), np.float32) for name in spec.step_outputs}
    graph.bind({name: given[name] for name in spec.step_inputs}, found)()
    return found


def _distance(expected: Float32, found: Float32) -> float:
    off = float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-6 * expected.size**0.5)
    return off if np.isfinite(off) else float("inf")
