"""Which tokens of a sequence a model's head reads: the class token, all of them, or all but some in front."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..tap_pooling import MEAN
from .pooled import kept_tokens
from .stages import TapPoint, is_tokens, named_point, signal_at, spine_of
from .trace import Call, Trace

_LEAST = 1e-6


@dataclass(frozen=True)
class Reading:
    """What a model's head reads of the last sequence of tokens in front of it.

    Args:
        length: Number of tokens of a sequence; 0 where there is none.
        tokens: The first that is read and the one behind the last; None for all, or where others lie between.
        masked: Whether the model tells which tokens are padding.
    """

    length: int = 0
    tokens: tuple[int, int] | None = None
    masked: bool = False

    def taken(self, point: TapPoint, traced: Trace) -> TapPoint:
        """Return a tap of tokens that is pooled as the head does it; another as it is."""
        if not self._fits(point, traced):
            return point
        one = self.tokens is not None and self.tokens[1] == self.tokens[0] + 1
        return replace(point, tokens=self.tokens, masked=self.masked and not one)

    def whole(self, point: TapPoint, traced: Trace) -> TapPoint:
        """Return a tap of the mean over all tokens, which has a name of its own where the head reads only some."""
        if not self._fits(point, traced):
            return point
        label = point.label if self.tokens is None else point.label + MEAN
        return replace(point, tokens=None, masked=self.masked, label=label)

    def _fits(self, point: TapPoint, traced: Trace) -> bool:
        signal = signal_at(point, traced)
        return is_tokens(point, signal) and signal.shape[1] == self.length


def read_tokens(model: nn.Module, sample: Tensor, traced: Trace, head: Call) -> Reading:
    """Find out which tokens of the last sequence the head's input depends on, by its gradient.

    Args:
        model: A frozen model.
        sample: ``(n, ...)``, a few samples.
        traced: A run of the model.
        head: The call of its head.

    Returns:
        What is read; all tokens where a model has no gradients.
    """
    points = [named_point(call, "output", traced) for call in spine_of(traced.root, head)]
    sequences = [at for at in points if at is not None and is_tokens(at, signal_at(at, traced))]
    if not sequences:
        return Reading()
    last = sequences[-1]
    length = signal_at(last, traced).shape[1]
    kept = kept_tokens(model, sample, [replace(last, masked=True)])
    masked = kept is not None and tuple(kept.shape) == (len(sample), length)
    gradient = _gradient(model, sample, last, head.name)
    if gradient is None:
        return Reading(length, None, masked)
    size = gradient.abs().amax((0, 2))
    read = (size > _LEAST * size.max()).nonzero().flatten().tolist()
    in_a_row = bool(read) and read == list(range(read[0], read[-1] + 1))
    # Of a text the last tokens may be padding in every sample.
    some = in_a_row and len(read) < length and not (masked and len(read) > 1)
    return Reading(length, (read[0], read[-1] + 1) if some else None, masked)


def _gradient(model: nn.Module, sample: Tensor, at: TapPoint, head: str) -> Tensor | None:
    """Return the gradient ``(n, tokens, channels)`` of a random projection of the head's input; None if it has none."""
    given: list[Tensor] = []
    taken: list[Tensor] = []
    calls = 0

    def begin(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != at.number or not isinstance(output, Tensor):
            return None
        given.append(output.detach().clone().requires_grad_())
        # What follows may overwrite it.
        return given[0].clone()

    def end(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken.append(next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))

    handles = [
        model.get_submodule(at.module).register_forward_hook(begin),
        model.get_submodule(head).register_forward_pre_hook(end, with_kwargs=True),
    ]
    try:
        with torch.enable_grad():
            model(sample)
            weight = torch.randn(taken[0].shape, generator=torch.Generator().manual_seed(0))
            found = torch.autograd.grad((taken[0] * weight).sum(), given, allow_unused=True)
    # What overwrites a tensor, or computes without gradients, raises errors of its own.
    except (RuntimeError, IndexError):
        return None
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found and found[0] is not None and bool(found[0].any()) else None
