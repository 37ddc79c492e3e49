"""How convolutions and pooling of a tail run when maps are channels first."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import ConversionError
from . import convolution, pooling
from .convolution import Pair, Window
from .layout import Constants, Value
from .spatial import adaptive_averages, averages


def convolve(
    op: Any,
    constants: Constants,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Value:
    """Convolve a map, or a sequence as a map of one row."""
    if weight.tensor.dim() == 3:
        row, kernels = Value(x.tensor.unsqueeze(2)), Value(weight.tensor.unsqueeze(2))
        around = padding if isinstance(padding, str) else (0, *padding)
        made = convolve(op, constants, row, kernels, bias, (1, *stride), around, (1, *dilation), groups)
        return Value(made.plain().squeeze(2))
    kernel: Pair = (weight.size(2), weight.size(3))
    wide = _pair(dilation)
    margin = _named(padding, kernel, wide) if isinstance(padding, str) else _pair(padding)
    window = Window(kernel, _pair(stride), margin, wide, (x.size(2), x.size(3)))
    y = convolution.convolve(x.map(), weight.tensor, None if bias is None else bias.tensor, window, groups, constants)
    return Value(y, True)


def convolution_of_any_kind(
    op: Any,
    constants: Constants,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Convolve in the general form."""
    if transposed or weight.tensor.dim() > 4:
        raise NotImplementedError("transposed and three-dimensional convolutions are not supported")
    return convolve(op, constants, x, weight, bias, stride, padding, dilation, groups)


def unsupported(op: Any, *_: Any, **__: Any) -> Any:
    """Refuse."""
    raise NotImplementedError("transposed and three-dimensional convolutions are not supported")


def pooled(x: Tensor, keepdim: bool) -> Value:
    """Average a map `(c, h, w, n)` over its positions."""
    # One axis of positions: runtimes reduce it at full speed.
    means = x.reshape(x.shape[0], x.shape[1] * x.shape[2], -1).mean(1, keepdim=keepdim)
    return Value(means.unsqueeze(1), True) if keepdim else Value(means.t())


def adaptive_average(_op: Any, constants: Constants, x: Value, size: Sequence[int]) -> Any:
    """Average to a given size."""
    if x.tensor.dim() != 4:
        raise NotImplementedError("adaptive pooling is supported on maps with two axes")
    (h, w), (oh, ow) = (x.size(2), x.size(3)), _pair(size)
    if (oh, ow) == (1, 1):
        return pooled(x.map(), keepdim=True)
    rows, columns = adaptive_averages(h, oh), adaptive_averages(w, ow)
    return Value(pooling.average(x.map(), rows, columns, ("adaptive", h, w, oh, ow), constants), True)


def average(
    _op: Any,
    constants: Constants,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    """Average windows."""
    if divisor is not None:
        raise NotImplementedError("divisor_override is not supported")
    k, s, p = _pair(kernel), _pair(stride or kernel), _pair(padding)
    size = (x.size(2), x.size(3))
    along = [
        averages(size[i], _outputs(size[i], k[i], s[i], p[i], 1, ceil_mode), k[i], s[i], p[i], count_include_pad)
        for i in (0, 1)
    ]
    key = ("window", size, k, s, p, ceil_mode, count_include_pad)
    return Value(pooling.average(x.map(), along[0], along[1], key, constants), True)


def maximum(
    _op: Any,
    _: Constants,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Value:
    """Take the maximum of windows."""
    k, s, p, d = _pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation)
    size = (x.size(2), x.size(3))
    outputs = [_outputs(size[i], k[i], s[i], p[i], d[i], ceil_mode) for i in (0, 1)]
    return Value(pooling.maximum(x.map(), Window(k, s, p, d, size), (outputs[0], outputs[1])), True)


def maximum_with_places(*args: Any) -> list[Value | None]:
    """Take the maximum of windows; where it was is not told."""
    return [maximum(*args), None]


def _outputs(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    # The last window has to begin inside of the map or its left padding.
    return count - 1 if (count - 1) * stride >= size + padding else count


def _pair(numbers: Sequence[int] | int) -> Pair:
    if isinstance(numbers, int):
        return (numbers, numbers)
    return (numbers[0], numbers[-1])


def _named(padding: str, kernel: Pair, dilation: Pair) -> Pair:
    whole = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    if padding == "same" and (whole[0] % 2 or whole[1] % 2):
        raise ConversionError("expected padding that is the same on both sides, found 'same' with an even kernel.")
    return (whole[0] // 2, whole[1] // 2) if padding == "same" else (0, 0)
