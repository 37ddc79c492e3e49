"""Collect ONNX nodes and constants, with what a graph of ATen operations leaves open: broadcasting and views.

A value may be held smaller than it counts: an expanded tensor is only expanded where an operation needs it whole,
since ONNX operations broadcast by themselves. A view of a view is a view of what lies below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9
# The batch axis, of whatever size; a multiple of it is told apart by its sign alone.
Dim = int
Shape = tuple[Dim, ...]
TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32,
    torch.bool: TensorProto.BOOL,
}


@dataclass(frozen=True)
class Held:
    """A value in the ONNX graph.

    Args:
        name: Its name there.
        shape: Its shape there; a negative number -m stands for m times the batch.
        logical: Its shape in the ATen graph, to which `shape` broadcasts.
    """

    name: str
    shape: Shape
    logical: Shape

    @property
    def whole(self) -> bool:
        """Whether it is held as large as it counts."""
        return self.shape == self.logical


@dataclass(eq=False)
class Writer:
    """A graph in the making.

    Args:
        batch: Name of an input whose first axis is the batch.
        nodes: Its nodes so far.
        constants: Its initializers by name.
    """

    batch: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _known: dict[Any, str] = field(default_factory=dict)
    _views: dict[str, Held] = field(default_factory=dict)
    _turned: dict[str, tuple[Held, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node, or find the one that does the same; returns its outputs' names."""
        key = (kind, tuple(inputs), outputs, tuple(sorted((k, str(v)) for k, v in attributes.items())))
        if key not in self._known:
            name = f"{kind}_{len(self.nodes)}"
            made = [name if i == 0 else f"{name}_{i}" for i in range(outputs)]
            self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
            self._known[key] = name
        name = self._known[key]
        return [name if i == 0 else f"{name}_{i}" for i in range(outputs)]

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant, or find the same one; returns its name."""
        key = ("constant", value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            self._known[key] = name
        return self._known[key]

    def integers(self, numbers: Sequence[int]) -> str:
        """Add a constant list of whole numbers."""
        return self.constant(np.array(numbers, np.int64))

    def number(self, value: float | bool, dtype: torch.dtype) -> Held:
        """Add a constant scalar of a type."""
        kind = helper.tensor_dtype_to_np_dtype(TYPES[dtype])
        return Held(self.constant(np.array(value, kind)), (), ())

    def materialise(self, value: Held) -> str:
        """Return the name of a value that is held as large as it counts."""
        if value.whole:
            return value.name
        return self.add("Expand", [value.name, self.lengths(value.logical)])[0]

    def lengths(self, shape: Shape) -> str:
        """Return the name of a shape as a list of whole numbers, computed where it depends on the batch."""
        if min(shape, default=1) >= 0:
            return self.integers(shape)
        size = self.add("Shape", [self.batch], start=0, end=1)[0]
        parts = []
        for dim in shape:
            if dim >= 0:
                parts.append(self.integers([dim]))
            else:
                parts.append(size if dim == -1 else self.add("Mul", [size, self.integers([-dim])])[0])
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, axis=0)[0]

    def view(self, value: Held, shape: Shape) -> Held:
        """Reshape."""
        below = self._views.get(value.name)
        root = (
            below if below is not None and value.whole else Held(self.materialise(value), value.logical, value.logical)
        )
        if root.shape == shape:
            return Held(root.name, shape, shape)
        free = [axis for axis, dim in enumerate(shape) if dim < 0]
        lengths = self.lengths(shape) if len(free) > 1 else self.integers([max(dim, -1) for dim in shape])
        name = self.add("Reshape", [root.name, lengths])[0]
        self._views[name] = root
        return Held(name, shape, shape)

    def permute(self, value: Held, order: Sequence[int]) -> Held:
        """Put the axes in another order."""
        source = Held(value.name, value.shape, value.shape)
        if len(value.shape) < len(value.logical):
            shape = (1,) * (len(value.logical) - len(value.shape)) + value.shape
            source = self.view(source, shape)
        turned = tuple(order)
        if source.name in self._turned:
            source, before = self._turned[source.name]
            turned = tuple(before[axis] for axis in turned)
        shape = tuple(source.shape[axis] for axis in turned)
        logical = tuple(value.logical[axis] for axis in order)
        if turned == tuple(range(len(turned))):
            return Held(source.name, shape, logical)
        long = [axis for axis in turned if source.shape[axis] != 1]
        if long == sorted(long):
            viewed = self.view(Held(source.name, source.shape, source.shape), shape)
            return Held(viewed.name, shape, logical)
        name = self.add("Transpose", [source.name], perm=list(turned))[0]
        self._turned[name] = (source, turned)
        return Held(name, shape, logical)

    def transposed(self, value: Held) -> str | None:
        """Return what a matrix is the transpose of, if it is one."""
        source, order = self._turned.get(value.name, (None, ()))
        return source.name if source is not None and order == (1, 0) and value.whole else None


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape that several broadcast to."""
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((dim for dim in dims if dim != 1), 1) for dims in zip(*padded, strict=True))
