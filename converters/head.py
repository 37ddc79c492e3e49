"""Find the head: the last linear layer, whose output is the model's output, and the cut in front of it."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import CutError
from .trace import Call, Trace

_AFTERWARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "the softmax": lambda logits: torch.softmax(logits, 1),
    "the logarithm of the softmax": lambda logits: torch.log_softmax(logits, 1),
    "the sigmoid": torch.sigmoid,
}


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
        raise CutError(
            f"expected {kind} to return one tensor (n, k), found {type(output).__name__}. "
            f"Wrap it in a module whose forward returns only the logits."
        )
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
    _check_own_weight(root.module, head.name, layer)
    return head


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-4 * (float(b.abs().max()) + 1e-12)


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


def _check_own_weight(model: nn.Module, name: str, layer: nn.Linear) -> None:
    for other, module in model.named_modules():
        for parameter in module._parameters.values():
            shared = parameter is not None and parameter.data_ptr() == layer.weight.data_ptr()
            if shared and module is not layer and not other.startswith(f"{name}.parametrizations"):
                raise CutError(
                    f"expected the head {name!r} to have a weight of its own, found that {other!r} shares it, so the "
                    f"head cannot change alone. Give it a copy: weight = nn.Parameter(weight.detach().clone())."
                )
