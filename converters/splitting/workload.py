"""What operations cost: multiply-adds, and the memory that training keeps of their results."""

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx


def multiply_adds(nodes: Iterable[fx.Node]) -> int:
    """Count the multiply-adds of a forward pass for one sample.

    Counted are convolutions, linear layers, matrix products and attention, as in most published figures; activations,
    normalisations, additions and pooling are not.

    Args:
        nodes: Operations of a `ModelGraph`.
    """
    return sum(_products(node) for node in nodes)


def kept_values(nodes: Iterable[fx.Node]) -> int:
    """Count the numbers that backpropagation roughly keeps per sample: every result that is no view of another.

    Frameworks keep less where a gradient does not need the result, and kernels may need scratch memory beside it.

    Args:
        nodes: Operations of a `ModelGraph`.
    """
    return sum(_numel(node.meta["val"]) for node in nodes if not _is_view(node))


def _products(node: fx.Node) -> int:
    name = str(node.target).removeprefix("aten.").split(".")[0]
    args: list[Any] = [getattr(arg, "meta", {}).get("val") for arg in node.args]
    out = _numel(node.meta.get("val"))
    if name in ("conv1d", "conv2d", "conv3d", "convolution"):
        weight = args[1]
        # A transposed convolution spreads each input value; its weight has the output channels second.
        transposed = name == "convolution" and bool(node.args[6])
        return (_numel(args[0]) if transposed else out) * math.prod(map(int, weight.shape[1:]))
    if name.startswith("conv_transpose"):
        return _numel(args[0]) * math.prod(map(int, args[1].shape[1:]))
    if name == "linear":
        return out * int(args[1].shape[-1])
    if name in ("matmul", "mm", "bmm"):
        return out * int(args[0].shape[-1])
    if name in ("addmm", "baddbmm"):
        return out * int(args[1].shape[-1])
    if name == "scaled_dot_product_attention":
        query, key = args[0], args[1]
        return _numel(query) * int(key.shape[-2]) + out * int(key.shape[-2])
    return 0


def _numel(value: Any) -> int:
    """Count the numbers of a tensor for one sample, of tensors together if there are several."""
    if isinstance(value, tuple | list):
        return sum(_numel(part) for part in value)
    if not isinstance(value, Tensor):
        return 0
    # The batch axis is the one of unknown length; folded with another one it is a multiple of it.
    count = 1
    for size in value.shape:
        count *= size if isinstance(size, int) else _times(size)
    return count


def _times(size: Any) -> int:
    symbol = next(iter(size.node.expr.free_symbols))
    return max(1, int(size.node.expr.subs(symbol, 2) - size.node.expr.subs(symbol, 1)))


def _is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or any(result.alias_info is not None for result in schema.returns)
