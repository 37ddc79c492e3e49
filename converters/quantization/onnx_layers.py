"""Layers of a quantized ONNX graph, and the graph with some of them back in float."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper
from onnxruntime.quantization.onnx_model import ONNXModel

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ACTIVATIONS = {"Relu", "Clip", "LeakyRelu"}
_LOWEST = "lowest"


@dataclass(frozen=True)
class Layer:
    """A node with weights, and the activations that follow it and nothing else.

    Args:
        name: The node's.
        nodes: Names of all of them, in order.
    """

    name: str
    nodes: tuple[str, ...]


def find_layers(graph: onnx.GraphProto, quantized: onnx.GraphProto) -> tuple[Layer, ...]:
    """Find the layers of a float graph whose weights a quantized one holds in 8 bits, in the order of the graph."""
    takers = _takers(graph)
    made_by = {output: node.op_type for node in quantized.node for output in node.output}
    in_8_bits = {
        node.name for node in quantized.node if len(node.input) > 1 and made_by.get(node.input[1]) == "DequantizeLinear"
    }
    ends = {value.name for value in graph.output}
    layers = []
    for node in graph.node:
        if node.op_type not in _WEIGHTED or node.name not in in_8_bits:
            continue
        chain = [node]
        while chain[-1].output[0] not in ends:
            following = takers[chain[-1].output[0]]
            if len(following) != 1 or following[0].op_type not in _ACTIVATIONS:
                break
            chain.append(following[0])
        layers.append(Layer(node.name, tuple(one.name for one in chain)))
    return tuple(layers)


@dataclass(frozen=True)
class FloatLayers:
    """Puts layers of a quantized graph back into float, without quantizing it anew, which takes seconds.

    Args:
        float_model: The model in float.
        int8_model: The same as the quantizer made it. It may have left out activations that its ranges cut off.
    """

    float_model: onnx.ModelProto
    int8_model: onnx.ModelProto

    def restore(self, layers: Sequence[Layer]) -> bytes:
        """Return the quantized model with some layers in float."""
        model = onnx.ModelProto()
        model.CopyFrom(self.int8_model)
        graph, origin = model.graph, {node.name: node for node in self.float_model.graph.node}
        restored = {name: layer for layer in layers for name in layer.nodes}
        free = self._free(set(restored))
        made_by = {output: node for node in graph.node for output in node.output}
        rounded = {
            made_by[node.input[0]].input[0]: node.output[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in made_by
        }
        nodes: list[NodeProto] = []
        for node in graph.node:
            layer = restored.get(node.name)
            if layer is None:
                nodes.append(node)
            elif node.name == layer.name:
                for name in layer.nodes:
                    copied = NodeProto()
                    copied.CopyFrom(origin[name])
                    for k, tensor in enumerate(copied.input):
                        if tensor not in free:
                            copied.input[k] = rounded.get(tensor, tensor)
                    nodes += _guarded(copied) if copied.output[0] in rounded else [copied]
        _rebuild(graph, nodes, self.float_model.graph, set(restored))
        ONNXModel(model).topological_sort()
        return bytes(model.SerializeToString())

    def _free(self, kept: set[str]) -> set[str]:
        """Return the tensors that need no rounding: all that take them are in float, and what makes them is."""
        float_graph = self.float_model.graph
        takers, made_by = _takers(float_graph), {output: n.name for n in float_graph.node for output in n.output}
        quantized = {node.name for node in self.int8_model.graph.node}
        takes_8_bits = {
            node.name
            for node in self.int8_model.graph.node
            if any(name.endswith("_DequantizeLinear_Output") for name in node.input)
        }
        free = set()
        for tensor, following in takers.items():
            maker = made_by.get(tensor)
            # A node that the quantizer left out, or one that takes 8 bits, makes what the rounding must cut off.
            outside = maker is not None and maker in quantized and maker not in takes_8_bits
            if {node.name for node in following} <= kept and (maker in kept or outside):
                free.add(tensor)
        return free


def _guarded(node: NodeProto) -> list[NodeProto]:
    """Put what changes nothing between a float layer and the rounding of its output.

    ONNX Runtime (1.20 and later) would see a layer between 8-bit tensors, and quantize its weights by itself: with one
    scale for all channels, which costs more than was to be gained.
    """
    name = node.output[0]
    node.output[0] = f"{name}_float"
    return [node, onnx.helper.make_node("Max", [node.output[0], _LOWEST], [name], name=f"{node.name}_guard")]


def _takers(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    takers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            takers[name].append(node)
    return takers


def _rebuild(graph: onnx.GraphProto, nodes: list[NodeProto], float_graph: onnx.GraphProto, restored: set[str]) -> None:
    """Put nodes into a graph, the weights that they need beside them, and leave out what nothing needs."""
    weights = {tensor.name: tensor for tensor in float_graph.initializer}
    weights[_LOWEST] = numpy_helper.from_array(np.array(np.finfo(np.float32).min, np.float32), _LOWEST)
    # The quantizer gives what it dequantizes a bias to the name that the bias had.
    in_float = {name for node in nodes if node.name in restored for name in node.input if name in weights}
    nodes = [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] not in in_float]
    ends = {value.name for value in graph.output}
    while True:
        wanted = ends | {name for node in nodes for name in node.input}
        live = [node for node in nodes if wanted.intersection(node.output)]
        if len(live) == len(nodes):
            break
        nodes = live
    made = {output for node in nodes for output in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kept = [tensors.get(name, weights.get(name)) for name in sorted(wanted - made)]
    contents = [tensor.SerializeToString() for tensor in kept if tensor is not None]
    copies = [node.SerializeToString() for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(NodeProto.FromString(content) for content in copies)
    graph.initializer.extend(onnx.TensorProto.FromString(content) for content in contents)
