"""Write the complete adapted model as one ONNX file, on the device, with nothing but numpy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...errors import BackendError
from ...latent import LatentCode
from ...manifest import InputSpec
from ..runtime.onnx_scan import refuse_external_data
from .exported_head import exported_head
from .onnx_graph import OpenGraph, node

_INSIDE = ("low", "high", "weight", "bias", "raised", "clipped")
_INSIDE_MERGED = ("row_logits", "row_probabilities", "sums", "least", "positive")
# The logarithm of a probability that rounds to 0 must stay finite.
LEAST_NORMAL = np.array(2.0**-126, np.float32)


def export_onnx(
    backbone: bytes,
    layer: LinearLayer,
    code: LatentCode,
    classes: Sequence[str],
    groups: NDArray[np.int64] | None = None,
    *,
    spec: InputSpec | None = None,
    provenance: Mapping[str, str] | None = None,
) -> bytes:
    """Put a head behind a backbone: raw input to probabilities, for any batch size.

    Needs neither the onnx package nor a runtime. What else the backbone's file holds stays byte for byte.

    Args:
        backbone: The ONNX file from raw input to latent.
        layer: The head; rows with bias `ABSENT` are left out.
        code: The latent's 8-bit code: latents are brought into its range, as the learner does.
        classes: Names of the classes, one per row of the head, or per number in `groups`.
        groups: ``(r,) int64`` for each row the place of its class in `classes`. Rows of the same class have their
            probabilities summed.
        spec: What one raw sample is, to be noted in the file.
        provenance: Where the model comes from, to be noted in the file.

    Returns:
        The ONNX file: the backbone's input, and ``probabilities`` and ``logits``, both ``(n, k) float32``, where the
        softmax of the logits is the probabilities. Classes without a row are left out. Should something in the backbone
        have one of these names, ours gets a ``_``. The metadata hold, as JSON, ``acclimate.classes``, the names in the
        order of the columns, and ``acclimate.input`` and ``acclimate.provenance`` where given.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width.
        InputError: If head, classes and groups do not fit together, or no row is left.
    """
    graph = _read(backbone, code)
    head = exported_head(layer, len(code.offset), classes, groups)
    low, high, weight, bias, raised, clipped = (graph.fresh(f"head/{name}") for name in _INSIDE)
    logits, probabilities = row_logits, row_probabilities = graph.fresh("logits"), graph.fresh("probabilities")
    constants = {low: code.offset, high: code.top, weight: head.weight, bias: head.bias}
    summing: list[bytes] = []
    if head.sums is not None:
        row_logits, row_probabilities, sums, least, positive = (graph.fresh(f"head/{name}") for name in _INSIDE_MERGED)
        constants |= {sums: head.sums, least: LEAST_NORMAL}
        summing = [
            node("MatMul", (row_probabilities, sums), probabilities),
            node("Max", (probabilities, least), positive),
            node("Log", (positive,), logits),
        ]
    nodes = [
        node("Max", (graph.output, low), raised),
        node("Min", (raised, high), clipped),
        node("Gemm", (clipped, weight, bias), row_logits, transB=1),
        node("Softmax", (row_logits,), row_probabilities, axis=1),
        *summing,
    ]
    k = len(head.classes)
    metadata = {"classes": json.dumps(head.classes), **about(spec, provenance)}
    return graph.close(nodes, constants, {probabilities: k, logits: k}, metadata)


def export_values_onnx(
    backbone: bytes,
    layer: LinearLayer,
    code: LatentCode,
    targets: Sequence[str],
    *,
    spec: InputSpec | None = None,
    provenance: Mapping[str, str] | None = None,
) -> bytes:
    """Put a regression head behind a backbone: raw input to values, for any batch size.

    Args:
        backbone: As for `export_onnx`.
        layer: The head, one row per target.
        code: As for `export_onnx`.
        targets: Names of the targets.
        spec: As for `export_onnx`.
        provenance: As for `export_onnx`.

    Returns:
        The ONNX file: the backbone's input, and ``values (n, t) float32``; the metadata `acclimate.targets` hold the
        names in the order of the columns, as JSON.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width.
    """
    graph = _read(backbone, code)
    low, high, weight, bias, raised, clipped = (graph.fresh(f"head/{name}") for name in _INSIDE)
    values = graph.fresh("values")
    constants = {low: code.offset, high: code.top, weight: layer.weight, bias: layer.bias}
    nodes = [
        node("Max", (graph.output, low), raised),
        node("Min", (raised, high), clipped),
        node("Gemm", (clipped, weight, bias), values, transB=1),
    ]
    metadata = {"targets": json.dumps(list(targets)), **about(spec, provenance)}
    return graph.close(nodes, constants, {values: len(targets)}, metadata)


def _read(backbone: bytes, code: LatentCode) -> OpenGraph:
    refuse_external_data(backbone)
    graph, d = OpenGraph.read(backbone), len(code.offset)
    if graph.width not in (None, d):
        raise BackendError(
            f"expected a backbone for latents of width {d}, found {graph.width}. Convert the model again."
        )
    return graph


def about(spec: InputSpec | None, provenance: Mapping[str, str] | None) -> dict[str, str]:
    """Return what is noted in a file of where it comes from and what it takes in."""
    about = {} if spec is None else {"input": json.dumps(asdict(spec))}
    return about if provenance is None else {**about, "provenance": json.dumps(dict(provenance))}
