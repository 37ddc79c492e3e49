"""Export a Keras backbone to float ONNX and to float TFLite."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import ConversionError
from ..graph_names import INPUT, MAP, OUTPUT, PREPROCESS
from .fold import fold_channels
from .request import FEATURES

# The newest that tf2onnx writes and the oldest that has what its layers need.
_OPSET = 17
_PRIMES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


def telling_batch(axes: Iterable[int]) -> int:
    """Return a batch size that divides no other axis, so that it is recognised in a converted file (`tflite_batch`)."""
    lengths = set(axes)
    return next((prime for prime in _PRIMES if all(axis % prime for axis in lengths)), _PRIMES[-1])


def write_onnx(model: Any, path: Path) -> None:
    """Export with tf2onnx; the batch axis stays free.

    Args:
        model: The whole backbone, a ``keras.Model`` with one input ``(n, ...)`` and one output ``(n, d)``, or with map
            and features as further outputs.
        path: Where to write.

    Raises:
        ConversionError: If tf2onnx cannot.
    """
    import onnx
    import tensorflow
    import tf2onnx

    given = model.inputs[0]
    signature = [tensorflow.TensorSpec((None, *given.shape[1:]), given.dtype, name=INPUT)]
    try:
        proto, _ = tf2onnx.convert.from_keras(model, signature, opset=_OPSET)
        replace_erfc(proto.graph)
        fold_channels(proto.graph)
        rename(proto)
        onnx.checker.check_model(proto, full_check=True)
    # tf2onnx raises anything.
    except Exception as error:
        raise ConversionError(
            f"expected a model that tf2onnx can convert, found {type(error).__name__}: {_short(error)}. "
            f"Leave ONNX out (runtimes=('tflite',)), or replace the layer that it names."
        ) from error
    path.write_bytes(proto.SerializeToString())


def rename(proto: Any) -> None:
    """Give a graph's ends the names that the quantizer knows, and its nodes names that tell preprocessing apart."""
    graph = proto.graph
    _part_outputs(graph)
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    graph.input[0].name, graph.output[0].name = INPUT, OUTPUT
    for i, node in enumerate(graph.node):
        inside = f"/{PREPROCESS}" in f"/{node.name}"
        node.name = f"{PREPROCESS}/{node.op_type}_{i}" if inside else f"{node.op_type}_{i}"
        node.doc_string = ""
        for values in (node.input, node.output):
            for k, name in enumerate(values):
                values[k] = names.get(name, name)
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "n"
    graph.name, graph.doc_string, proto.doc_string = "backbone", "", ""
    del proto.metadata_props[:], graph.value_info[:]


def replace_erfc(graph: Any) -> None:
    """Write the complement of the error function, which tf2onnx leaves as TensorFlow's operator, as what it is."""
    import numpy as np
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        one, inside = f"{node.output[0]}/one", f"{node.output[0]}/erf"
        graph.initializer.append(numpy_helper.from_array(np.ones((), np.float32), one))
        nodes.append(helper.make_node("Erf", [node.input[0]], [inside], name=f"{node.name}/Erf"))
        nodes.append(helper.make_node("Sub", [one, inside], [node.output[0]], name=node.name))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _part_outputs(graph: Any) -> None:
    """Let map and features leave by nodes of their own: the network goes on from the map."""
    from onnx import helper

    for output, name in zip(list(graph.output)[1:], (MAP, FEATURES), strict=False):
        graph.node.append(helper.make_node("Identity", [output.name], [name], name=f"{name}/Identity"))
        output.name = name


def write_tflite(model: Any, batch: int, path: Path) -> None:
    """Export with TensorFlow's converter, with built-in operators only.

    Args:
        model: As for `write_onnx`.
        batch: Batch size that the file is for; `tflite_batch.free_batch` frees it.
        path: Where to write.

    Raises:
        ConversionError: If the converter cannot.
    """
    import tensorflow

    given = model.inputs[0]
    signature = tensorflow.TensorSpec((batch, *given.shape[1:]), given.dtype, name=INPUT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, verbose=False, input_signature=[signature])
            converter = tensorflow.lite.TFLiteConverter.from_saved_model(folder)
            converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS]
            path.write_bytes(converter.convert())
    # The converter raises anything.
    except Exception as error:
        raise ConversionError(
            f"expected a model that TensorFlow's converter takes with built-in operators, found "
            f"{type(error).__name__}: {_short(error)}. Leave TFLite out (runtimes=('onnx',)), or replace the layer."
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
