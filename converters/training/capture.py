"""Capture a tail as a graph of ATen operations, with its tensors by name, and refuse what cannot be trained ahead."""

import inspect
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from ...errors import ConversionError, CutError
from ..control_flow import depends_on_values
from ..quiet import quiet
from ..splitting.soundness import check_state, frozen_copy

_MOST_BATCH = 65_536
_NORMS = ("batch_norm", "instance_norm", "_native_batch_norm_legit")
_DROPOUTS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")


@dataclass(frozen=True, eq=False)
class Captured:
    """A tail as a graph without side effects.

    Args:
        graph: ATen operations; placeholders are the tail's tensors and its input, the one output is the logits.
        names: Name of each placeholder's tensor, by placeholder.
        tensors: Values by name, float32 or whole numbers; parameters and constants.
        parameters: Names of what may be trained, in the module's order.
        source: The placeholder of the tail's input.
    """

    graph: fx.Graph
    names: dict[fx.Node, str]
    tensors: dict[str, Tensor]
    parameters: list[str]
    source: fx.Node


def capture(tail: nn.Module, maps: Tensor, backbone: nn.Module | None = None) -> Captured:
    """Capture a tail in evaluation mode.

    Args:
        tail: What follows the cut; from maps to logits. It is not changed.
        maps: ``(n, ...) float32`` feature maps at the cut, at least two samples.
        backbone: What lies in front of the cut. A tensor that belongs to both cannot be trained.

    Returns:
        The graph, whose batch axis is free.

    Raises:
        ConversionError: If it cannot be trained ahead; the message says which module is in the way and what would help.
    """
    if backbone is not None:
        _refuse_shared(tail, backbone)
    try:
        copied = frozen_copy(tail)
        check_state(copied)
    except CutError as error:
        raise ConversionError(str(error)) from error
    # With frozen parameters PyTorch's attention takes a fused shortcut that has no gradient.
    copied.requires_grad_(True)
    program = _export(copied, maps)
    for node in program.graph.nodes:
        _refuse_random(node)
    _refuse_mixing(copied, maps)
    with quiet():
        program = program.run_decompositions({})
    signature = program.graph_signature
    names: dict[fx.Node, str] = {}
    tensors: dict[str, Tensor] = {}
    source: fx.Node | None = None
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        kept = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.get(node.name)
        constant = signature.inputs_to_lifted_tensor_constants.get(node.name)
        if kept is not None:
            names[node] = kept
            value = program.state_dict[kept] if kept in program.state_dict else program.constants[kept]
            tensors[kept] = cast(Tensor, value).detach()
        elif constant is not None:
            names[node] = constant
            tensors[constant] = cast(Tensor, program.constants[constant]).detach()
        else:
            source = node
    if signature.buffers_to_mutate:
        raise ConversionError(
            f"expected a tail that only computes, found that it changes "
            f"{sorted(signature.buffers_to_mutate.values())}. Take that out of its forward."
        )
    if source is None:
        raise ConversionError("expected a tail whose output depends on its input, found one that ignores it.")
    inside = set(signature.inputs_to_parameters.values())
    parameters = [name for name, p in copied.named_parameters() if name in inside and p.is_floating_point()]
    return Captured(program.graph, names, tensors, parameters, source)


def describe(node: fx.Node) -> str:
    """Return what a node is and in which module of the tail, in words."""
    operation = str(node.target).removeprefix("aten.")
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return f"the operation {operation!r}"
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    return f"the operation {operation!r} in {path or 'the tail'!r} ({kind.rpartition('.')[2]})"


