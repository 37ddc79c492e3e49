"""From the activations at a tap to one vector per sample: means or maxima over positions, or some of the tokens."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ...errors import CutError
from ..tap_pooling import MAX, MEAN
from .stages import TapPoint, signal_at
from .trace import Trace


def pooled(x: Tensor, point: TapPoint, kept: Tensor | None = None) -> Tensor:
    """Pool activations over every axis but the batch and the channels.

    Args:
        x: ``(n, ...) float32``, two axes or more.
        point: Where they were taken, and how they are pooled.
        kept: ``(n, tokens) float32``, 0 for padding and 1 for the rest, where `point` is masked (`kept_tokens`).

    Returns:
        ``(n, channels) float32``.
    """
    if point.tokens is not None:
        first, end = point.tokens
        if end == first + 1:
            return x[:, first]
        x = x[:, first:end]
    if point.masked and kept is not None:
        weight = kept[:, :, None]
        # A text of nothing but padding has an average of 0.
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)
    others = [i for i in range(1, x.dim()) if i != point.axis]
    if not others:
        return x
    if x.dim() == 4 and point.axis == 1:
        # In two steps the first keeps four axes, so LiteRT's converter leaves the map in its own layout.
        return x.amax(others, keepdim=True).amax(others) if point.pool == "max" else x.mean(others, True).mean(others)
    return x.amax(others) if point.pool == "max" else x.mean(others)


def kept_tokens(model: nn.Module, x: Tensor, points: Sequence[TapPoint]) -> Tensor | None:
    """Return which tokens of a batch are none of padding, as the model tells it, where a point is masked.

    Args:
        model: The model; a method ``kept_tokens`` of its own says which, ``(n, tokens) -> (n, tokens) float32``.
        x: Its input.
        points: Where it is tapped.
    """
    tell = getattr(model, "kept_tokens", None)
    if not callable(tell) or not any(point.masked for point in points):
        return None
    found: Tensor | None = tell(x)
    return found


def maximum(point: TapPoint, traced: Trace) -> TapPoint | None:
    """Return the tap of the maxima of a map, or None where there are no positions to take them over.

    One token is its own maximum; of tokens among padding no maxima are taken, since a text may be all padding.
    """
    shape = signal_at(point, traced).shape
    several = any(length > 1 for i, length in enumerate(shape[1:], 1) if i != point.axis)
    alone = point.tokens is not None and point.tokens[1] == point.tokens[0] + 1
    if not several or alone or point.masked:
        return None
    return replace(point, pool="max", label=point.label.removesuffix(MEAN) + MAX)


def with_maxima(points: Sequence[TapPoint], traced: Trace) -> list[TapPoint]:
    """Put the maxima of each map beside its means; a tap that is of maxima already stays alone."""
    found: list[TapPoint] = []
    for point in points:
        partner = None if point.pool == "max" else maximum(point, traced)
        found += [point] if partner is None else [point, partner]
    return list(dict.fromkeys(found))


def named_maximum(point: TapPoint, traced: Trace) -> TapPoint:
    """Return the tap of the maxima of a map that was asked for.

    Raises:
        CutError: If there are none.
    """
    found = maximum(point, traced)
    if found is None:
        raise CutError(
            f"expected a map with several positions at {point.label!r}, found {signal_at(point, traced).shape}, of "
            f"which no maxima are taken. Leave '{MAX}' out."
        )
    return found
