"""How layers make blocks, where a model tells no modules: in an ONNX graph, and among the layers of Keras.

A block is what lies between two tensors that separate the model and has layers in it, with three exceptions: a
depthwise convolution takes with it the pointwise one that expands in front of it, the gate and the projection behind
it; an attention takes the feed-forward layers behind it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

# What lies between two separating tensors: nothing with weights, one convolution of a kind, several layers that end in
# a product or a sum, or anything else.
Kind = Literal["", "depthwise", "expansion", "pointwise", "gate", "sum", "attention", "other"]
# What a block still waits for, by what came last, and what then belongs to it.
_WAITS: Mapping[Kind, str] = {"depthwise": "projection", "expansion": "depthwise", "attention": "feed-forward"}
_JOINS: Mapping[str, tuple[Kind, ...]] = {
    "depthwise": ("depthwise",),
    "projection": ("gate", "pointwise", "expansion"),
    "feed-forward": ("sum",),
}


def block_starts(kinds: Sequence[Kind]) -> list[int]:
    """Return where blocks begin.

    Args:
        kinds: What lies in front of each separating tensor, from the one before it, in order.

    Returns:
        Places in `kinds`.
    """
    starts: list[int] = []
    waits = ""
    for i, kind in enumerate(kinds):
        if not kind:
            continue
        joins = kind in _JOINS.get(waits, ())
        if not joins:
            starts.append(i)
        if joins and kind == "gate":
            continue
        ends = joins and waits == "projection"
        waits = "" if ends else _WAITS.get(kind, "")
    return starts
