"""Write the complete adapted model as one TFLite file, on the device, with nothing but numpy.

The backbone's file is kept byte for byte, and a new front is put before it (`flatbuffer_writer`): lists that point to
the backbone's operators and tensors, and behind those to the head's. So the bundle needs no template, predicting runs
no operator of a head that waits to be filled in, and any backbone that LiteRT takes can be exported.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...errors import BackendError
from ...latent import LatentCode
from ...record import record
from ..runtime import tflite_schema as schema
from ..runtime.flatbuffer import follow, numbers, scalar, tables
from ..runtime.tflite_scan import refuse_unsound_model
from ..runtime.tflite_schema import Buffer, Code, Graph, Metadata, Model, Operator, Signature, Tensor
from .exported_head import exported_head
from .flatbuffer_writer import Kept, Table, Value, write_flatbuffer
from .tflite_labels import BUFFER_NAME, append_labels, check_printable, describe_labels

INPUT, OUTPUT, VALUES = "input", "probabilities", "values"


def export_tflite(
    backbone: bytes,
    layer: LinearLayer,
    code: LatentCode,
    classes: Sequence[str],
    groups: NDArray[np.int64] | None = None,
) -> bytes:
    """Put a head behind a backbone: raw input to probabilities, for any batch size.

    Args:
        backbone: The TFLite file from raw input to latent.
        layer: The head; rows with bias `heads.ABSENT` are left out.
        code: The latent's 8-bit code: latents are brought into its range, as the learner does.
        classes: Names of the classes, one per row of the head, or per number in `groups`.
        groups: ``(r,) int64`` for each row the place of its class in `classes`. Rows of the same class have their
            probabilities summed.

    Returns:
        The TFLite file: the backbone's input, and ``(n, k) float32`` probabilities. Classes without a row are left out.
        The names of the others are in `labels.txt`, as TensorFlow Lite's metadata say: `unzip` finds it in the file.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width, or the file would be too large.
        InputError: If head, classes and groups do not fit together, no row is left, or a name is not printable.
    """
    width = len(code.offset)
    head = exported_head(layer, width, classes, groups)
    check_printable(head.classes)
    refuse_unsound_model(backbone)
    try:
        model = _Model(backbone, width)
        result = model.softmax(model.fully_connected("logits", model.clipped(code), head.weight, head.bias))
        if head.sums is not None:
            result = model.fully_connected("merged", result, head.sums.T, None)
        return append_labels(model.write(result, OUTPUT), head.classes)
    except ValueError as error:
        raise _refused(width, error) from error


def export_values_tflite(backbone: bytes, layer: LinearLayer, code: LatentCode, targets: Sequence[str]) -> bytes:
    """Put a regression head behind a backbone: raw input to values, for any batch size.

    Args:
        backbone: The TFLite file from raw input to latent.
        layer: The head, one row per target.
        code: As for `export_tflite`.
        targets: Names of the targets.

    Returns:
        The TFLite file: the backbone's input, and ``(n, t) float32`` values, their names in `labels.txt`.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width, or the file would be too large.
        InputError: If a name is not printable.
    """
    width = len(code.offset)
    check_printable(targets)
    refuse_unsound_model(backbone)
    try:
        model = _Model(backbone, width)
        result = model.fully_connected("values", model.clipped(code), layer.weight, layer.bias)
        return append_labels(model.write(result, VALUES), targets)
    except ValueError as error:
        raise _refused(width, error) from error


def _refused(width: int, error: ValueError) -> BackendError:
    return BackendError(
        f"expected a backbone with one input and one latent of {width} dimensions, and an adapted model "
        f"below 2 GiB, found {error}. Convert the model again."
    )


@record()
class _Signal:
    """A tensor that an operator makes: its number, and how wide it is."""

    tensor: int
    width: int


class _Model:
    """A backbone with operators that are added at its end.

    Args:
        content: The TFLite file, not unsound.
        width: Number of dimensions of its latent.
    """

    def __init__(self, content: bytes, width: int) -> None:
        self._content, view = content, memoryview(content)
        root = follow(view, 0)
        (graph,) = tables(view, root, Model.GRAPHS)
        self._codes: list[Table | Kept] = [Kept(at) for at in tables(view, root, Model.CODES)]
        self._buffers: list[Table | Kept] = [Kept(at) for at in tables(view, root, Model.BUFFERS)]
        # Buffer 0 means that a tensor has none.
        self._buffers = self._buffers or [Table({})]
        self._tensors: list[Table | Kept] = [Kept(at) for at in tables(view, graph, Graph.TENSORS)]
        self._operators: list[Table | Kept] = [Kept(at) for at in tables(view, graph, Graph.OPERATORS)]
        inputs, outputs = numbers(view, graph, Graph.INPUTS, "i"), numbers(view, graph, Graph.OUTPUTS, "i")
        # A backbone with a tail gives maps behind the latent.
        if len(inputs) != 1 or len(outputs) not in (1, 2):
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
        latent = list(tables(view, graph, Graph.TENSORS))[outputs[0]]
        shape = numbers(view, latent, Tensor.SHAPE, "i")
        kind = scalar(view, latent, Tensor.TYPE, "<b", schema.FLOAT32)
        if len(shape) != 2 or shape[1] != width or kind != schema.FLOAT32:
            raise ValueError(f"one output of shape {shape[:8]} and type {kind}")
        self._input, self._batch = inputs[0], shape[0]
        self.output = _Signal(outputs[0], width)

    def clipped(self, code: LatentCode) -> _Signal:
        """Return the latent, brought into the range of its 8-bit code."""
        raised = self.compare(schema.MAXIMUM, "clip_low", self.output, code.offset)
        return self.compare(schema.MINIMUM, "clip_high", raised, code.top)

    def compare(self, code: int, name: str, signal: _Signal, bound: NDArray[np.float32]) -> _Signal:
        """Take the greater or the smaller of each value and its bound ``(d,) float32``."""
        inputs = [signal.tensor, self._constant(f"{name}/bound", bound)]
        return self._operator(code, name, inputs, signal.width, schema.MAXIMUM_MINIMUM_OPTIONS, {})

    def fully_connected(
        self, name: str, signal: _Signal, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> _Signal:
        """Multiply by weights ``(k, d) float32`` and add a bias ``(k,) float32``."""
        inputs = [signal.tensor, self._constant(f"{name}/weight", weight)]
        inputs.append(-1 if bias is None else self._constant(f"{name}/bias", bias))
        return self._operator(schema.FULLY_CONNECTED, name, inputs, len(weight), schema.FULLY_CONNECTED_OPTIONS, {})

    def softmax(self, signal: _Signal) -> _Signal:
        """Make probabilities of logits."""
        options: dict[int, Value] = {schema.BETA: np.float32(1)}
        return self._operator(schema.SOFTMAX, "softmax", [signal.tensor], signal.width, schema.SOFTMAX_OPTIONS, options)

    def write(self, output: _Signal, name: str) -> bytes:
        """Return the file, with another output and a signature that names it."""
        self._buffers.append(Table({Buffer.DATA: np.frombuffer(describe_labels(INPUT, name), np.uint8)}))
        graph: dict[int, Value] = {
            Graph.TENSORS: self._tensors,
            Graph.INPUTS: np.array([self._input], np.int32),
            Graph.OUTPUTS: np.array([output.tensor], np.int32),
            Graph.OPERATORS: self._operators,
            Graph.NAME: "main",
        }
        signature: dict[int, Value] = {
            Signature.INPUTS: [_named(INPUT, self._input)],
            Signature.OUTPUTS: [_named(name, output.tensor)],
            Signature.KEY: "serving_default",
        }
        metadata: dict[int, Value] = {
            Metadata.NAME: BUFFER_NAME,
            Metadata.BUFFER: np.uint32(len(self._buffers) - 1),
        }
        root: dict[int, Value] = {
            Model.VERSION: np.uint32(schema.SCHEMA_VERSION),
            Model.CODES: self._codes,
            Model.GRAPHS: [Table(graph)],
            Model.DESCRIPTION: "Adapted by Acclimate",
            Model.BUFFERS: self._buffers,
            Model.METADATA: [Table(metadata)],
            Model.SIGNATURES: [Table(signature)],
        }
        return write_flatbuffer(Table(root), schema.FILE_IDENTIFIER, self._content)

    def _operator(
        self, code: int, name: str, inputs: list[int], width: int, kind: int, options: dict[int, Value]
    ) -> _Signal:
        free = np.array([-1, width], np.int32)
        signal = _Signal(self._tensor(name, (self._batch, width), {Tensor.SHAPE_SIGNATURE: free}), width)
        self._codes.append(Table({Code.OLD: np.int8(code), Code.NEW: np.int32(code)}))
        fields: dict[int, Value] = {
            Operator.CODE: np.uint32(len(self._codes) - 1),
            Operator.INPUTS: np.array(inputs, np.int32),
            Operator.OUTPUTS: np.array([signal.tensor], np.int32),
            Operator.OPTIONS_TYPE: np.uint8(kind),
            Operator.OPTIONS: Table(options),
        }
        self._operators.append(Table(fields))
        return signal

    def _constant(self, name: str, values: NDArray[np.float32]) -> int:
        content: NDArray[Any] = np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)
        self._buffers.append(Table({Buffer.DATA: content}))
        return self._tensor(name, values.shape, {Tensor.BUFFER: np.uint32(len(self._buffers) - 1)})

    def _tensor(self, name: str, shape: tuple[int, ...], more: dict[int, Value]) -> int:
        fields: dict[int, Value] = {
            Tensor.SHAPE: np.array(shape, np.int32),
            Tensor.TYPE: np.int8(schema.FLOAT32),
            Tensor.NAME: f"acclimate/{name}",
        }
        self._tensors.append(Table({**fields, **more}))
        return len(self._tensors) - 1


def _named(name: str, tensor: int) -> Table:
    return Table({Signature.NAME: name, Signature.TENSOR: np.uint32(tensor)})
