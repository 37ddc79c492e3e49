"""Choose where to tap an ONNX network: at the ends of its stages.

A tensor through which everything behind it depends on the input separates the network. Those of one resolution in a row
are a stage. It ends where its last residual sum ends, with what only rectifies or normalises behind it; where a network
has no sums, with its last layer's activation.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx

from ...errors import CutError
from ..tap_pooling import MAX
from .graph import Network, attributes

_SUMS = ("Add", "Concat", "Sum")
# What may follow the end of a stage and belongs to it.
_POINTWISE = (
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Sigmoid", "Gelu", "Mish", "Selu"),
    *("BatchNormalization", "LayerNormalization", "QuantizeLinear", "DequantizeLinear", "Identity"),
)


@dataclass(frozen=True)
class OnnxTap:
    """A tensor whose average over positions, or maximum, is part of the latent.

    Args:
        tensor: Its name in the file.
        axis: The channel axis.
        shape: Shape of one sample.
        label: Its name for the manifest.
        pool: Whether the mean over positions is meant or the maximum.
    """

    tensor: str
    axis: int
    shape: tuple[int, ...]
    label: str
    pool: Literal["mean", "max"] = "mean"

    @property
    def width(self) -> int:
        """Number of dimensions that it gives."""
        return self.shape[self.axis - 1]


@dataclass(frozen=True, eq=False)
class _Stop:
    tensor: str
    node: onnx.NodeProto
    layers: int
    shape: tuple[int, ...]
    axis: int

    @property
    def positions(self) -> tuple[int, ...]:
        return tuple(length for i, length in enumerate(self.shape, 1) if i != self.axis)


def choose_taps(network: Network, cut: str, wanted: str | Sequence[str]) -> list[OnnxTap]:
    """Choose the taps in front of a cut.

    Args:
        network: The network.
        cut: Name of the tensor that is the cut.
        wanted: ``"all"`` for the ends of the stages, ``"last"`` for none, or names of tensors or nodes; ``"NAME:max"``
            means the maxima over positions.

    Returns:
        The taps in order of depth, the cut not included.

    Raises:
        CutError: If a name means none.
    """
    if wanted == "last":
        return []
    if isinstance(wanted, str) and wanted != "all":
        raise CutError(f"expected taps 'last', 'all' or a list of names, found {wanted!r}.")
    path = _path(network, cut)
    if wanted != "all":
        return [_named(network, name, path) for name in wanted]
    stops = _stops(network, cut, path)
    groups: list[list[_Stop]] = []
    for stop in stops:
        if not groups or groups[-1][-1].positions != stop.positions or (not stop.positions and stop.layers):
            groups.append([])
        groups[-1].append(stop)
    summed = [group for group in groups if any(_is_block(stop) for stop in group)]
    last = groups.index(summed[-1]) if summed else -1
    chosen: list[OnnxTap] = []
    for i, group in enumerate(groups):
        end = _end(group, blocks_only=bool(summed) and i <= last)
        if end is not None and end.tensor != cut:
            chosen.append(OnnxTap(end.tensor, end.axis, end.shape, label_of(end.tensor)))
    return chosen


def with_maxima(taps: Sequence[OnnxTap]) -> list[OnnxTap]:
    """Put the maxima of each map beside its means; a tap that is of maxima already stays alone."""
    found: list[OnnxTap] = []
    for tap in taps:
        partner = None if tap.pool == "max" else _maximum(tap)
        found += [tap] if partner is None else [tap, partner]
    return list(dict.fromkeys(found))


def _maximum(tap: OnnxTap) -> OnnxTap | None:
    return replace(tap, pool="max", label=tap.label + MAX) if math.prod(tap.shape) > tap.width else None


def label_of(tensor: str) -> str:
    """Return a tensor's name as the manifest shows it."""
    text = "".join(c for c in tensor if c.isprintable()).strip()
    for suffix in ("_DequantizeLinear_Output", "_output_0"):
        text = text.removesuffix(suffix)
    return text.strip("/")[:200] or "tensor"


