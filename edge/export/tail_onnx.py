"""Write the complete model of a trained tail as one ONNX file: backbone, tail, probabilities."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ...latent import Float32
from ...manifest import InputSpec
from ...tail_content import TailContent
from ..runtime.onnx_scan import refuse_external_data
from .onnx import LEAST_NORMAL, about
from .onnx_graph import OpenGraph, node
from .tail_graph import splice

# Between these versions of ONNX's operators, those that a tail is made of mean the same.
_FIRST, _LAST = 18, 24
_INSIDE = ("low", "high", "raised", "clipped")
_INSIDE_MERGED = ("row_logits", "row_probabilities", "sums", "least", "positive")


def export_tail(
    backbone: bytes,
    tail: TailContent,
    parameters: Mapping[str, Float32],
    classes: Sequence[str],
    columns: NDArray[np.int64] | None = None,
    *,
    spec: InputSpec | None = None,
    provenance: Mapping[str, str] | None = None,
) -> bytes:
    """Put a trained tail behind a backbone: raw input to probabilities, for any batch size.

    Args:
        backbone: The ONNX file from raw input to latent and map.
        tail: The tail of the bundle; its forward pass is joined, with the parameters as constants.
        parameters: The parameters by name.
        classes: Names of the classes.
        columns: ``(r,) int64`` place in `classes` of each row of the tail's head; None where they are the same. Rows of
            the same class have their probabilities summed.
        spec: What one raw sample is, to be noted in the file.
        provenance: Where the model comes from, to be noted in the file.

    Returns:
        The ONNX file, as of `export_onnx`.

    Raises:
        BackendError: If backbone and tail cannot be joined.
    """
    for content in (backbone, tail.forward):
        refuse_external_data(content)
    graph, code = OpenGraph.read(backbone), tail.code
    prefix = graph.prefix("tail")
    low, high, raised, clipped = (f"{prefix}{name}!" for name in _INSIDE)
    logits, probabilities = row_logits, row_probabilities = graph.fresh("logits"), graph.fresh("probabilities")
    along = [-1 if i == code.axis - 1 else 1 for i in range(len(code.shape))]
    constants = {low: code.offset.reshape(along), high: (code.offset + 255 * code.scale).reshape(along)}
    summing: list[bytes] = []
    if columns is not None:
        row_logits, row_probabilities, sums, least, positive = (f"{prefix}{name}!" for name in _INSIDE_MERGED)
        together = (columns[:, None] == np.arange(len(classes))).astype(np.float32)
        constants |= {sums: together, least: LEAST_NORMAL}
        summing = [
            node("MatMul", (row_probabilities, sums), probabilities),
            node("Max", (probabilities, least), positive),
            node("Log", (positive,), logits),
        ]
    given = {f"parameter/{name}": f"{prefix}{name}" for name in parameters}
    inside = splice(tail.forward, {"map": clipped, "logits": row_logits, **given}, f"{prefix}graph/")
    if graph.map is None or not _FIRST <= inside.operators <= graph.operators <= _LAST:
        raise BackendError(
            f"expected a backbone that gives maps, with operators of version {inside.operators} to {_LAST}, found "
            f"version {graph.operators}{'' if graph.map else ' and no maps'}. Convert the model again."
        )
    constants |= {given[f"parameter/{name}"]: values for name, values in parameters.items()}
    nodes = [
        node("Max", (graph.map, low), raised),
        node("Min", (raised, high), clipped),
        *inside.nodes,
        node("Softmax", (row_logits,), row_probabilities, axis=1),
        *summing,
    ]
    k = len(classes)
    metadata = {"classes": json.dumps(list(classes)), **about(spec, provenance)}
    return graph.close(nodes, constants, {probabilities: k, logits: k}, metadata, inside.constants)
