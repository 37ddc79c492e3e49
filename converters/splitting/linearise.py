"""Write a head of another kind as an `nn.Linear` on one vector per sample, where that is exact.

A 1x1 convolution whose output is averaged is a linear layer on the averages of its input; a cosine layer is one on the
normalised vector; a temperature scales the weight. What a head is, is decided by the values that it gives.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from ...errors import CutError
from .sharing import check_own_weights
from .trace import Call, Trace

_LAST = 3
_BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "a ReLU": functional.relu,
    "a ReLU6": functional.relu6,
    "a GELU": functional.gelu,
    "a SiLU": functional.silu,
    "a Hardswish": functional.hardswish,
    "a sigmoid": torch.sigmoid,
}


class HeadOnVector(nn.Module):
    """A linear head in the place of a layer of another kind.

    Args:
        linear: The head; its output is that of the model.
        axis: The channel axis of what the layer took; the other axes are averaged, or flattened if it is None.
        normalise: Whether each vector is divided by its length first.
        scale: What the model multiplies the layer's output by.
        positions: Axes of the output besides batch and channels.
    """

    def __init__(self, linear: nn.Linear, axis: int | None, normalise: bool, scale: float, positions: int) -> None:
        super().__init__()
        self.linear = linear
        self.axis, self.normalise, self.scale, self.positions = axis, normalise, scale, positions

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, k)`` or, with one position, ``(n, k, 1, ...)`` or ``(n, 1, ..., k)`` for what the layer took."""
        y: Tensor = self.linear(_vectors(x, self.axis, self.normalise)) / self.scale
        ones = (1,) * self.positions
        return y.reshape(-1, *ones, y.shape[1]) if self.axis not in (None, 1) else y.reshape(-1, y.shape[1], *ones)


@dataclass(frozen=True, eq=False)
class _Form:
    """A way to read a layer: which vectors it takes, and the weight and bias that act on them."""

    axis: int | None
    normalise: bool
    weight: Tensor
    bias: Tensor


