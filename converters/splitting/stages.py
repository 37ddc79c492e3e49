"""Choose where to tap a network: at the ends of its stages.

The calls of a run form a tree. From the root down, containers are opened until what is left, the *spine*, is a sequence
of blocks (two or more layers that belong together: a residual block, a whole stage) and single layers. Along the spine,
equal shapes in a row are one stage, and the last of them is its end. Where a network has blocks, the layers in front of
and between them (stem, downsampling) are no stages; where it has none, its layers are. A transformer whose blocks all
keep one sequence of tokens is a single stage, so that blocks inside it count too: a quarter, a half and three quarters
of the way through.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

from .trace import Call, Signal, Trace

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
)


@dataclass(frozen=True)
class TapPoint:
    """A place in a network where activations are taken.

    Args:
        module: Name of the module.
        number: Which of its calls in one run, from 1.
        side: Whether its output or its input is meant.
        axis: The channel axis; every other axis but the batch is pooled.
        label: The name that the manifest shows.
        pool: Whether the mean over positions is meant or the maximum.
        tokens: Of a sequence, the first token that is pooled and the one behind the last; None for all.
        masked: Whether tokens of padding are left out.
    """

    module: str
    number: int
    side: Literal["output", "input"]
    axis: int
    label: str
    pool: Literal["mean", "max"] = "mean"
    tokens: tuple[int, int] | None = None
    masked: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage of a network.

    Args:
        end: Where it ends.
        inner: Ends of blocks inside it, where all blocks of the network keep one sequence of tokens.
    """

    end: TapPoint
    inner: tuple[TapPoint, ...] = ()


@dataclass(frozen=True)
class _Stop:
    call: Call
    signal: Signal
    is_block: bool
    is_layer: bool


def find_stages(traced: Trace, head: Call) -> list[Stage]:
    """Find the stages.

    Args:
        traced: A run of the model.
        head: The call of its head.

    Returns:
        Where to tap, in order of depth, the cut not included. Taps that repeat the cut are not sorted out here.
    """
    spine = spine_of(traced.root, head)
    stops = [
        _Stop(call, call.output, _is_block(call), bool(call.layers()))
        for call in spine
        if call.output is not None and _is_activation(call.output, traced)
    ]
    groups = [group for group in _groups(stops) if any(stop.call.has_parameters for stop in group)]
    blocks = [i for i, group in enumerate(groups) if any(stop.is_block for stop in group)]
    if blocks:
        alone = groups[blocks[0]] if len(blocks) == 1 else None
        groups = [group for i, group in enumerate(groups) if i in blocks or i > blocks[-1]]
        return [
            Stage(_tap(group[-1], [*spine, head], traced), _inner(group, traced) if group is alone else ())
            for group in groups
        ]
    return [Stage(_tap(group[-1], [*spine, head], traced)) for group in groups]


def is_tokens(point: TapPoint, signal: Signal) -> bool:
    """Return whether activations are a sequence of tokens ``(n, tokens, channels)``."""
    return len(signal.shape) == 3 and point.axis == 2


def signal_at(point: TapPoint, traced: Trace) -> Signal:
    """Return what passes at a point of a run."""
    call = [call for call in traced.root.all() if call.name == point.module][point.number - 1]
    signal = call.output if point.side == "output" else call.input
    assert signal is not None, point.label  # noqa: S101  points are made of tensors of activations only
    return signal


def named_point(call: Call, side: Literal["output", "input"], traced: Trace) -> TapPoint | None:
    """Return the tap at a call's output or input, or None where that is not a tensor of activations."""
    signal = call.output if side == "output" else call.input
    if signal is None or not _is_activation(signal, traced):
        return None
    name = call.name or "model"
    label = name if traced.calls[call.name] == 1 else f"{name}@{call.number}"
    label += ":input" if side == "input" else ""
    return TapPoint(call.name, call.number, side, _channel_axis(call, signal, traced), label)


def _is_activation(signal: Signal | None, traced: Trace) -> bool:
    batch = traced.root.input
    return signal is not None and batch is not None and len(signal.shape) >= 2 and signal.shape[0] == batch.shape[0]


def spine_of(root: Call, head: Call) -> list[Call]:
    """Return the blocks and layers that run one after another, up to the head, which is left out.

    Args:
        root: The call of the whole model.
        head: The call of its head.
    """
    spine = list(_open(root, head))
    while True:
        blocks = [call for call in spine if _is_block(call)]
        # A single block is no stage among others but the network itself, unless it is one unit that adds or joins.
        if len(blocks) != 1 or not (any(map(_is_block, blocks[0].children)) or _is_sequence(blocks[0])):
            return spine
        at = spine.index(blocks[0])
        spine[at : at + 1] = [part for child in blocks[0].children for part in _open(child, head)]


