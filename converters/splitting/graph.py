"""A model as one graph of tensor operations, with the nodes known at which activations pass."""

import copy
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ...errors import CutError
from ..quiet import quiet
from .pooled import kept_tokens, pooled
from .stages import TapPoint
from .watch import watched


@dataclass(frozen=True, eq=False)
class ModelGraph:
    """A model as the operations that a run of it consists of.

    Args:
        graph: ATen operations without in-place ones; the batch axis may have any length.
        input: The node of the model's input.
        logits: The node of the model's output.
        at: The node of the activation at each point.
        pooled: The node of what it becomes as a tap, ``(n, channels)``.
        names: The model's own name of each parameter, buffer and constant, by the node that stands for it.
        tensors: Parameters, buffers and constants by name.
        parameters: Which of them are parameters.
    """

    graph: fx.Graph
    input: fx.Node
    logits: fx.Node
    at: Mapping[TapPoint, fx.Node]
    pooled: Mapping[TapPoint, fx.Node]
    names: Mapping[fx.Node, str]
    tensors: Mapping[str, Tensor]
    parameters: frozenset[str]


class _Marked(nn.Module):
    """A model that also returns the activations at points of it."""

    def __init__(self, model: nn.Module, points: Sequence[TapPoint]) -> None:
        super().__init__()
        self.model = model
        self.points = tuple(points)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        kept = kept_tokens(self.model, x, self.points)
        # An operation behind the point may overwrite the activation; the copy is left out again below.
        with watched(self.model, self.points, lambda at, v: (v.clone(), pooled(v, at, kept))) as found:
            logits = self.model(x)
        return logits, [found[point][0] for point in self.points], [found[point][1] for point in self.points]


def trace_graph(model: nn.Module, sample: Tensor, points: Sequence[TapPoint]) -> ModelGraph:
    """Record the operations of a model.

    Args:
        model: A frozen model in evaluation mode that returns one tensor ``(n, k)``.
        sample: ``(n, ...)``, at least two samples as the model takes them.
        points: Places whose activations are to be found in the graph.

    Returns:
        The graph.

    Raises:
        CutError: If the model cannot be recorded as a graph for any number of samples.
    """
    any_length = ({0: torch.export.Dim.AUTO},)
    try:
        with quiet(), torch.no_grad():
            marked = _Marked(out_of_place(model, sample), points)
            exported = torch.export.export(marked, (sample,), dynamic_shapes=any_length, strict=False)
            # It takes longer than the export itself, and rewrites nothing where there is nothing to rewrite.
            if any(_overwrites(node) for node in exported.graph.nodes):
                exported = exported.run_decompositions({})
    # torch.export raises errors of many kinds, of the model's own too.
    except Exception as error:
        raise CutError(
            f"expected the operations of {type(model).__name__} to be the same for every input, so that they can be "
            f"recorded, found {type(error).__name__}: {' '.join(str(error).split())[:300]}. Take branches and loops "
            f"that depend on values, and .item() and .numpy(), out of forward."
        ) from error
    signature = exported.graph_signature
    nodes = {node.name: node for node in exported.graph.nodes}
    kept = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = dict(signature.inputs_to_lifted_tensor_constants)
    names = {nodes[place]: name.removeprefix("model.") for place, name in (kept | constants).items()}
    state = {**exported.constants, **exported.state_dict}
    tensors = {name.removeprefix("model."): state[name] for name in (kept | constants).values()}
    logits, *rest = (nodes[str(name)] for name in signature.user_outputs)
    raw, averages = rest[: len(points)], rest[len(points) :]
    graph = ModelGraph(
        exported.graph,
        nodes[signature.user_inputs[0]],
        logits,
        {point: node.all_input_nodes[0] for point, node in zip(points, raw, strict=True)},
        dict(zip(points, averages, strict=True)),
        names,
        tensors,
        frozenset(name.removeprefix("model.") for name in signature.inputs_to_parameters.values()),
    )
    if isinstance(graph.input.meta["val"].shape[0], int) or isinstance(logits.meta["val"].shape[0], int):
        raise CutError(
            f"expected {type(model).__name__} to take any number of samples, found that its operations hold for "
            f"{len(sample)} only. Use x.shape[0] or -1 in place of a fixed batch size."
        )
    return graph


def out_of_place(model: nn.Module, sample: Tensor) -> nn.Module:
    """Return a model whose activations do not overwrite their input, if that changes nothing."""
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # a flag of the module's own
    return changed if torch.equal(changed(sample), model(sample)) else model


def _overwrites(node: fx.Node) -> bool:
    if node.op != "call_function" or node.target is operator.getitem:
        return node.op not in ("call_function", "placeholder", "output")
    # What is no operator of a tensor or a number is a block of operations, for example one without gradients.
    schema = getattr(node.target, "_schema", None)
    return bool(schema.is_mutable) if schema is not None else is_tensor(node)


def is_tensor(node: fx.Node) -> bool:
    """Return whether a node stands for a tensor or several, not for a length."""
    value = node.meta.get("val")
    return isinstance(value, Tensor | tuple | list)


def place(node: fx.Node) -> str:
    """Return what a node is and where in the model it stands, for a message."""
    stack = node.meta.get("nn_module_stack") or {}
    module = next(reversed([str(path) for path, _ in stack.values()]), "").removeprefix("model").removeprefix(".")
    what = "the model's input" if node.op == "placeholder" else str(node.target).removeprefix("aten.").split(".")[0]
    return what if node.op == "placeholder" else f"{what!r} in {module!r}" if module else f"{what!r} in the model"