def _export(tail: nn.Module, maps: Tensor) -> torch.export.ExportedProgram:
    dynamic = ({0: torch.export.Dim("n", min=1, max=_MOST_BATCH)},)
    wanted = len([p for p in inspect.signature(tail.forward).parameters.values() if p.kind is p.VAR_POSITIONAL])
    shapes: Any = (dynamic,) if wanted else dynamic
    try:
        with quiet(), torch.enable_grad():
            program = torch.export.export(tail, (maps,), dynamic_shapes=shapes)
    # The exporter raises anything, and so does a module.
    except Exception as error:
        raise ConversionError(_why(error)) from error
    results = next(node for node in program.graph.nodes if node.op == "output").args[0]
    logits = results[0].meta["val"] if len(results) == 1 and isinstance(results[0], fx.Node) else None
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.dtype != torch.float32:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else f"{len(results)} results"
        raise ConversionError(f"expected a tail that ends in logits (n, k) float32, found {found}. Return them alone.")
    return program


def _why(error: Exception) -> str:
    text = str(error).strip()
    first = (text or type(error).__name__).splitlines()[0][:300]
    start = "expected a tail whose operations do not depend on values"
    place = depends_on_values(error)
    if place is not None:
        return (
            f"{start}, found control flow that does{place}. Replace `if`, `while`, `.item()`, `nonzero` and boolean "
            f"indexing by arithmetic (torch.where), or cut behind them."
        )
    if "Constraints violated" in text or "specialized" in text.lower():
        return (
            f"expected a tail that takes any batch size, found one that fixes it: {first} "
            f"Use x.shape[0] or -1 in place of a number in view, reshape and expand."
        )
    return (
        f"expected a tail that torch.export takes, found {type(error).__name__}: {first} Look for control flow that "
        f"depends on values and for operations outside of torch, or cut behind them."
    )


def _refuse_random(node: fx.Node) -> None:
    # Plain Python functions take out parts and compute sizes.
    if node.op != "call_function" or getattr(node.target, "__module__", "") in ("operator", "_operator"):
        return
    name = str(node.target).removeprefix("aten.").partition(".")[0].rstrip("_")
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise ConversionError(f"expected plain operations, found control flow: {describe(node)}. Cut behind it.")
    given = {argument.name: value for argument, value in zip(schema.arguments, node.args, strict=False)} | node.kwargs
    if name in _DROPOUTS and given.get("train", given.get("training")) and given.get("p", 0.5):
        raise ConversionError(
            f"expected no dropout in a compiled step, found {describe(node)} that stays active in evaluation mode. "
            f"Use nn.Dropout, or F.dropout with training=self.training."
        )
    if name in _NORMS and (given.get("training") or given.get("use_input_stats") or given.get("train")):
        raise ConversionError(
            f"expected normalisation by stored statistics, found that {describe(node)} normalises by the batch, which "
            f"cannot be folded. Set track_running_stats=True and train again, or cut behind it."
        )
    # Attention without dropout is tagged as random too.
    harmless = name in _DROPOUTS or (name == "scaled_dot_product_attention" and not given.get("dropout_p"))
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not harmless:
        raise ConversionError(f"expected a tail without randomness, found {describe(node)}. Take it out.")


def _refuse_mixing(tail: nn.Module, maps: Tensor) -> None:
    with torch.no_grad():
        together, alone = tail(maps), tail(maps[:1])
    scale = float(together.abs().max()) + 1e-12
    if together.isfinite().all() and float((together[:1] - alone).abs().max()) > 1e-3 * scale:
        raise ConversionError(
            "expected logits that depend on one sample each, found others for a sample alone than in a batch. "
            "Take out what mixes samples, such as a mean or a norm over the batch axis."
        )


def _refuse_shared(tail: nn.Module, backbone: nn.Module) -> None:
    known = {p.data_ptr(): name for name, p in backbone.named_parameters() if p.numel()}
    for name, p in tail.named_parameters():
        if p.numel() and p.data_ptr() in known:
            raise ConversionError(
                f"expected a tail with weights of its own, found that {name!r} is also {known[p.data_ptr()]!r} in the "
                f"backbone: training it would change the stored latents. Cut behind the last use, or copy the weight."
            )
