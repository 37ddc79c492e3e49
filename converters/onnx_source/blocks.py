"""Where an ONNX network may be cut: in front of each of its blocks (`block_kinds`), or at a tensor by its name."""

import difflib
from collections.abc import Sequence

from ...errors import CutError
from ..block_kinds import Kind, block_starts
from .flow import Flow, Stop
from .graph import attributes, describe
from .taps import OnnxTap, label_of

_SUMS = ("Add", "Concat", "Sum")
_MOST_SHOWN = 8


def block_cuts(flow: Flow, head: OnnxTap) -> list[OnnxTap]:
    """Find the tensors in front of blocks.

    Args:
        flow: The network.
        head: What goes into its head.

    Returns:
        The cuts: the head's input, and then what lies in front of each block, from the last to the second.
    """
    stops = flow.stops(head.tensor)
    starts = [
        start
        for start in block_starts([_kind(flow, stop) for stop in stops])
        if any(flow.layers(stop.nodes) for stop in stops[:start])
    ]
    return [head, *(_tap(stops[start - 1]) for start in reversed(starts))]


def find_cut(flow: Flow, head: OnnxTap, wanted: str | int) -> OnnxTap:
    """Find a cut by its name, or by how many blocks lie behind it.

    Args:
        flow: The network.
        head: What goes into its head.
        wanted: Name of a tensor or of the node that makes it, or a number of blocks.

    Returns:
        The cut.

    Raises:
        CutError: If there is none; the message names some that are possible.
    """
    known = block_cuts(flow, head)
    if isinstance(wanted, int):
        if isinstance(wanted, bool) or not 1 <= wanted < len(known):
            raise CutError(
                f"expected a tail of 1 to {len(known) - 1} blocks, found {wanted}. "
                f"Possible cuts, from the head: {_shown(known)}."
            )
        return known[wanted]
    stops = flow.stops(head.tensor)
    for stop in stops:
        if wanted in (stop.tensor, label_of(stop.tensor), stop.node.name) and stop.tensor != head.tensor:
            return _tap(stop)
    raise CutError(_why_not(flow, head, wanted, known))


def _why_not(flow: Flow, head: OnnxTap, wanted: str, known: Sequence[OnnxTap]) -> str:
    nodes = flow.network.model.graph.node
    of = [(name, node) for node in nodes for name in node.output if wanted in (name, label_of(name), node.name)]
    near = f"Cuts that are possible, from the head: {_shown(known)}."
    own = f"expected a cut in front of the head's input, found it itself, {wanted!r}: that is the head alone, which "
    own += f"every bundle adapts. Leave the cut out. {near}"
    if wanted == head.label:
        return own
    if not of:
        names = [label_of(name) for node in nodes for name in node.output]
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
        nearest = f" Close to it: {close}." if close else ""
        return f"expected the name of a tensor or node as cut, found {wanted!r}.{nearest} {near}"
    tensor, node = of[0]
    start = "expected a cut that all of the output depends through"
    if tensor == head.tensor:
        return own
    if tensor not in flow.values:
        return f"{start}, found {wanted!r}, which {describe(node)} makes from constants. {near}"
    other = flow.passing(tensor, head.tensor)
    if other is None:
        return f"{start}, one tensor per sample of a fixed shape, found {wanted!r}. {near}"
    if other is flow.network.makers.get(head.tensor) and not set(flow.moving(other)) & {tensor}:
        reason = f"{describe(other)} takes something that does not depend on it"
    else:
        reason = f"{describe(other)} takes what passes by it, too"
    return f"{start}, found {wanted!r}: {reason} (a shortcut or a branch). {near}"


def _shown(cuts: Sequence[OnnxTap]) -> list[str]:
    return [cut.label for cut in cuts[1 : 1 + _MOST_SHOWN]]


def _tap(stop: Stop) -> OnnxTap:
    return OnnxTap(stop.tensor, stop.axis, stop.shape, label_of(stop.tensor))


def _kind(flow: Flow, stop: Stop) -> Kind:
    layers = flow.layers(stop.nodes)
    if not layers:
        return ""
    if len(layers) > 1:
        if stop.node.op_type == "Mul":
            return "gate"
        if stop.node.op_type in _SUMS:
            return "attention" if any(node.op_type == "Softmax" for node in stop.nodes) else "sum"
        return "other"
    (layer,) = layers
    weight = flow.network.constant(layer.input[1]) if layer.op_type == "Conv" else None
    if weight is None:
        return "other"
    if attributes(layer).get("group", 1) == len(weight) and weight.shape[1] == 1 and len(weight) > 1:
        return "depthwise"
    if set(weight.shape[2:]) != {1}:
        return "other"
    return "expansion" if weight.shape[0] > weight.shape[1] else "pointwise"
