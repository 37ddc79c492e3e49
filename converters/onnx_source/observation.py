"""What the nodes behind a cut make, seen with ONNX Runtime at two batch sizes: their shapes need not be computed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ...errors import ConversionError
from ..quiet import quiet
from .flow import Flow
from .graph import Network, describe
from .operation import BATCHES, Array, Operation, Seen
from .reference import open_session
from .weights import Use, parameter_name

Float32 = NDArray[np.float32]
# The shape that these are to make is seen, and need not be told.
_SHAPED = {"Reshape": 1, "Expand": 1, "Squeeze": 1, "Unsqueeze": 1}


def watch(
    network: Network, nodes: Sequence[onnx.NodeProto], ends: Sequence[str], prepared: NDArray[Any], file: str
) -> dict[str, Seen]:
    """Run the network with two samples and with three.

    Args:
        network: The network, its batch axis free.
        nodes: The nodes whose inputs and outputs are of interest.
        ends: Further tensors.
        prepared: ``(3, ...)`` samples as the network takes them.
        file: The file's name.

    Returns:
        What each tensor that depends on the input, or on its axes, holds.

    Raises:
        ConversionError: If it does not run.
    """
    wanted = set(ends)
    for node in nodes:
        wanted |= {name for name in (*node.input, *node.output) if name in network.live}
    used = {name for node in network.model.graph.node for name in node.input} | set(ends)
    names = sorted(wanted & used)
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(bytes(model.SerializeToString()), file)
    runs = []
    for n in BATCHES:
        try:
            with quiet():
                runs.append(session.run(names, {network.source: np.ascontiguousarray(prepared[:n])}))
        # ONNX Runtime's exceptions share no base class below Exception.
        except Exception as error:
            raise ConversionError(
                f"{file}: expected a network that runs on {n} samples, found: {str(error).strip()[:300]} "
                f"Export it with a free batch axis."
            ) from error
    return {name: (a, b) for name, a, b in zip(names, *runs, strict=True)}


def operations_of(
    flow: Flow,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[Use, str],
    seen: Mapping[str, Seen],
    trained: dict[str, Float32],
    file: str,
) -> tuple[list[Operation], dict[str, Array]]:
    """Make operations of nodes.

    Args:
        flow: How values flow through the network.
        nodes: The nodes behind the cut, in order.
        weights: Where they take weights, and what these are called.
        seen: From `watch`.
        trained: The weights are put in here, by name.
        file: The file's name.

    Returns:
        The operations, and the other tensors that they take by name.

    Raises:
        ConversionError: If a number behind the cut depends on the batch's length.
    """
    fixed: dict[str, Array] = {}
    named: dict[str, str] = {}
    operations = []
    for node in [*_repeating(flow, nodes, seen, file), *nodes]:
        constants, tensors = _constants(flow, node, seen), {}
        for place, value in constants.items():
            name = weights.get(Use(node.output[0], place))
            if name is None and not np.issubdtype(value.dtype, np.floating) and value.dtype != np.bool_:
                # Axes, bounds and the like.
                continue
            key = name if name is not None else f"constant/{node.input[place]}"
            if key not in named:
                named[key] = parameter_name(key, [*trained, *fixed])
                (fixed if name is None else trained)[named[key]] = value
            tensors[place] = named[key]
        operations.append(Operation.of(node, constants, tensors, seen))
    return operations, fixed


def _constants(flow: Flow, node: onnx.NodeProto, seen: Mapping[str, Seen]) -> dict[int, Array]:
    found: dict[int, Array] = {}
    for place, name in enumerate(node.input):
        if not name or name in flow.values:
            continue
        value = flow.network.constant(name)
        if value is not None:
            found[place] = value
        elif name in seen and _settled(seen[name]):
            found[place] = seen[name][0]
    return found


def _repeating(
    flow: Flow, nodes: Sequence[onnx.NodeProto], seen: Mapping[str, Seen], file: str
) -> list[onnx.NodeProto]:
    """Return the nodes that repeat constants (a class token) for each sample of the batch."""
    found: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        for place, name in enumerate(node.input):
            by_lengths = name in flow.network.live and name not in flow.values
            if not by_lengths or place == _SHAPED.get(node.op_type) or _settled(seen[name]):
                continue
            maker = flow.network.makers[name]
            if maker.op_type != "Expand":
                raise ConversionError(
                    f"{file}: expected numbers behind the cut that do not depend on the batch's length, found "
                    f"{describe(maker)}, which {describe(node)} takes. Cut behind it, or export the file with fixed "
                    f"shapes."
                )
            found[name] = maker
    return list(found.values())


def _settled(seen: Seen) -> bool:
    return seen[0].shape == seen[1].shape and bool(np.array_equal(*seen))
