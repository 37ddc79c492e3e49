"""The tail of an ONNX network: what lies behind a cut, found and checked, and then made into a torch module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ...errors import ConversionError, CutError
from .blocks import find_cut
from .flow import Flow
from .graph import Network, attributes, describe
from .head import OnnxHead
from .observation import operations_of, watch
from .operation import BATCHES, Array, Seen
from .rules import RULES
from .tail_module import OnnxTail
from .taps import OnnxTap
from .weights import Use, check_own, parameter_name, trained_uses

Float32 = NDArray[np.float32]
_PARITY = 1e-3


@dataclass(frozen=True, eq=False)
class FoundTail:
    """A cut of a network, and what lies behind it; nothing of it has run.

    Args:
        network: The network, its batch axis free.
        flow: How values flow through it.
        file: The file's name.
        cut: The cut.
        head: The head.
        end: What goes into the head.
        nodes: The nodes between the two, in order.
        weights: Where they take weights, and what these are called.
    """

    network: Network
    flow: Flow
    file: str
    cut: OnnxTap
    head: OnnxHead
    end: OnnxTap
    nodes: tuple[onnx.NodeProto, ...]
    weights: Mapping[Use, str]


@dataclass(frozen=True, eq=False)
class OnnxTailPart:
    """A tail that can be differentiated (`tail_plan.Trainable`).

    Args:
        module: From maps to logits.
        weight: Name of the head's weight.
        bias: Name of the head's bias.
        notes: What a user should know about training it, in words.
    """

    module: OnnxTail
    weight: str
    bias: str | None
    notes: tuple[str, ...] = field(default=())


def find_tail(
    network: Network, file: str, head: OnnxHead, end: OnnxTap, wanted: str | int, *, quantized: bool = False
) -> FoundTail:
    """Find a cut, and refuse what cannot be trained behind it.

    Args:
        network: The network, its batch axis free.
        file: The file's name.
        head: Its head.
        end: What goes into the head.
        wanted: Name of the cut, or how many blocks lie behind it.
        quantized: Whether the file computes in 8 bits.

    Returns:
        The tail.

    Raises:
        CutError: If there is no such cut, or its two sides share weights.
        ConversionError: If an operation behind it has no rule; the message names the node.
    """
    if quantized:
        node = next(node for node in network.model.graph.node if "Linear" in node.op_type or "Integer" in node.op_type)
        raise ConversionError(
            f"{file}: expected float weights behind a cut, found a file in 8 bits ({describe(node)}), which cannot be "
            f"trained. Convert it at its head, or the float model that it was made from."
        )
    if not len(head.weight):
        raise CutError(f"{file}: expected a head behind the cut, found none: {head.note}. Convert without a tail.")
    flow = Flow(network)
    return tail_at(flow, file, head, end, find_cut(flow, end, wanted))


def tail_at(flow: Flow, file: str, head: OnnxHead, end: OnnxTap, cut: OnnxTap) -> FoundTail:
    """Return the tail behind a tensor that separates a network. Errors are those of `find_tail`."""
    network = flow.network
    nodes = tuple(flow.between(cut.tensor, end.tensor))
    unknown = next(iter(untrained(nodes)), None)
    if unknown is not None:
        raise ConversionError(
            f"{file}: expected operations that can be trained behind the cut {cut.label!r}, found "
            f"{describe(unknown)}, whose gradient has no rule here. Cut behind it (`acclimate cuts` lists where), or "
            f"convert the model that the file was made from."
        )
    front = flow.between(network.source, cut.tensor)
    check_own(network, front, nodes, cut.label, file)
    return FoundTail(network, flow, file, cut, head, end, nodes, trained_uses(network, nodes))


def build_tail(found: FoundTail, prepared: NDArray[Any], turn: Sequence[int] = ()) -> OnnxTailPart:
    """Make a torch module of a tail, and compare it with ONNX Runtime, tensor by tensor.

    Args:
        found: The tail.
        prepared: ``(3, ...)`` samples as the network takes them.
        turn: How the axes of a map are to be ordered to become the cut's tensor; empty where they are its own.

    Returns:
        The tail.

    Raises:
        ConversionError: If it cannot be run, or computes something else than ONNX Runtime.
    """
    network = found.network
    seen = watch(network, found.nodes, [found.cut.tensor, found.end.tensor], prepared, found.file)
    trained: dict[str, Float32] = {}
    operations, fixed = operations_of(found.flow, found.nodes, found.weights, seen, trained, found.file)
    weight, bias = _head_names(found, trained)
    trained |= {weight: found.head.weight, bias: found.head.bias}
    module = OnnxTail(
        operations, found.cut.tensor, turn, found.end.tensor, found.end.axis, trained, fixed, (weight, bias)
    ).eval()
    _check(module, found, seen, turn)
    return OnnxTailPart(module, *module.head, notes_on(found.nodes))


def untrained(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that have no rule here, so that nothing in front of them can be trained."""
    return [node for node in nodes if node.op_type not in RULES]


def notes_on(nodes: Sequence[onnx.NodeProto]) -> tuple[str, ...]:
    """Say what behaves otherwise in a tail of some nodes than where the network was trained."""
    norms = sum(node.op_type == "BatchNormalization" for node in nodes)
    return (f"{norms} batch normalisations keep their running statistics.",) if norms else ()


def _head_names(found: FoundTail, taken: Mapping[str, Array]) -> tuple[str, str]:
    """Return names of the head's weight and bias: the file's own, where it has them."""
    network = found.network
    nodes = reversed(network.model.graph.node)
    node = next((one for one in nodes if f"{one.name or one.output[0]}:input" == found.head.label), None)
    if node is None:
        layer = found.head.label.removesuffix(":input")
        return parameter_name(f"{layer}/weight", taken), parameter_name(f"{layer}/bias", taken)
    given = [name for name in node.input if name not in network.live]
    follows = next(iter(network.uses(node.output[0])), None)
    if len(given) < 2 and follows is not None and follows.op_type == "Add":
        given += [name for name in follows.input if name not in network.live]
    weight = parameter_name(given[0], taken)
    return weight, parameter_name(given[1] if len(given) > 1 else f"{weight}/bias", [*taken, weight])


def _check(module: OnnxTail, found: FoundTail, seen: Mapping[str, Seen], turn: Sequence[int]) -> None:
    """Compare every tensor on the way, so that the first node that differs is known."""
    order = np.argsort(turn) if turn else None
    for expected in range(len(BATCHES)):
        start = seen[found.cut.tensor][expected]
        maps = torch.from_numpy(np.ascontiguousarray(start if order is None else start.transpose(order)))
        with torch.no_grad():
            values = module.values(maps.float())
        for node in found.nodes:
            for name in node.output:
                if name not in values or name not in seen:
                    continue
                known, own = seen[name][expected], values[name].numpy()
                size = float(np.abs(known).max(initial=0)) + 1e-12
                if known.shape != own.shape or not float(np.abs(own - known).max(initial=0)) <= _PARITY * size:
                    found_instead = f"{own.shape}" if known.shape != own.shape else "others"
                    raise ConversionError(
                        f"{found.file}: expected {describe(node)} to give the values of ONNX Runtime in the tail, "
                        f"{known.shape}, found {found_instead}, with the attributes {sorted(attributes(node))}. "
                        f"Cut behind it, or convert the model that the file was made from."
                    )
