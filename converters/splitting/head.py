"""Find the head: the last linear layer, whose output is the model's output, and the cut in front of it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import CutError
from .linearise import linear_in_place
from .sharing import check_own_weights
from .trace import Call, Trace, trace

_AFTERWARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "the softmax": lambda logits: torch.softmax(logits, 1),
    "the logarithm of the softmax": lambda logits: torch.log_softmax(logits, 1),
    "the sigmoid": torch.sigmoid,
}


def run_to_head(model: nn.Module, x: Tensor) -> tuple[Trace, Call]:
    """Run a model and find its head; a head of another kind becomes a linear layer where that computes the same.

    Args:
        model: A frozen model in evaluation mode. It is changed: an output object with an attribute ``logits`` gives way
            to the logits, and a last layer that is linear in one vector per sample (a 1x1 convolution with pooling, a
            cosine layer, a temperature) to an ``nn.Linear``.
        x: ``(n, ...)``, a few samples as the model takes them.

    Returns:
        The run, and the call of the last ``nn.Linear``.

    Raises:
        CutError: If the model's output is not that of a linear layer on one vector per sample. Whatever else the model
            raises passes through.
    """
    traced = trace(model, x)
    # Hugging Face's outputs are dictionaries with attributes; a plain dictionary has none.
    if _has_logits(traced.output):
        model.register_forward_hook(_take_logits)
        traced = trace(model, x)
    try:
        return traced, find_head(traced)
    except CutError:
        if not linear_in_place(model, traced):
            raise
    before = traced.output
    try:
        traced = trace(model, x)
        same = isinstance(before, Tensor) and isinstance(traced.output, Tensor) and _equal(traced.output, before)
    # What follows the head may need a map of a certain size.
    except Exception as error:
        raise CutError(_pool_in_front(model, error)) from error
    if not same:
        raise CutError(_pool_in_front(model, None))
    return traced, find_head(traced)


def _has_logits(output: object) -> bool:
    return not isinstance(output, Tensor) and isinstance(getattr(output, "logits", None), Tensor)


def _take_logits(module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def _pool_in_front(model: nn.Module, error: Exception | None) -> str:
    found = "other values" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return (
        f"expected {type(model).__name__} to give the same when it pools in front of its last layer instead of behind "
        f"it, found {found}. Pool with nn.AdaptiveAvgPool2d(1), or use nn.Linear behind the pooling."
    )


def find_head(traced: Trace) -> Call:
    """Find the linear layer that makes a model's output.

    Args:
        traced: A run of the model.

    Returns:
        The call of the last ``nn.Linear``. Its input is the cut, ``(n, d) float32``.

    Raises:
        CutError: If the model's output is not that of a linear layer on one vector per sample.
    """
    root = traced.root
    kind = type(root.module).__name__
    output = traced.output
    if not isinstance(output, Tensor):
        raise CutError(_explain_several_outputs(kind, output))
    linear = [leaf for leaf in root.leaves() if isinstance(leaf.module, nn.Linear)]
    if not linear:
        raise CutError(f"expected {kind} to end in nn.Linear, found that none runs. {_advice(root)}")
    head = linear[-1]
    layer = cast(nn.Linear, head.module)
    if head.input is None or head.input.tensor.dim() != 2 or len(head.input.tensor) != len(output):
        shape = None if head.input is None else head.input.shape
        raise CutError(
            f"expected the last linear layer {head.name!r} to take one vector (n, d) per sample, found {shape}. "
            f"Pool over positions before it."
        )
    logits = layer(head.input.tensor)
    if not _equal(output, logits):
        raise CutError(_explain_other_output(kind, head, output, logits, root))
    if traced.calls[head.name] > 1:
        raise CutError(
            f"expected the head {head.name!r} to run once, found {traced.calls[head.name]} runs. "
            f"Give the model a linear layer of its own for its output."
        )
    check_own_weights(root.module, head.name, layer)
    return head


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-4 * (float(b.abs().max()) + 1e-12)


def _explain_several_outputs(kind: str, output: object) -> str:
    found = [f"[{key!r}] {tuple(value.shape)}" for key, value in _items(output) if isinstance(value, Tensor)]
    flat = [f"output[{key!r}]" for key, value in _items(output) if isinstance(value, Tensor) and value.dim() == 2]
    return (
        f"expected {kind} to return one tensor (n, k), found {type(output).__name__}"
        f"{' with ' + ', '.join(found) if found else ''}. Wrap it in a module whose forward returns only the logits"
        f"{', probably ' + flat[0] if len(flat) == 1 else ''}."
    )


def _items(output: object) -> Iterator[tuple[object, object]]:
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, tuple | list):
        yield from enumerate(output)


def _explain_other_output(kind: str, head: Call, output: Tensor, logits: Tensor, root: Call) -> str:
    for name, function in _AFTERWARDS.items():
        if _equal(output, function(logits)):
            return (
                f"expected {kind} to return the output of its last linear layer {head.name!r}, found {name} of it. "
                f"Return the logits: take the last activation off."
            )
    return (
        f"expected {kind} to return the output of its last linear layer {head.name!r}, {tuple(logits.shape)}, found "
        f"{tuple(output.shape)} with other values. {_advice(root)}"
    )


def _advice(root: Call) -> str:
    last = root.leaves()[-1]
    if isinstance(last.module, nn.Conv2d) or any(isinstance(leaf.module, nn.Conv2d) for leaf in root.layers()[-1:]):
        name = root.layers()[-1].name
        return (
            f"Its last layer is the convolution {name!r}: if that is 1x1, pool before it and put its weight, "
            f"flattened, into an nn.Linear."
        )
    return (
        f"The last module that runs is {last.name!r} ({type(last.module).__name__}). "
        f"Let the model end in an nn.Linear, and do what follows it outside of the model."
    )