def channel_axis(network: Network, tensor: str, path: Sequence[onnx.NodeProto]) -> int:
    """Return which axis of a tensor holds channels: by the last layer in front of it and the transpositions since."""
    rank = len(network.shapes.get(tensor, ()))
    if rank <= 2:
        return 1
    makes = {tensor}
    moves: list[onnx.NodeProto] = []
    for node in reversed(path):
        if not makes & set(node.output):
            continue
        if network.is_layer(node):
            first = node.op_type in ("Conv", "ConvTranspose")
            axis = 1 if first else len(network.shapes.get(node.output[0], ())) - 1
            for move in reversed(moves):
                order = list(attributes(move).get("perm", ()))
                axis = order.index(axis) if axis in order and len(order) == rank else axis
            width = _outputs(network, node)
            shape = network.shapes[tensor]
            fits = [i for i in range(1, rank) if shape[i] == width]
            return axis if axis in fits or not fits else fits[-1]
        if node.op_type == "Transpose":
            moves.append(node)
        makes |= set(network.moving(node))
    return 1


def _outputs(network: Network, node: onnx.NodeProto) -> int | None:
    shape = network.shapes.get(node.output[0], ())
    return shape[1 if node.op_type in ("Conv", "ConvTranspose") else -1] if shape else None


def _path(network: Network, cut: str) -> list[onnx.NodeProto]:
    """Return the nodes between input and cut, in order."""
    needed, path = {cut}, []
    for node in reversed(network.model.graph.node):
        if needed & set(node.output) and network.moving(node):
            path.append(node)
            needed |= set(network.moving(node))
    return path[::-1]


def _stops(network: Network, cut: str, path: list[onnx.NodeProto]) -> list[_Stop]:
    last_use = {name: i for i, node in enumerate(path) for name in network.moving(node)}
    last_use[cut] = len(path)
    stops: list[_Stop] = []
    open_until, layers = last_use.get(network.source, -1), 0
    for i, node in enumerate(path):
        layers += network.is_layer(node)
        made = [name for name in node.output if name in last_use]
        # Nothing made before is used later, so all that follows depends on this one tensor.
        if open_until <= i and len(made) == 1:
            shape = network.shapes.get(made[0], ())[1:]
            fixed = tuple(length for length in shape if length is not None)
            if len(fixed) == len(shape) and shape:
                axis = channel_axis(network, made[0], path[: i + 1])
                stops.append(_Stop(made[0], node, layers, fixed, axis))
                layers = 0
        open_until = max([open_until, *(last_use[name] for name in made)])
    return stops


def _is_block(stop: _Stop) -> bool:
    return stop.node.op_type in _SUMS and stop.layers >= 1


def _end(group: list[_Stop], *, blocks_only: bool) -> _Stop | None:
    begins = [i for i, stop in enumerate(group) if (_is_block(stop) if blocks_only else stop.layers)]
    if not begins:
        return None
    at = begins[-1]
    while at + 1 < len(group) and group[at + 1].node.op_type in _POINTWISE and group[at + 1].shape == group[at].shape:
        at += 1
    # The scale and zero point of an activation belong to it; its bytes do not.
    while group[at].node.op_type == "QuantizeLinear" and at > begins[-1]:
        at -= 1
    return group[at]


def _named(network: Network, name: str, path: list[onnx.NodeProto]) -> OnnxTap:
    for node in path:
        for tensor in node.output:
            if name in (tensor, label_of(tensor), node.name) and tensor:
                shape = network.shapes.get(tensor, ())[1:]
                fixed = tuple(length for length in shape if length is not None)
                if len(fixed) != len(shape) or not shape:
                    raise CutError(f"expected a tap of a known shape, found {name!r} {shape}. Name another.")
                return OnnxTap(tensor, channel_axis(network, tensor, path), fixed, label_of(tensor))
    if name.endswith(MAX):
        tap = _maximum(_named(network, name.removesuffix(MAX), path))
        if tap is None:
            raise CutError(f"expected a map with several positions for {name!r}, found a vector. Leave '{MAX}' out.")
        return tap
    known = [label_of(tensor) for node in path for tensor in node.output]
    raise CutError(
        f"expected the name of a tensor or node in front of the head as a tap, found {name!r}. "
        f"Close to it: {difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]}."
    )
