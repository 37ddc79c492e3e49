"""A TFLite backbone that is open at its end: operators are put behind it, and it is written again with another output.

The backbone's file is kept byte for byte, and a new front is put before it (`flatbuffer_writer`): lists that point to
the backbone's operators and tensors, and behind those to what was added.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ...record import record
from ..runtime import tflite_schema as schema
from ..runtime.flatbuffer import follow, numbers, scalar, tables
from ..runtime.tflite_schema import Buffer, Code, Graph, Metadata, Model, Operator, Signature, Tensor
from .flatbuffer_writer import ALIGNMENT, Kept, Table, Value, write_flatbuffer
from .tflite_labels import BUFFER_NAME, describe_labels

INPUT, OUTPUT = "input", "probabilities"
Shape = tuple[int, ...]
Float32 = NDArray[np.float32]


@record()
class Signal:
    """A tensor that an operator makes.

    Args:
        tensor: Its number.
        shape: Its shape, without the batch axis.
    """

    tensor: int
    shape: Shape


class OpenModel:
    """A backbone with operators that are added at its end.

    Args:
        content: The TFLite file, not unsound.
        width: Number of dimensions of its latent.

    Raises:
        ValueError: If it is no backbone for latents of this width.
    """

    def __init__(self, content: bytes, width: int) -> None:
        self._behind, view = [content], memoryview(content)
        root = follow(view, 0)
        (graph,) = tables(view, root, Model.GRAPHS)
        self.codes: list[Table | Kept] = [Kept(at) for at in tables(view, root, Model.CODES)]
        self.buffers: list[Table | Kept] = [Kept(at) for at in tables(view, root, Model.BUFFERS)]
        # Buffer 0 means that a tensor has none.
        self.buffers = self.buffers or [Table({})]
        self.tensors: list[Table | Kept] = [Kept(at) for at in tables(view, graph, Graph.TENSORS)]
        self.operators: list[Table | Kept] = [Kept(at) for at in tables(view, graph, Graph.OPERATORS)]
        inputs, outputs = numbers(view, graph, Graph.INPUTS, "i"), numbers(view, graph, Graph.OUTPUTS, "i")
        # A backbone with a tail gives maps behind the latent.
        if len(inputs) != 1 or len(outputs) not in (1, 2):
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
        self._input, places = inputs[0], list(tables(view, graph, Graph.TENSORS))
        shape, kind = described(view, places[outputs[0]])
        if len(shape) != 2 or shape[1] != width or kind != schema.FLOAT32:
            raise ValueError(f"one output of shape {shape[:8]} and type {kind}")
        self.latent, self.batch = Signal(outputs[0], shape[1:]), shape[0]
        self.map: Signal | None = None
        if len(outputs) == 2:
            shape, kind = described(view, places[outputs[1]])
            if kind == schema.FLOAT32:
                self.map = Signal(outputs[1], shape[1:])

    def put_behind(self, content: bytes) -> int:
        """Put another flatbuffer behind the backbone, whose parts may then be `Kept`.

        Args:
            content: The flatbuffer.

        Returns:
            What is added to its places.
        """
        start = sum(map(len, self._behind))
        padding = -start % ALIGNMENT
        self._behind += [bytes(padding), content]
        return start + padding

    def clipped(self, name: str, signal: Signal, low: Float32, high: Float32) -> Signal:
        """Bring values into a range, whose bounds broadcast to them."""
        raised = self.operator(
            schema.MAXIMUM, f"{name}_low", [signal.tensor, self.constant(f"{name}_low/bound", low)], signal.shape
        )
        return self.operator(
            schema.MINIMUM, f"{name}_high", [raised.tensor, self.constant(f"{name}_high/bound", high)], signal.shape
        )

    def fully_connected(self, name: str, signal: Signal, weight: Float32, bias: Float32 | None) -> Signal:
        """Multiply by weights ``(k, d) float32`` and add a bias ``(k,) float32``."""
        inputs = [signal.tensor, self.constant(f"{name}/weight", weight)]
        inputs.append(-1 if bias is None else self.constant(f"{name}/bias", bias))
        return self.operator(schema.FULLY_CONNECTED, name, inputs, (len(weight),))

    def softmax(self, signal: Signal) -> Signal:
        """Make probabilities of logits."""
        options: dict[int, Value] = {schema.BETA: np.float32(1)}
        return self.operator(schema.SOFTMAX, "softmax", [signal.tensor], signal.shape, options)

    def reshaped(self, name: str, signal: Signal, shape: Shape) -> Signal:
        """Give another shape, for any batch size."""
        lengths = self.constant(f"{name}/lengths", np.array([-1, *shape], np.int32))
        return self.operator(schema.RESHAPE, name, [signal.tensor, lengths], shape)

    def write(self, output: Signal, name: str) -> bytes:
        """Return the file, with another output and a signature that names it."""
        self.buffers.append(Table({Buffer.DATA: np.frombuffer(describe_labels(INPUT, name), np.uint8)}))
        graph: dict[int, Value] = {
            Graph.TENSORS: self.tensors,
            Graph.INPUTS: np.array([self._input], np.int32),
            Graph.OUTPUTS: np.array([output.tensor], np.int32),
            Graph.OPERATORS: self.operators,
            Graph.NAME: "main",
        }
        signature: dict[int, Value] = {
            Signature.INPUTS: [_named(INPUT, self._input)],
            Signature.OUTPUTS: [_named(name, output.tensor)],
            Signature.KEY: "serving_default",
        }
        metadata: dict[int, Value] = {
            Metadata.NAME: BUFFER_NAME,
            Metadata.BUFFER: np.uint32(len(self.buffers) - 1),
        }
        root: dict[int, Value] = {
            Model.VERSION: np.uint32(schema.SCHEMA_VERSION),
            Model.CODES: self.codes,
            Model.GRAPHS: [Table(graph)],
            Model.DESCRIPTION: "Adapted by Acclimate",
            Model.BUFFERS: self.buffers,
            Model.METADATA: [Table(metadata)],
            Model.SIGNATURES: [Table(signature)],
        }
        return write_flatbuffer(Table(root), schema.FILE_IDENTIFIER, b"".join(self._behind))

    def operator(
        self, code: int, name: str, inputs: list[int], shape: Shape, options: dict[int, Value] | None = None
    ) -> Signal:
        """Add an operator that gives float32 values of a shape, without the batch axis."""
        free = np.array([-1, *shape], np.int32)
        signal = Signal(self.tensor(name, (self.batch, *shape), {Tensor.SHAPE_SIGNATURE: free}), shape)
        self.codes.append(Table({Code.OLD: np.int8(code), Code.NEW: np.int32(code)}))
        fields: dict[int, Value] = {
            Operator.CODE: np.uint32(len(self.codes) - 1),
            Operator.INPUTS: np.array(inputs, np.int32),
            Operator.OUTPUTS: np.array([signal.tensor], np.int32),
            Operator.OPTIONS_TYPE: np.uint8(schema.OPTIONS[code]),
            Operator.OPTIONS: Table(options or {}),
        }
        self.operators.append(Table(fields))
        return signal

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """Add a constant, float32 or int32, and return its number."""
        kind = schema.INT32 if values.dtype.kind == "i" else schema.FLOAT32
        content = np.ascontiguousarray(values, "<i4" if kind == schema.INT32 else "<f4").reshape(-1).view(np.uint8)
        self.buffers.append(Table({Buffer.DATA: content}))
        more: dict[int, Value] = {Tensor.BUFFER: np.uint32(len(self.buffers) - 1)}
        return self.tensor(name, values.shape, more, kind)

    def tensor(self, name: str, shape: Shape, more: dict[int, Value], kind: int = schema.FLOAT32) -> int:
        """Add a tensor and return its number."""
        fields: dict[int, Value] = {
            Tensor.SHAPE: np.array(shape, np.int32),
            Tensor.TYPE: np.int8(kind),
            Tensor.NAME: f"acclimate/{name}",
        }
        self.tensors.append(Table({**fields, **more}))
        return len(self.tensors) - 1


def refused(width: int, error: ValueError) -> BackendError:
    """Return the error for a backbone that nothing can be put behind."""
    return BackendError(
        f"expected a backbone with one input and one latent of {width} dimensions, and an adapted model "
        f"below 2 GiB, found {error}. Convert the model again."
    )


def described(view: memoryview, tensor: int) -> tuple[Shape, int]:
    """Return a tensor's shape and type."""
    return tuple(numbers(view, tensor, Tensor.SHAPE, "i")), scalar(view, tensor, Tensor.TYPE, "<b", schema.FLOAT32)


def _named(name: str, tensor: int) -> Table:
    return Table({Signature.NAME: name, Signature.TENSOR: np.uint32(tensor)})
