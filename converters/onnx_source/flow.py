"""How values flow from an ONNX network's input to a tensor, and through which tensors all of them pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx

from .graph import Network
from .shapes import measured_shapes
from .taps import channel_axis

# What these give tells of their input's axes alone, not of its values.
_LENGTHS = ("Shape", "Size")
_COUNTED_AT = 2


@dataclass(frozen=True, eq=False)
class Stop:
    """A tensor that separates a network: everything behind it depends on the input's values through it alone.

    Args:
        tensor: Its name.
        node: What makes it.
        nodes: What was computed since the stop before, in order, `node` the last.
        shape: Shape of one sample.
        axis: The channel axis of a batch.
    """

    tensor: str
    node: onnx.NodeProto
    nodes: tuple[onnx.NodeProto, ...]
    shape: tuple[int, ...]
    axis: int


@dataclass(eq=False)
class Flow:
    """The way of the input's values.

    Args:
        network: The network.
    """

    network: Network
    values: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.network.shapes.update(measured_shapes(self.network))
        self.values = {self.network.source}
        for node in self.network.model.graph.node:
            if node.op_type not in _LENGTHS and self.values & set(node.input):
                self.values |= {name for name in node.output if name}

    def moving(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that depend on the input's values."""
        return [name for name in node.input if name in self.values]

    def between(self, start: str, end: str) -> list[onnx.NodeProto]:
        """Return the nodes that a tensor is computed by, in order, up to another in front of it."""
        needed, found = {end}, []
        for node in reversed(self.network.model.graph.node):
            if start not in node.output and needed & set(node.output) and self.moving(node):
                found.append(node)
                needed |= set(self.moving(node))
        return found[::-1]

    def stops(self, end: str) -> list[Stop]:
        """Return the tensors with a batch axis that separate the network up to a tensor, itself the last, in order."""
        path = self.between(self.network.source, end)
        last_use = {name: i for i, node in enumerate(path) for name in self.moving(node)}
        last_use[end] = len(path)
        stops: list[Stop] = []
        open_until, since = last_use.get(self.network.source, -1), 0
        for i, node in enumerate(path):
            made = [name for name in node.output if name in last_use]
            # Nothing made before is used later, so all that follows depends on this one tensor.
            if open_until <= i and len(made) == 1 and (shape := self.sample(made[0])):
                axis = channel_axis(self.network, made[0], path[: i + 1])
                stops.append(Stop(made[0], node, tuple(path[since : i + 1]), shape, axis))
                since = i + 1
            open_until = max([open_until, *(last_use[name] for name in made)])
        return stops

    def sample(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of one sample; empty where it is open, or where the first axis is not the batch."""
        shape = self.network.shapes.get(tensor, ())
        rest = tuple(length for length in shape[1:] if length is not None)
        return rest if shape[:1] == (_COUNTED_AT,) and len(rest) == len(shape) - 1 else ()

    def layers(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return those of some nodes that have weights of their own."""
        return [node for node in nodes if self.network.is_layer(node)]

    def passing(self, tensor: str, end: str) -> onnx.NodeProto | None:
        """Return a node behind a tensor that takes something made in front of it; None if the tensor separates."""
        depends, later = {tensor}, []
        for node in self.between(tensor, end):
            if depends & set(self.moving(node)):
                depends |= set(node.output)
                later.append(node)
        if end not in depends:
            return self.network.makers[end]
        return next((node for node in later if not depends.issuperset(self.moving(node))), None)


def numbers(shape: Sequence[int | None]) -> int:
    """Return how many numbers a tensor of a shape for two samples holds for one."""
    return math.prod(length or 1 for length in shape) // _COUNTED_AT
