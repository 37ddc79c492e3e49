"""An ONNX graph as a network: who makes what, what is constant, which shape a tensor has."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Constant = NDArray[Any]
# Operators whose weights mix channels: what counts as a layer.
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def dims(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Return a value's lengths, None where one is open; empty where even the rank is."""
    shape = value.type.tensor_type.shape
    return tuple(int(axis.dim_value) if axis.HasField("dim_value") else None for axis in shape.dim)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as plain values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def describe(node: onnx.NodeProto) -> str:
    """Return how messages call a node."""
    return f"{node.op_type} {node.name or (node.output[0] if node.output else '')!r}"


def inline_constants(graph: onnx.GraphProto) -> None:
    """Turn the nodes that are constants into initializers."""
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        entries = list(node.attribute)
        if node.op_type != "Constant" or len(entries) != 1 or node.domain not in ("", "ai.onnx"):
            kept.append(node)
            continue
        (entry,) = entries
        if entry.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(entry.t)
        elif entry.name in _CONSTANTS:
            tensor = numpy_helper.from_array(np.array(helper.get_attribute_value(entry), _CONSTANTS[entry.name]))
        else:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def drop_unused(model: onnx.ModelProto) -> None:
    """Leave out nodes and weights that no output needs, and everything that only describes."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(list(graph.node)):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:], graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    graph.initializer.extend(weights)
    graph.doc_string = model.doc_string = ""
    for item in [*graph.node, *graph.initializer, *graph.input, *graph.output]:
        item.doc_string = ""
        del item.metadata_props[:]


@dataclass(eq=False)
class Network:
    """A graph with one input, ready to be asked.

    Args:
        model: The model, in topological order as the format demands.
        batch: Length of the batch axis that shapes are worked out for.
    """

    model: onnx.ModelProto
    batch: int
    makers: dict[str, onnx.NodeProto] = field(init=False)
    takers: dict[str, list[onnx.NodeProto]] = field(init=False)
    shapes: dict[str, tuple[int | None, ...]] = field(init=False)
    live: set[str] = field(init=False)
    _known: dict[str, Constant] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.makers = {name: node for node in graph.node for name in node.output if name}
        takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.live = {graph.input[0].name}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                takers[name].append(node)
            # What depends on the input; the rest is constant, computed or not.
            if self.live & set(node.input):
                self.live |= {name for name in node.output if name}
        self.takers = dict(takers)
        self._known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.shapes = _shapes(self.model, self.batch)

    @property
    def source(self) -> str:
        """Name of the input."""
        return str(self.model.graph.input[0].name)

    @property
    def result(self) -> str:
        """Name of the output."""
        return str(self.model.graph.output[0].name)

    def constant(self, name: str) -> Constant | None:
        """Return what a tensor holds whatever the input is, or None if it depends on the input."""
        if name in self._known:
            return self._known[name]
        node = self.makers.get(name)
        if node is None or name in self.live:
            return None
        given = {other: self.constant(other) for other in node.input if other}
        if any(value is None for value in given.values()):
            return None
        found = dict(zip(node.output, ReferenceEvaluator(node).run(None, given), strict=False))
        self._known.update(found)
        return self._known[name]

    def moving(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that depend on the network's input."""
        return [name for name in node.input if name in self.live]

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Return whether a node mixes channels by a weight of its own."""
        if node.op_type not in LAYERS or not self.moving(node):
            return False
        constants = [name for name in node.input if name and name not in self.live]
        return any((weight := self.constant(name)) is not None and weight.ndim >= 2 for name in constants)

    def uses(self, name: str) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that take a tensor."""
        yield from self.takers.get(name, ())


def _shapes(model: onnx.ModelProto, batch: int) -> dict[str, tuple[int | None, ...]]:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    shape = fixed.graph.input[0].type.tensor_type.shape
    shape.dim[0].Clear()
    shape.dim[0].dim_value = batch
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    found = {value.name: dims(value) for value in [*inferred.value_info, *inferred.input, *inferred.output]}
    return {**found, **{tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}}
