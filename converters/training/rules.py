"""How single operations of a tail run when maps are channels first. What has no rule runs as PyTorch defines it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import rules_maps
from .layout import HELD, Constants, Value

_aten = torch.ops.aten
Rule = Callable[..., Any]


def _elementwise(op: Any, _: Constants, *args: Any, **kwargs: Any) -> Any:
    tensors = [a for a in args if isinstance(a, Value)]
    maps = any(v.channels_first for v in tensors) and all(v.tensor.dim() <= 4 for v in tensors)
    if not maps:
        return NotImplemented
    return Value(op(*(a.map() if isinstance(a, Value) else a for a in args), **kwargs), True)


def _linear(_op: Any, _: Constants, x: Value, weight: Value, bias: Value | None = None) -> Value:
    rows, w = x.plain(), weight.tensor
    shape = rows.shape
    flat = rows if rows.dim() == 2 else rows.reshape(-1, shape[-1])
    y = flat @ w.t() if bias is None else torch.addmm(bias.tensor, flat, w.t())
    return Value(y if rows.dim() == 2 else y.reshape(*shape[:-1], w.shape[0]))


def _batch_norm(
    _op: Any,
    _: Constants,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    _momentum: float,
    eps: float,
) -> list[Value | None]:
    """Normalise by frozen statistics, where the norm could not be folded."""
    scale = (variance.tensor + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.tensor
    shift = -mean.tensor * scale
    if bias is not None:
        shift = shift + bias.tensor
    if x.tensor.dim() == 4:
        y = Value(x.map() * scale.reshape(-1, 1, 1, 1) + shift.reshape(-1, 1, 1, 1), True)
    else:
        shape = (-1, *[1] * (x.tensor.dim() - 2))
        y = Value(x.tensor * scale.reshape(shape) + shift.reshape(shape))
    return [y, None, None]


def _group_norm(
    _op: Any, _: Constants, x: Value, groups: int, weight: Value | None, bias: Value | None, eps: float, *_rest: Any
) -> Value:
    rows = x.plain()
    flat = rows.reshape(rows.shape[0], groups, -1)
    centred = flat - flat.mean(2, keepdim=True)
    y = centred * ((centred * centred).mean(2, keepdim=True) + eps).rsqrt()
    shape = (-1, *[1] * (rows.dim() - 2))
    y = y.reshape(rows.shape)
    if weight is not None:
        y = y * weight.tensor.reshape(shape)
    return Value(y if bias is None else y + bias.tensor.reshape(shape))


def _silu(_op: Any, _: Constants, x: Value) -> Value:
    return Value(x.tensor * torch.sigmoid(x.tensor), x.channels_first)


def _mish(_op: Any, _: Constants, x: Value) -> Value:
    return Value(x.tensor * torch.tanh(functional.softplus(x.tensor)), x.channels_first)


def _mean(op: Any, _: Constants, x: Value, axes: Sequence[int] | None = None, keepdim: bool = False, **kw: Any) -> Any:
    spatial = x.channels_first and axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]
    if not spatial or kw.get("dtype"):
        return NotImplemented
    return rules_maps.pooled(x.tensor, keepdim)


def _view(_op: Any, _: Constants, x: Value, shape: Sequence[Any]) -> Value:
    if x.channels_first and x.tensor.shape[1:3] == (1, 1) and len(shape) == 2:
        return Value(x.tensor.reshape(x.tensor.shape[0], -1).t())
    # A map is not laid out as the tail thinks, so a view may have to copy.
    return Value(x.plain().reshape(shape))


def _cat(_op: Any, _: Constants, parts: Sequence[Value], axis: int = 0) -> Any:
    if not any(part.channels_first for part in parts):
        return NotImplemented
    return Value(torch.cat([part.map() for part in parts], HELD[axis]), True)


def _along(op: Any, _: Constants, x: Value, *args: Any) -> Any:
    """Cut a map along an axis: the axis is the last argument of `split` and `chunk`, the first of `slice`."""
    if not x.channels_first:
        return NotImplemented
    place = 0 if op.overloadpacket is _aten.slice else 1
    moved = list(args) if len(args) > place else [*args, 0]
    moved[place] = HELD[moved[place]]
    found = op(x.tensor, *moved)
    return Value(found, True) if isinstance(found, Tensor) else [Value(part, True) for part in found]


def _pad(op: Any, _: Constants, x: Value, pad: Sequence[int], *args: Any) -> Any:
    if not x.channels_first or len(pad) > 4:
        return NotImplemented
    return Value(op(x.tensor, [0, 0, *pad], *args), True)


def _attention(
    _op: Any,
    _: Constants,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    if dropout or enable_gqa:
        raise NotImplementedError("dropout and grouped queries in attention are not supported")
    q, k, v = query.plain(), key.plain(), value.plain()
    q = q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = q @ k.transpose(-1, -2)
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).tril().logical_not()
        scores = scores.masked_fill(hidden, -math.inf)
    if mask is not None:
        m = mask.plain()
        scores = scores.masked_fill(m.logical_not(), -math.inf) if m.dtype == torch.bool else scores + m
    return Value(torch.softmax(scores, -1) @ v)


def _look_up(_op: Any, constants: Constants, table: Value, indices: Sequence[Value | None]) -> Any:
    """Look rows up in a table, as relative positions do in theirs: a product with a constant matrix of 0 and 1."""
    places = indices[0]
    whole = places is not None and places.tensor.dtype in (torch.int64, torch.int32) and len(indices) == 1
    if not whole or table.tensor.dim() != 2 or table.channels_first:
        return NotImplemented
    assert places is not None  # noqa: S101  said above
    rows, shape = table.tensor.shape[0], places.tensor.shape
    key = constants.next_key("look up")
    chosen = np.empty(0) if constants.given is not None else np.eye(rows)[places.tensor.numpy().reshape(-1)]
    return Value((constants.get(key, chosen) @ table.tensor).reshape(*shape, -1))


def _identity(_op: Any, _: Constants, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


_ELEMENTWISE = [
    "relu",
    "relu6",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "gelu",
    "sigmoid",
    "tanh",
    "elu",
    "leaky_relu",
    "softplus",
    "celu",
    "selu",
    "log_sigmoid",
    "add",
    "sub",
    "rsub",
    "mul",
    "div",
    "neg",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "pow",
    "abs",
    "square",
    "clamp",
    "clamp_min",
    "clamp_max",
    "maximum",
    "minimum",
    "erf",
    "sin",
    "cos",
    "where",
    "gt",
    "ge",
    "lt",
    "le",
    "eq",
    "ne",
    "logical_not",
    "sign",
]

RULES: dict[Any, Rule] = {
    **{getattr(_aten, name): _elementwise for name in _ELEMENTWISE},
    _aten.conv2d: rules_maps.convolve,
    _aten.conv1d: rules_maps.convolve,
    _aten.convolution: rules_maps.convolution_of_any_kind,
    _aten.conv3d: rules_maps.unsupported,
    _aten.conv_transpose1d: rules_maps.unsupported,
    _aten.conv_transpose2d: rules_maps.unsupported,
    _aten.conv_transpose3d: rules_maps.unsupported,
    _aten.linear: _linear,
    _aten._native_batch_norm_legit_no_training: _batch_norm,
    _aten.group_norm: _group_norm,
    _aten.silu: _silu,
    _aten.mish: _mish,
    _aten.mean: _mean,
    _aten.adaptive_avg_pool2d: rules_maps.adaptive_average,
    _aten._adaptive_avg_pool2d: rules_maps.adaptive_average,
    _aten.avg_pool2d: rules_maps.average,
    _aten.max_pool2d: rules_maps.maximum,
    _aten.max_pool2d_with_indices: rules_maps.maximum_with_places,
    _aten.view: _view,
    _aten.reshape: _view,
    _aten._unsafe_view: _view,
    _aten.cat: _cat,
    _aten.split: _along,
    _aten.split_with_sizes: _along,
    _aten.chunk: _along,
    _aten.slice: _along,
    _aten.constant_pad_nd: _pad,
    _aten.scaled_dot_product_attention: _attention,
    _aten.index: _look_up,
    _aten.dropout: _identity,
    _aten.feature_dropout: _identity,
    _aten.alpha_dropout: _identity,
    _aten.clone: _identity,
    _aten.contiguous: _identity,
    _aten.detach_: _identity,
    _aten.alias: _identity,
    _aten.lift_fresh_copy: _identity,
}
