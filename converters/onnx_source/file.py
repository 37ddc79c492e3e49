"""Read an ONNX file of unknown origin. It is hostile input: nothing of it runs before it was looked through."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from ...edge.runtime.onnx_scan import refuse_external_data
from ...errors import BackendError, ConversionError, CutError, InputError
from ..quiet import quiet
from .graph import dims, drop_unused, inline_constants
from .opset import supported_opset
from .safety import check_nodes, check_sizes, check_weights

_MOST_BYTES = 2**31 - 1
_TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A network that was read and found harmless, its opset one that devices take.

    Args:
        name: Name of the file.
        model: The network: constants as initializers, one input, one output, standard operators without control flow.
        content: The file as it was, which the converted network is compared with.
        dtype: ``"float32"``, or ``"uint8"`` for a network that takes raw frames.
        shape: Its input, batch axis first: a length, or None where the file leaves it open.
        quantized: Whether it computes in 8 bits already.
    """

    name: str
    model: onnx.ModelProto
    content: bytes
    dtype: str
    shape: tuple[int | None, ...]
    quantized: bool

    @property
    def source(self) -> onnx.ValueInfoProto:
        """Its input."""
        found: onnx.ValueInfoProto = self.model.graph.input[0]
        return found

    @property
    def result(self) -> str:
        """Name of its output."""
        return str(self.model.graph.output[0].name)


def read_onnx(path: Path) -> OnnxFile:
    """Read a file.

    Args:
        path: The file.

    Returns:
        The network.

    Raises:
        InputError: If there is no file.
        ConversionError: If it is none of ONNX, or damaged, unsafe, too large, or of an opset that cannot be brought to
            one that devices take.
        CutError: If it is a network that cannot be split: several inputs or outputs, control flow, operators of others.
    """
    if not path.is_file():
        raise InputError(f"expected an ONNX file, found nothing at {path}. Check the path.")
    size = path.stat().st_size
    if not 0 < size <= _MOST_BYTES:
        raise ConversionError(
            f"{path.name}: expected an ONNX file of 1 byte to 2 GiB, found {size:,} bytes. Export a smaller network."
            if size
            else f"{path.name}: expected an ONNX file, found an empty one. Copy or export it again."
        )
    return parse_onnx(path.read_bytes(), path.name)


def parse_onnx(content: bytes, name: str = "model.onnx") -> OnnxFile:
    """Read the content of a file. Errors are those of `read_onnx`."""
    try:
        refuse_external_data(content)
        model = onnx.load_from_string(content)
    except BackendError as error:
        if "external" not in str(error):
            raise ConversionError(f"{name}: {str(error).split('.')[0]}. Copy or export it again.") from error
        raise ConversionError(
            f"{name}: expected an ONNX file with its weights inside, found one that keeps them in other files, which "
            f"are never opened. Export it as one file: torch.onnx.export(..., external_data=False), or "
            f"onnx.save(onnx.load(path), another, save_as_external_data=False)."
        ) from error
    # What protobuf raises has no class of its own outside of it.
    except Exception as error:
        raise ConversionError(
            f"{name}: expected an ONNX file, found that it is none, or truncated ({type(error).__name__}). "
            f"Copy or export it again."
        ) from error
    if not model.graph.node:
        raise ConversionError(f"{name}: expected an ONNX file with a graph, found none. Copy or export it again.")
    with quiet():
        if model.functions:
            from onnx import inliner

            model = inliner.inline_local_functions(model)
        inline_constants(model.graph)
        check_nodes(model, name)
        check_sizes(model, name)
        check_weights(model, name)
        source, shape = _input(model, name)
        model = supported_opset(model, name)
        drop_unused(model)
        try:
            # The format wants outputs with shapes; files of unknown origin may leave them out.
            onnx.checker.check_model(onnx.shape_inference.infer_shapes(model), full_check=False)
        except Exception as error:
            raise ConversionError(
                f"{name}: expected a valid ONNX graph, found: {str(error).strip().splitlines()[0][:200]}. "
                f"Export it again."
            ) from error
    quantized = any(node.op_type in ("DequantizeLinear", "QLinearConv", "ConvInteger") for node in model.graph.node)
    return OnnxFile(name, model, content, source, shape, quantized)


def _input(model: onnx.ModelProto, name: str) -> tuple[str, tuple[int | None, ...]]:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    # Up to version 3 of the format, weights are listed among the inputs.
    inputs = [value for value in graph.input if value.name not in weights]
    for what, values in (("input", inputs), ("output", list(graph.output))):
        if len(values) != 1:
            found = ", ".join(f"{value.name!r} {dims(value)}" for value in values[:8]) or "none"
            raise CutError(
                f"{name}: expected a network with one {what}, found {len(values)}: {found}. Take a part with one: "
                f"onnx.utils.extract_model(path, target, [input], [output]), or feed the others constants."
            )
    del graph.input[:]
    graph.input.extend(inputs)
    kind = _TYPES.get(inputs[0].type.tensor_type.elem_type)
    if kind is None:
        found = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)
        raise CutError(
            f"{name}: expected an input of float32 (or of uint8 frames), found {inputs[0].name!r} of {found.lower()}. "
            f"Put a Cast from float32 in front of it."
        )
    shape = dims(inputs[0])
    if len(shape) < 2:
        raise CutError(
            f"{name}: expected an input (n, ...) of a known rank, found {inputs[0].name!r} {shape}. "
            f"Export it with a batch axis and the shape of one sample."
        )
    return kind, shape
