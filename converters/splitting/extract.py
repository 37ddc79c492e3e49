"""Take the operations behind a cut out of a model's graph, and the tensors that they use."""

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from ...errors import CutError
from .graph import ModelGraph, place
from .separation import dependents


def extract(model: ModelGraph, cut: fx.Node, outputs: Sequence[fx.Node], names: set[str]) -> fx.Graph:
    """Copy the operations between a cut and outputs.

    Args:
        model: The model.
        cut: The node whose place the new graph's input takes.
        outputs: The logits and any averages; the new graph returns the latter side by side, as a second tensor.
        names: The names of the tensors that the operations use are added to it.

    Raises:
        CutError: If an output depends on the input in another way than through the cut.
    """
    outside = (dependents(model, model.input) | {model.input}) - dependents(model, cut)
    needed = _between(cut, outputs)
    graph = fx.Graph()
    copies = {cut: graph.placeholder("map")}
    copies[cut].meta = {"val": cut.meta["val"]}
    batch = graph.call_function(torch.ops.aten.sym_size.int, (copies[cut], 0))
    for node in model.graph.nodes:
        if node not in needed or node in copies:
            continue
        if node in model.names:
            copies[node] = graph.get_attr(model.names[node])
            names.add(model.names[node])
        elif node.target is torch.ops.aten.sym_size.int:
            copies[node] = _length(graph, batch, node, model)
        elif node in outside:
            raise CutError(f"expected taps that depend on the cut alone, found {place(node)}. Choose other taps.")
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        copies[node].meta = copy.copy(node.meta)
    first, *taps = (copies[node] for node in outputs)
    graph.output((first, graph.call_function(torch.ops.aten.cat.default, (taps, 1))) if taps else first)
    graph.eliminate_dead_code()
    return graph


def _between(cut: fx.Node, outputs: Sequence[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node in found or node is cut:
            continue
        found.add(node)
        if node.target is not torch.ops.aten.sym_size.int:
            waiting.extend(node.all_input_nodes)
    return found


def _length(graph: fx.Graph, batch: fx.Node, node: fx.Node, model: ModelGraph) -> fx.Node:
    """Write the length of an axis, which is a multiple of the batch's, in terms of the batch of maps."""
    ratio = node.meta["val"].node.expr / model.input.meta["val"].shape[0].node.expr
    if not ratio.is_Integer:
        raise CutError(
            f"expected axes as long as the batch or a multiple of it, found {node.meta['val']} at {place(node)}. "
            f"Cut elsewhere."
        )
    return batch if ratio == 1 else graph.call_function(operator.mul, (batch, int(ratio)))


def nest(model: ModelGraph, names: set[str]) -> nn.Module:
    """Make a module that holds copies of tensors under their names; a graph has one name for one tensor."""
    root = nn.Module()
    for name in sorted(names):
        *path, last = name.split(".")
        at = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        tensor: Any = model.tensors[name].detach()
        if name in model.parameters:
            at.register_parameter(last, nn.Parameter(tensor.clone()))
        else:
            at.register_buffer(last, tensor.clone())
    return root
