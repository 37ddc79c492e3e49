"""What of an ONNX file is refused before anything of it runs."""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import ConversionError, CutError
from ...manifest import MAX_ELEMENTS
from .graph import LAYERS, describe, dims

_STANDARD = ("", "ai.onnx")
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
# Networks of a few hundred layers have some ten thousand nodes.
_MOST_NODES = 100_000


def check_nodes(model: onnx.ModelProto, name: str) -> None:
    """Refuse operators that a stock runtime does not have, that branch, or that are random.

    Raises:
        CutError: If there is one; the message names the node.
    """
    if len(model.graph.node) > _MOST_NODES:
        raise CutError(f"{name}: expected at most {_MOST_NODES:,} nodes, found {len(model.graph.node):,}.")
    if model.graph.sparse_initializer:
        raise CutError(f"{name}: expected dense weights, found sparse ones. Save it with dense tensors.")
    for node in model.graph.node:
        if node.domain not in _STANDARD:
            known = "Save it without ONNX Runtime's own optimizations." if "microsoft" in node.domain else ""
            raise CutError(
                f"{name}: expected standard operators, found {describe(node)} of the domain {node.domain!r}, which a "
                f"device's runtime need not have. {known or 'Replace it by standard operators and export again.'}"
            )
        if not onnx.defs.has(node.op_type):
            raise CutError(
                f"{name}: expected standard operators, found {describe(node)}, which onnx {onnx.__version__} does not "
                f"know. Replace it by standard operators and export again."
            )
        nested = any(entry.HasField("g") or entry.graphs for entry in node.attribute)
        if node.op_type in _CONTROL or nested:
            raise CutError(
                f"{name}: expected a network without control flow, found {describe(node)}. Export it with torch.onnx "
                f"from the branch that inference takes, or simplify the file with constant conditions."
            )
        if node.op_type in _RANDOM:
            raise CutError(
                f"{name}: expected the same result for the same input, found {describe(node)}, which is random. "
                f"Export the model in evaluation mode."
            )


def check_sizes(model: onnx.ModelProto, name: str) -> None:
    """Refuse tensors of more elements than any device holds.

    Raises:
        ConversionError: If there is one; the message names it.
    """
    graph = model.graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for label, shape in [*sizes.items(), *((value.name, dims(value)) for value in (*graph.input, *graph.output))]:
        _check(label, shape, name)
    for node in graph.node:
        if node.op_type in ("ConstantOfShape", "Expand", "Tile"):
            wanted = node.input[-1]
            tensor = next((t for t in graph.initializer if t.name == wanted), None)
            if tensor is not None and len(tensor.dims) <= 1 and math.prod(tensor.dims) <= 16:
                lengths = numpy_helper.to_array(tensor).reshape(-1)
                _check(describe(node), tuple(int(length) for length in lengths), name)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    # Shapes that contradict each other.
    except Exception as error:
        raise ConversionError(
            f"{name}: expected shapes that fit each other, found: {str(error).strip().splitlines()[0][:200]}. "
            f"Export it again."
        ) from error
    for value in inferred.graph.value_info:
        _check(value.name, dims(value), name)


def _check(label: str, shape: tuple[int | None, ...], name: str) -> None:
    lengths = [length for length in shape if length is not None]
    if any(length < -1 for length in lengths) or math.prod(max(length, 1) for length in lengths) > MAX_ELEMENTS:
        raise ConversionError(
            f"{name}: expected tensors of at most {MAX_ELEMENTS:,} elements, found {label!r} {tuple(shape)}. "
            f"The file is damaged, or made for no device."
        )


def check_weights(model: onnx.ModelProto, name: str) -> None:
    """Refuse weights that are not numbers, or that do not fit their shape.

    Raises:
        ConversionError: If one is; the message names it and the node that takes it.
    """
    takers = {given: node for node in reversed(model.graph.node) for given in node.input}
    for tensor in model.graph.initializer:
        taker = takers.get(tensor.name)
        by = f", which {describe(taker)} takes" if taker is not None else ""
        try:
            values = numpy_helper.to_array(tensor)
        # Too few bytes for the shape, or an unknown type.
        except (ValueError, TypeError, KeyError) as error:
            raise ConversionError(
                f"{name}: expected weights that fit their shape, found {tensor.name!r} {tuple(tensor.dims)}{by}: "
                f"{str(error)[:120]}. Copy or export the file again."
            ) from error
        if tensor.data_type not in _FLOATS:
            continue
        # A mask of attention holds infinities on purpose; a layer's weights never do.
        layer = taker is not None and taker.op_type in (*LAYERS, "BatchNormalization")
        if np.isnan(values).any() or (layer and not np.isfinite(values).all()):
            raise ConversionError(
                f"{name}: expected finite weights, found NaN or infinity in {tensor.name!r}{by}. "
                f"The training diverged: go back to an earlier checkpoint."
            )
