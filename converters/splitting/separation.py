"""Which tensors separate a model: everything behind such a tensor depends on the input only through it."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx

from .graph import ModelGraph, is_tensor


@dataclass(frozen=True, eq=False)
class Sides:
    """The operations in front of a node and behind it.

    Args:
        front: Nodes that the logits need and that depend on the input without depending on the node; itself too.
        behind: Nodes that the logits need and that depend on the node.
        passing: A node in front that something behind uses, other than the node; None if it separates.
    """

    front: frozenset[fx.Node]
    behind: frozenset[fx.Node]
    passing: fx.Node | None


def sides(model: ModelGraph, cut: fx.Node) -> Sides:
    """Look at what lies in front of a node and behind it."""
    needed = before([model.logits])
    behind = dependents(model, cut) & needed
    front = (dependents(model, model.input) | {model.input}) & needed - behind
    passing = [
        source
        for node in model.graph.nodes
        if node in behind
        for source in node.all_input_nodes
        if source in front and source is not cut
    ]
    if not passing and model.logits not in behind and model.logits is not cut:
        passing = [model.logits]
    return Sides(frozenset(front), frozenset(behind), next(iter(passing), None))


def separators(model: ModelGraph) -> list[fx.Node]:
    """Find every tensor that separates a model, in order of execution; the input does not count.

    A node separates if no edge leads past it, for then every path from the input to the logits runs through it.
    """
    inside = (dependents(model, model.input) | {model.input}) & before([model.logits])
    order = [node for node in model.graph.nodes if node in inside]
    index = {node: i for i, node in enumerate(order)}
    found: list[fx.Node] = []
    furthest = 0
    for i, node in enumerate(order):
        if furthest <= i and node is not model.input and isinstance(node.meta.get("val"), Tensor):
            found.append(node)
        furthest = max([furthest, *(index[user] for user in node.users if user in index)])
    return found


def dependents(model: ModelGraph, start: fx.Node) -> set[fx.Node]:
    """Return what depends on a node's values; the length of an axis is no value."""
    found = {start}
    for node in model.graph.nodes:
        if node.op == "call_function" and is_tensor(node) and any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found - {start}


def before(outputs: Iterable[fx.Node]) -> set[fx.Node]:
    """Return what nodes need, themselves included."""
    found: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def parameters_of(model: ModelGraph, nodes: Iterable[fx.Node]) -> set[str]:
    """Return the names of the parameters that operations use, also by way of what does not depend on the input."""
    moving = dependents(model, model.input) | {model.input}
    constant = before(source for node in nodes for source in node.all_input_nodes if source not in moving)
    return {model.names[node] for node in constant if model.names.get(node) in model.parameters}


def shared_parameters(model: ModelGraph, found: Sides) -> tuple[str, ...]:
    """Return the names of the parameters behind a cut that the front uses too, under whatever name."""
    front = {model.tensors[name].data_ptr() for name in parameters_of(model, found.front)}
    return tuple(sorted(n for n in parameters_of(model, found.behind) if model.tensors[n].data_ptr() in front))