def _open(call: Call, head: Call) -> Iterator[Call]:
    if not call.children or not (call.contains(head) or _is_container(call)):
        yield call
        return
    for child in call.children:
        if child is head:
            return
        yield from _open(child, head)
        if child.contains(head):
            return


def _is_block(call: Call) -> bool:
    return len(call.layers()) >= 2


def _is_container(call: Call) -> bool:
    # A block or a stage changes the resolution once at most.
    sizes = {_positions(layer) for layer in call.layers()} - {0, 1}
    if len(sizes) >= 3:
        return True
    blocks = [child for child in call.children if _is_block(child)]
    return len(blocks) >= 2 and all(_follows(call, a, b) for a, b in pairwise(blocks))


def _follows(parent: Call, first: Call, second: Call) -> bool:
    # Back from the second call by call: a sum on the way, as at the end of a residual branch, breaks the chain.
    at = second
    for call in reversed(parent.children[parent.children.index(first) : parent.children.index(second)]):
        if at.input is not None and at.input.same_as(call.output):
            at = call
    return at is first


def _is_sequence(call: Call) -> bool:
    inner = call.children
    ends = bool(inner) and inner[-1].output is not None and inner[-1].output.same_as(call.output)
    return ends and all(b.input is not None and b.input.same_as(a.output) for a, b in pairwise(inner))


def _positions(layer: Call) -> int:
    if layer.output is None or len(layer.output.shape) < 3:
        return 0
    shape = layer.output.shape
    return math.prod(shape[1:]) // shape[_axis_of(layer.module, shape)]


def _groups(stops: list[_Stop]) -> list[list[_Stop]]:
    groups: list[list[_Stop]] = []
    for stop in stops:
        shape = stop.signal.shape
        # Among vectors every layer is a stage of its own: the hidden layers of a perceptron may have equal widths.
        new = not groups or groups[-1][-1].signal.shape != shape or (len(shape) == 2 and stop.is_layer)
        if new:
            groups.append([])
        groups[-1].append(stop)
    return groups


def _inner(group: list[_Stop], traced: Trace) -> tuple[TapPoint, ...]:
    # Embeddings look like a block too, but they make the tokens.
    blocks = [
        stop for stop in group if stop.is_block and stop.call.input and stop.call.input.shape == stop.signal.shape
    ]
    n = len(blocks)
    # The last block is the end, or what the network goes on to normalise is.
    places = dict.fromkeys((n * quarter + 2) // 4 for quarter in (1, 2, 3))
    points = [named_point(blocks[at - 1].call, "output", traced) for at in places if 1 <= at < n]
    return tuple(at for at in points if at is not None and is_tokens(at, signal_at(at, traced)))


def _tap(end: _Stop, spine: list[Call], traced: Trace) -> TapPoint:
    point = named_point(end.call, "output", traced)
    assert point is not None, end.call.name  # noqa: S101  stops hold tensors of activations only
    following = spine[spine.index(end.call) + 1]
    inside = any(following.input is not None and following.input.same_as(call.output) for call in spine)
    # `F.relu(conv(x))`: the activation is seen only where it goes in; averages before it would be linear in the input.
    # A sequence of tokens (channels last) ends in a normalisation and has no activation to wait for.
    if end.call.has_parameters and not end.is_block and not inside and point.axis == 1:
        instead = named_point(following, "input", traced)
        # A map that was flattened on the way would be a tap as wide as all its positions together.
        if instead is not None and following.input is not None and not _flattens(end.signal, following.input, point):
            return instead
    return point


def _flattens(before: Signal, after: Signal, point: TapPoint) -> bool:
    return len(after.shape) < len(before.shape) and math.prod(after.shape[1:]) > before.shape[point.axis]


def _channel_axis(call: Call, signal: Signal, traced: Trace) -> int:
    if len(signal.shape) == 2:
        return 1
    leaves = traced.root.leaves()
    last = call.leaves()[-1] if call.output is signal else call.leaves()[0]
    upto = leaves.index(last) + (1 if call.output is signal else 0)
    made_by = next((leaf.module for leaf in reversed(leaves[:upto]) if leaf.has_parameters), None)
    return _axis_of(made_by, signal.shape)


def _axis_of(module: nn.Module | None, shape: tuple[int, ...]) -> int:
    weight = None if module is None else next(module.parameters(recurse=False), None)
    first = weight is None or isinstance(module, _CHANNELS_FIRST)
    likely, other = (1, len(shape) - 1) if first else (len(shape) - 1, 1)
    # LayerNorm inside a pair of permutations and the like: the width of the weight says which axis it is.
    if weight is not None and shape[likely] != weight.shape[0] and shape[other] == weight.shape[0]:
        return other
    return likely
