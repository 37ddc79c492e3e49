"""Collect tensors and operators of a TFLite file whose batch and number of classes stay free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ...errors import ConversionError
from ..quantization.tflite_graph import write_model
from .tflite_shapes import Shape

_VERSION = 3
# A version below which the runtime knows no such operator.
_VERSIONS = {"BROADCAST_TO": 2}
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class Made:
    """A tensor of the file.

    Args:
        index: Its place.
        shape: Its shape; a multiple of `Writer.free`'s numbers stands for an axis that is free.
        dtype: ``"float32"``, ``"int32"`` or ``"bool"``.
    """

    index: int
    shape: Shape
    dtype: str = "float32"


@dataclass(eq=False)
class Writer:
    """A file in the making.

    Args:
        free: Lengths that stand for the batch and for the number of classes: primes that divide no other length.
        tensors: Its tensors so far.
        buffers: Their values.
        operators: Its operators.
        codes: Which kinds of operators there are, by place.
        sources: Its inputs.
    """

    free: tuple[int, int]
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    operators: list[Any] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    sources: list[Made] = field(default_factory=list)
    _known: dict[Any, Made] = field(default_factory=dict)

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", data: bytes | None = None) -> Made:
        """Add a tensor, constant if it has data."""
        entry = schema.TensorT()
        entry.name = name.encode()
        entry.type = _TYPES[dtype]
        entry.shape = [self._length(axis) for axis in shape]
        entry.hasRank = True
        entry.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self.buffers.append(buffer)
            entry.buffer = len(self.buffers) - 1
        elif any(self.is_free(axis) for axis in shape):
            entry.shapeSignature = [-1 if self.is_free(axis) else axis for axis in shape]
        self.tensors.append(entry)
        return Made(len(self.tensors) - 1, tuple(shape), dtype)

    def is_free(self, axis: int) -> bool:
        """Whether a length depends on the batch or on the number of classes."""
        return axis > 0 and any(axis % free == 0 for free in self.free)

    def constant(self, value: NDArray[Any]) -> Made:
        """Add a constant, or find the same one."""
        kind = {"f": "float32", "b": "bool"}.get(value.dtype.kind, "int32")
        value = np.ascontiguousarray(value, kind).reshape(value.shape)
        key = ("constant", kind, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = self.tensor(f"constant_{len(self.tensors)}", value.shape, kind, value.tobytes())
        return self._known[key]

    def integers(self, numbers: Sequence[int]) -> Made:
        """Add a constant list of whole numbers."""
        return self.constant(np.array(numbers, np.int32))

    def number(self, value: float) -> Made:
        """Add a constant float."""
        return self.constant(np.array(value, np.float32))

    def add(
        self,
        kind: str,
        inputs: Sequence[Made],
        shape: Sequence[int],
        dtype: str | None = None,
        options: tuple[str, Mapping[str, Any]] | None = None,
    ) -> Made:
        """Add an operator with one output, or find the one that does the same.

        Args:
            kind: Its name in the schema.
            inputs: What it takes.
            shape: Shape of what it gives.
            dtype: Type of what it gives; that of the first input by default.
            options: Name of its options in the schema, and their values.
        """
        key = (kind, tuple(t.index for t in inputs), repr(options), tuple(shape))
        if key not in self._known:
            self._known[key] = self.several(kind, inputs, [shape], dtype, options)[0]
        return self._known[key]

    def several(
        self,
        kind: str,
        inputs: Sequence[Made],
        shapes: Sequence[Sequence[int]],
        dtype: str | None = None,
        options: tuple[str, Mapping[str, Any]] | None = None,
    ) -> list[Made]:
        """Add an operator. See `add`."""
        made = [
            self.tensor(f"{kind.lower()}_{len(self.tensors) + i}", shape, dtype or inputs[0].dtype)
            for i, shape in enumerate(shapes)
        ]
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(kind, len(self.codes))
        operator.inputs = [t.index for t in inputs]
        operator.outputs = [t.index for t in made]
        if options is not None:
            name, values = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")()
            for key, value in values.items():
                setattr(operator.builtinOptions, key, value)
        self.operators.append(operator)
        return made

    def zeros(self, length: int) -> Made:
        """Return ``(length,)`` zeros for a free length, made of an input that has an axis of it."""
        for source in self.sources:
            if length in source.shape:
                axis = source.shape.index(length)
                masks = {"beginMask": 1 << axis, "endMask": 1 << axis}
                masks["shrinkAxisMask"] = 2 ** len(source.shape) - 1 - (1 << axis)
                rank = len(source.shape)
                parts = [self.integers(numbers) for numbers in ([0] * rank, [1] * rank, [1] * rank)]
                line = source
                if rank > 1:
                    line = self.add("STRIDED_SLICE", [source, *parts], [length], options=("StridedSliceOptions", masks))
                return self.add("SUB", [line, line], [length], options=("SubOptions", {}))
        raise ConversionError("expected repetitions as often as there are samples or classes, found others.")

    def copy(self, x: Made) -> Made:
        """Return the same values as a tensor of its own."""
        return self.several("ADD", [x, self.number(0)], [x.shape], options=("AddOptions", {}))[0]

    def view(self, x: Made, shape: Sequence[int]) -> Made:
        """Reshape.

        Raises:
            ConversionError: If two lengths of the result are free and move.
        """
        if tuple(shape) == x.shape:
            return x
        free = [axis for axis in shape if self.is_free(axis)]
        if len(free) > 1:
            return self._thin(x, tuple(shape))
        lengths = self.integers([-1 if self.is_free(axis) else axis for axis in shape])
        return self.add("RESHAPE", [x, lengths], shape, options=("ReshapeOptions", {}))

    def transpose(self, x: Made, order: Sequence[int]) -> Made:
        """Put the axes in another order."""
        if list(order) == sorted(order):
            return x
        shape = [x.shape[axis] for axis in order]
        return self.add("TRANSPOSE", [x, self.integers(order)], shape, options=("TransposeOptions", {}))

    def finish(self, inputs: Mapping[str, Made], outputs: Mapping[str, Made], name: str) -> bytes:
        """Return the file, with what leads to its outputs and nothing else."""
        graph = schema.SubGraphT()
        graph.name = name.encode()
        graph.tensors = self.tensors
        graph.inputs = [t.index for t in inputs.values()]
        graph.outputs = [t.index for t in outputs.values()]
        for given in (inputs, outputs):
            for key, tensor in given.items():
                self.tensors[tensor.index].name = key.encode()
        graph.operators = _needed(self.operators, set(graph.outputs))
        model = schema.ModelT()
        model.version = _VERSION
        model.description = b"acclimate"
        model.subgraphs = [graph]
        model.buffers = self.buffers
        model.operatorCodes = [_code(kind) for kind in self.codes]
        return write_model(model)

    def _thin(self, x: Made, shape: Shape) -> Made:
        """Take axes of one away and put others in, where two lengths are free."""
        if [axis for axis in x.shape if axis != 1] != [axis for axis in shape if axis != 1]:
            raise ConversionError(
                "expected views that leave the batch or the classes where they are, found one that joins them with "
                "another axis; LiteRT finds one free length by itself, not two."
            )
        long = [axis for axis, length in enumerate(x.shape) if length != 1]
        ones = [axis for axis in range(len(x.shape)) if axis not in long]
        if ones:
            x = self.add(
                "SQUEEZE", [x], [x.shape[axis] for axis in long], options=("SqueezeOptions", {"squeezeDims": ones})
            )
        for axis, length in enumerate(shape):
            if length == 1:
                wider = [*x.shape[:axis], 1, *x.shape[axis:]]
                x = self.add("EXPAND_DIMS", [x, self.integers([axis])], wider, options=("ExpandDimsOptions", {}))
        return x

    def _length(self, axis: int) -> int:
        for free in self.free:
            while axis > 0 and axis % free == 0:
                axis //= free
        return axis


def _needed(operators: Sequence[Any], wanted: set[int]) -> list[Any]:
    kept = []
    for operator in reversed(operators):
        if wanted & set(operator.outputs):
            kept.append(operator)
            wanted |= set(operator.inputs)
    return kept[::-1]


def _code(kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    code.version = _VERSIONS.get(kind, 1)
    return code
