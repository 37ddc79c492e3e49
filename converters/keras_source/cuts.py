"""Measure the places where a Keras model may be cut; in TensorFlow's process."""

import math
from collections.abc import Sequence
from typing import Any

from .backbone import Backbone
from .blocks import block_cuts, separating
from .head import Head
from .unroll import Step, before
from .workload import Cost, cost_of, folded_norms, trained

# A training step at this batch is what memory is told for, in float32.
_BATCH, _FLOAT = 32, 4
# Layers whose exported operators have no gradient here: nothing in front of them can be trained.
_UNTRAINED = (
    *("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Conv3D", "MaxPooling3D", "AveragePooling3D"),
    *("UpSampling1D", "UpSampling2D", "UpSampling3D", "Resizing", "Embedding"),
)


def measure_cuts(backbone: Backbone) -> list[dict[str, Any]]:
    """Measure the head's input and the layers in front of blocks, from the head backwards.

    Args:
        backbone: The model, in two parts.

    Returns:
        What `list_keras_cuts` returns, as plain values for JSON.
    """
    head = backbone.head
    end = head.step.inputs[0]
    leading = before(backbone.steps, end)
    folded = folded_norms(leading)
    own = _head(head)
    whole = cost_of(leading, folded).plus(own)
    latent = sum(width for _, width in backbone.taps)
    places = {id(step): i + 1 for i, step in enumerate(leading)}
    found = [_figures(f"{head.step.name}:input", tuple(head.cut.shape), 0, latent, own, whole)]
    for blocks, cut in enumerate(block_cuts(separating(leading), end), 1):
        front, behind = leading[: places[id(cut)]], leading[places[id(cut)] :]
        if any(step.kind in _UNTRAINED for step in behind):
            break
        cost = cost_of(behind, folded).plus(own)
        stored = latent + math.prod(int(length or 1) for length in cut.shape[1:])
        figures = _figures(cut.name, cut.shape, blocks, stored, cost, whole)
        known = {id(weight) for step in front for weight in getattr(step.layer, "weights", ())}
        figures["shared"] = [w.path for step in behind for w in trained(step, folded) if id(w) in known]
        figures["notes"] = _notes(behind, folded)
        found.append(figures)
    return found


def _figures(
    name: str, shape: Sequence[int | None], blocks: int, stored: int, cost: Cost, whole: Cost
) -> dict[str, Any]:
    return {
        "name": name,
        "blocks": blocks,
        "map_shape": [int(length or 1) for length in shape[1:]],
        "latent_bytes": stored,
        "parameters": cost.parameters,
        "parameter_share": cost.parameters / max(1, whole.parameters),
        "multiply_adds": cost.products,
        "compute_share": cost.products / max(1, whole.products),
        "activation_bytes": _BATCH * _FLOAT * cost.kept,
        "activation_share": cost.kept / max(1, whole.kept),
        "shared": [],
        "notes": [],
    }


def _head(head: Head) -> Cost:
    classes, width = head.weight.shape
    return Cost(classes * width + classes, classes * width, classes)


def _notes(behind: Sequence[Step], folded: dict[int, Step]) -> list[str]:
    norms = sum(step.kind == "BatchNormalization" and id(step) not in folded for step in behind)
    return [f"{norms} batch normalisations keep their running statistics."] if norms else []