def write_out_parametrizations(model: nn.Module) -> None:
    """Put computed parameters, such as those of weight normalisation, in place as ordinary ones."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            names = list(module.parametrizations)  # type: ignore[arg-type]  # a ModuleDict
            values = {name: getattr(module, name).detach().clone() for name in names}
            # `remove_parametrizations` would take the property off a class that copies of the module share.
            del module.parametrizations
            module.__class__ = type(module).__mro__[1]
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def linear_in_place(model: nn.Module, traced: Trace) -> bool:
    """Put a linear layer in the place of a model's last layer, if that computes the same.

    Args:
        model: A frozen model; it is changed.
        traced: A run of it that returned one tensor.

    Returns:
        Whether a layer was replaced.

    Raises:
        CutError: If the last layer is a convolution that is none: the message says why.
    """
    output = traced.output
    if not isinstance(output, Tensor) or output.dim() != 2:
        return False
    for call in _last_with_weights(traced.root):
        replacement = _as_linear(call, output)
        if replacement is not None and call.name and traced.calls[call.name] == 1:
            check_own_weights(model, call.name, call.module)
            parent, _, name = call.name.rpartition(".")
            setattr(model.get_submodule(parent), name, replacement.eval().requires_grad_(False))
            return True
    _explain_convolution(traced.root.layers()[-1:], output)
    return False


def _last_with_weights(root: Call) -> list[Call]:
    def inner(call: Call) -> Iterator[Call]:
        if any(p.dim() >= 2 for p in call.module.parameters(recurse=False)):
            yield call
        for child in call.children:
            yield from inner(child)

    return list(inner(root))[: -_LAST - 1 : -1]


def _as_linear(call: Call, output: Tensor) -> HeadOnVector | None:
    if call.input is None or call.output is None or not call.input.tensor.is_floating_point():
        return None
    n, k = output.shape
    own = call.output.tensor
    for form in _forms(call, k):
        vectors = _vectors(call.input.tensor, form.axis, form.normalise)
        if vectors.shape != (n, form.weight.shape[1]):
            continue
        product = vectors @ form.weight.T
        # The bias is scaled together with the product by a temperature, and apart from it inside a cosine layer.
        for base, rest in ((product + form.bias, torch.zeros(k)), (product, form.bias)):
            scale = _factor(base, output - rest)
            outer = _factor(_averaged(own, form.axis), output) if own.dim() >= 2 and len(own) == n else None
            if scale is not None and outer is not None and not _is_plain(call, scale * outer):
                linear = nn.Linear(form.weight.shape[1], k)
                with torch.no_grad():
                    linear.weight.copy_(scale * form.weight)
                    linear.bias.copy_(scale * form.bias if not rest.any() else form.bias)
                return HeadOnVector(linear, form.axis, form.normalise, outer, own.dim() - 2)
    return None


def _is_plain(call: Call, scale: float) -> bool:
    """Return whether a layer is what would be put in its place; why that is no head is for others to say."""
    return isinstance(call.module, nn.Linear) and call.input is not None and call.input.tensor.dim() == 2 and scale == 1


def _forms(call: Call, k: int) -> Iterator[_Form]:
    layer: Any = call.module
    x = call.input.tensor if call.input is not None else torch.empty(0)
    own = list(layer.parameters(recurse=False))
    biases = [p for p in own if p.shape == (k,)] + [torch.zeros(k)]
    for matrix in [p for p in own if p.dim() >= 2]:
        if isinstance(layer, nn.modules.conv._ConvNd):
            weight, axes = matrix.flatten(1), _convolution_axes(layer, x)
        else:
            weight = matrix if matrix.shape[0] == k else matrix.T
            axes = [x.dim() - 1]
        for axis in axes if weight.dim() == 2 and len(weight) == k else []:
            for normalise, unit in ((False, False), (True, True), (True, False), (False, True)):
                for bias in biases:
                    yield _Form(axis, normalise, functional.normalize(weight) if unit else weight, bias)


def _convolution_axes(layer: Any, x: Tensor) -> list[int | None]:
    plain = layer.groups == 1 and not layer.transposed and not any(layer.padding)
    if not plain or x.dim() != len(layer.kernel_size) + 2:
        return []
    if all(size == 1 for size in (*layer.kernel_size, *layer.stride)):
        return [1]
    return [None] if tuple(layer.kernel_size) == tuple(x.shape[2:]) else []


def _vectors(x: Tensor, axis: int | None, normalise: bool) -> Tensor:
    vectors = _averaged(x, axis)
    return functional.normalize(vectors) if normalise else vectors


def _averaged(x: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        return x.flatten(1)
    others = [i for i in range(1, x.dim()) if i != axis]
    return x.mean(others) if others else x


def _factor(a: Tensor, b: Tensor) -> float | None:
    """Return the number by which a tensor has to be multiplied to give another, or None if there is none."""
    if a.shape != b.shape:
        return None
    a, b = a.double(), b.double()
    square = float((a * a).sum())
    factor = float((a * b).sum()) / square if square > 0 else 0.0
    close = float((factor * a - b).abs().max()) <= 1e-4 * (float(b.abs().max()) + 1e-12)
    if not close or not math.isfinite(factor) or factor == 0:
        return None
    # A factor of one is left as it is, so that no rounding enters the weight.
    return 1.0 if abs(factor - 1) < 1e-6 else factor


def _explain_convolution(last: list[Call], output: Tensor) -> None:
    for call in last:
        maps = None if call.output is None else call.output.tensor
        if not isinstance(call.module, nn.modules.conv._ConvNd) or maps is None or maps.dim() < 3:
            return
        others = list(range(2, maps.dim()))
        found = [f"{name} in between" for name, f in _BETWEEN.items() if _same(f(maps).mean(others), output)]
        found += ["the maximum over positions in place of their average"] if _same(maps.amax(others), output) else []
        found += [
            f"{name} and the maximum over positions behind it"
            for name, f in _BETWEEN.items()
            if _same(f(maps).amax(others), output)
        ]
        size, groups = tuple(call.module.kernel_size), call.module.groups
        own = maps.shape[1] == output.shape[1] and _factor(maps.mean(others), output) is not None
        if not found and own and (any(axis != 1 for axis in size) or groups != 1):
            found = [f"a kernel of {size} in {groups} groups" if groups != 1 else f"a kernel of {size}"]
        if found:
            raise CutError(
                f"expected the logits to be linear in one vector per sample, found that the last layer is the "
                f"convolution {call.name!r} with {found[0]}. Pool first, put an nn.Linear behind it, and fine-tune "
                f"that; the convolution's weight, flattened, is a good start if it is 1x1."
            )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-4 * (float(b.abs().max()) + 1e-12)
