"""Where a Keras model may be cut for a tail: in front of each of its blocks, or at a layer by its name."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import CutError
from ..block_kinds import Kind, block_starts
from .unroll import Step, Symbol, before

_SUMS = ("Add", "Concatenate", "Average", "Subtract")
_GATES = ("Multiply",)
_ATTENTIONS = ("MultiHeadAttention", "GroupQueryAttention", "Attention")
_MOST_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Stop:
    """A layer whose output separates a model: everything behind it depends on the input through it alone.

    Args:
        step: The layer's call.
        steps: What was called since the stop before, in order, `step` the last.
    """

    step: Step
    steps: tuple[Step, ...]


def find_cut(steps: Sequence[Step], end: Symbol, wanted: str | int) -> Step:
    """Find a cut by the name of a layer, or by how many blocks lie behind it.

    Args:
        steps: The model (`unroll`).
        end: What goes into the head.
        wanted: The name, or the number.

    Returns:
        The layer whose output the tail takes.

    Raises:
        CutError: If there is none; the message names some that are possible.
    """
    leading = before(steps, end)
    stops = separating(leading)
    known = block_cuts(stops, end)
    shown = [step.name for step in known[:_MOST_SHOWN]]
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(known):
            raise CutError(
                f"expected a tail of 1 to {len(known)} blocks, found {wanted}. Possible cuts, from the head: {shown}."
            )
        return known[wanted - 1]
    found = [step for step in leading if wanted in (step.name, step.name.rpartition("/")[2])]
    exact = [step for step in found if step.name == wanted] or found
    if len(exact) != 1:
        near = difflib.get_close_matches(wanted, [step.name for step in leading], n=3, cutoff=0.4)
        many = f", {len(exact)} of that name" if exact else ""
        raise CutError(
            f"expected a layer in front of the head as cut, found {wanted!r}{many}."
            f"{f' Close to it: {near}.' if near else ''} Cuts that are possible, from the head: {shown}."
        )
    (step,) = exact
    if step.output is end:
        raise CutError(
            f"expected a cut in front of the head's input, found it itself, {wanted!r}: that is the head alone. Leave "
            f"the cut out, or cut at one of {shown}."
        )
    if all(stop.step is not step for stop in stops):
        raise CutError(
            f"expected a cut that all of the output depends through, one tensor of a fixed shape, found {wanted!r}, "
            f"which a shortcut or a branch passes by. Cuts that are possible, from the head: {shown}."
        )
    return step


def separating(steps: Sequence[Step]) -> list[Stop]:
    """Return the layers that separate a model, in order.

    Args:
        steps: What the head's input is computed from.
    """
    last_use = {id(value): i for i, step in enumerate(steps) for value in step.inputs}
    made = {id(step.output) for step in steps}
    furthest = max((i for value, i in last_use.items() if value not in made), default=0)
    stops: list[Stop] = []
    since = 0
    for i, step in enumerate(steps):
        alone = furthest <= i
        furthest = max(furthest, last_use.get(id(step.output), 0))
        if alone and len(step.shape) >= 2 and None not in step.shape[1:]:
            stops.append(Stop(step, tuple(steps[since : i + 1])))
            since = i + 1
    return stops


def block_cuts(stops: Sequence[Stop], end: Symbol) -> list[Step]:
    """Return the layers in front of blocks, from the last block to the second."""
    starts = block_starts([_kind(stop) for stop in stops])
    usable = [i for i in starts if any(_kind(stop) for stop in stops[:i])]
    return [stops[i - 1].step for i in reversed(usable) if stops[i - 1].step.output is not end]


def _kind(stop: Stop) -> Kind:
    layers = [step for step in stop.steps if step.has_weights]
    if not layers:
        return ""
    if any(step.kind in _ATTENTIONS for step in layers) and stop.step.kind in _SUMS:
        return "attention"
    if len(layers) > 1:
        return "gate" if stop.step.kind in _GATES else "sum" if stop.step.kind in _SUMS else "other"
    (layer,) = layers
    if layer.kind == "DepthwiseConv2D":
        return "depthwise"
    if layer.kind != "Conv2D" or math.prod(layer.layer.kernel_size) != 1:
        return "other"
    inputs, outputs = layer.inputs[0].shape[-1], layer.shape[-1]
    return "expansion" if (outputs or 0) > (inputs or 0) else "pointwise"
