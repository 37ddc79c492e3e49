"""What layers cost: multiply-adds, results that training keeps, and the weights that it changes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .head import IDLE
from .unroll import Step

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_ATTENTION = "MultiHeadAttention"
# What only gives values another shape or place keeps nothing of them.
_VIEWS = (*("Reshape", "Flatten", "Permute", "Transpose", "Squeeze", "ExpandDims", "GetItem", "Cast"), *IDLE)


@dataclass(frozen=True)
class Cost:
    """What some layers cost.

    Args:
        parameters: Numbers that train.
        products: Multiply-adds of a forward pass for one sample: convolutions, linear layers, matrix products and
            attention.
        kept: Numbers that backpropagation roughly keeps of one sample: every result that is no view of another.
    """

    parameters: int
    products: int
    kept: int

    def plus(self, other: "Cost") -> "Cost":
        """Return the sum."""
        return Cost(self.parameters + other.parameters, self.products + other.products, self.kept + other.kept)


def cost_of(steps: Sequence[Step], folded: Mapping[int, Step]) -> Cost:
    """Count what calls of layers cost.

    Args:
        steps: The calls.
        folded: Normalisations that disappear (`folded_norms`).
    """
    weights = {id(weight): _count(weight.shape) for step in steps for weight in trained(step, folded)}
    # A folded normalisation leaves the convolution a bias, if that had none.
    left = [(folded[id(step)].layer, step.shape[-1] or 0) for step in steps if id(step) in folded]
    biases = {id(layer): width for layer, width in left if layer.bias is None}
    products, kept = sum(map(multiply_adds, steps)), sum(_kept(step) for step in steps if id(step) not in folded)
    return Cost(sum(weights.values()) + sum(biases.values()), products, kept)


def folded_norms(steps: Sequence[Step]) -> dict[int, Step]:
    """Return the convolution that the exported file folds a normalisation into, by the `id` of the latter's call.

    Args:
        steps: What the head's input is computed from.
    """
    made = {id(step.output): step for step in steps}
    takers = [id(value) for step in steps for value in step.inputs]
    found: dict[int, Step] = {}
    for step in steps:
        before = made.get(id(step.inputs[0])) if step.inputs else None
        if step.kind != "BatchNormalization" or before is None or before.kind not in (*_CONVOLUTIONS, *_DEPTHWISE):
            continue
        if not _activated(before) and takers.count(id(before.output)) == 1:
            found[id(step)] = before
    return found


def trained(step: Step, folded: Mapping[int, Step]) -> list[Any]:
    """Return the weights of a layer that a tail trains: all but statistics, frozen in Keras or not."""
    if id(step) in folded or not getattr(step.layer, "weights", ()):
        return []
    # Frozen or not, a tail may train them; statistics stay apart.
    step.layer.trainable = True
    return list(step.layer.trainable_weights)


def multiply_adds(step: Step) -> int:
    """Count the multiply-adds of one call of a layer for one sample."""
    rule = _PRODUCTS.get(step.kind, _matrices)
    return rule(step)


def _convolution(step: Step) -> int:
    return numbers(step.shape) * _count(step.layer.kernel.shape[:-1])


def _transposed(step: Step) -> int:
    return numbers(step.inputs[0].shape) * _count(step.layer.kernel.shape[:-1])


def _depthwise(step: Step) -> int:
    return numbers(step.shape) * _count(step.layer.kernel_size)


def _separable(step: Step) -> int:
    between = _count(step.layer.pointwise_kernel.shape[:-1])
    return numbers(step.shape[:-1]) * between * (_count(step.layer.kernel_size) + (step.shape[-1] or 1))


def _dense(step: Step) -> int:
    return numbers(step.shape) * int(step.layer.kernel.shape[0])


def _product(step: Step) -> int:
    return numbers(step.shape) * int(step.inputs[0].shape[-1] or 1)


def _einsum_dense(step: Step) -> int:
    terms, _, result = step.layer.equation.replace(" ", "").partition("->")
    letters = terms.partition(",")[2]
    summed = [length for letter, length in zip(letters, step.layer.kernel.shape, strict=True) if letter not in result]
    return numbers(step.shape) * _count(summed)


def _attention(step: Step) -> int:
    target, source, heads, widths = _attended(step)
    # Keys and values are as many as the source, queries and results as the target.
    kernels = [
        (weight.path.split("/")[-2], _count(weight.shape)) for weight in step.layer.weights if len(weight.shape) > 2
    ]
    linear = sum((source if part in ("key", "value") else target) * size for part, size in kernels)
    return linear + target * source * heads * widths


def _attended(step: Step) -> tuple[int, int, int, int]:
    """Return the positions of target and source, the heads, and the widths of a key and a value together."""
    given = step.layer.get_config()
    value = step.inputs[min(1, len(step.inputs) - 1)]
    widths = int(given["key_dim"]) + int(given["value_dim"] or given["key_dim"])
    return numbers(step.inputs[0].shape[:-1]), numbers(value.shape[:-1]), int(given["num_heads"]), widths


def _matrices(step: Step) -> int:
    """Count as if a layer multiplied each position by all of its matrices: exact for recurrent ones."""
    weights = [weight for weight in getattr(step.layer, "weights", ()) if len(weight.shape) > 1]
    if not weights or not step.inputs:
        return 0
    positions = max(numbers(step.inputs[0].shape[:-1]), numbers(step.shape[:-1]))
    return positions * sum(_count(weight.shape) for weight in weights)


_PRODUCTS: Mapping[str, Callable[[Step], int]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_DEPTHWISE, _depthwise),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "Matmul": _product,
    _ATTENTION: _attention,
    "Embedding": lambda step: 0,
}


def _kept(step: Step) -> int:
    if step.kind in _VIEWS:
        return 0
    results = numbers(step.shape) * (2 if step.has_weights and _activated(step) else 1)
    if step.kind != _ATTENTION:
        return results
    target, source, heads, widths = _attended(step)
    # Queries, keys, values, what is attended to; scores, before and after softmax.
    return results + heads * (widths * (target + source) + 2 * target * source)


def _activated(step: Step) -> bool:
    activation = getattr(step.layer, "activation", None)
    return activation is not None and getattr(activation, "__name__", "") != "linear"


def numbers(shape: Sequence[int | None]) -> int:
    """Count the numbers of a tensor for one sample."""
    return _count([length or 1 for length in shape[1:]])


def _count(shape: Sequence[int]) -> int:
    return int(math.prod(shape))
