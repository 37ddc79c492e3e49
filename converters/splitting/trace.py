"""Watch a module run once: which submodule was called when, inside which other, on what, with what result."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Signal:
    """A tensor that was seen during the run.

    Args:
        tensor: The tensor itself; kept so that its identity stays its own.
        version: Its in-place version when it was seen: a tensor that an operation overwrote counts as another signal.
    """

    tensor: Tensor
    version: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, batch axis first."""
        return tuple(self.tensor.shape)

    def same_as(self, other: "Signal | None") -> bool:
        """Return whether both are the same tensor with the same content."""
        return other is not None and self.tensor is other.tensor and self.version == other.version


@dataclass(eq=False)
class Call:
    """One call of one submodule.

    Args:
        name: Where the module is registered, for example ``"layer1.0.conv1"``; empty for the whole model.
        number: 1 for the module's first call in this run, 2 for the second, and so on.
        module: The module.
        parent: The call inside which it was called, or None for the whole model.
        input: Its first tensor argument, or None if it has none.
        output: What it returned, if that is one tensor.
        children: The calls made inside, in order of execution.
    """

    name: str
    number: int
    module: nn.Module
    parent: "Call | None"
    input: Signal | None
    output: Signal | None = None
    children: list["Call"] = field(default_factory=list)

    @property
    def is_leaf(self) -> bool:
        """Whether it called no other module."""
        return not self.children

    @property
    def has_parameters(self) -> bool:
        """Whether the module or anything inside it has parameters."""
        return next(self.module.parameters(), None) is not None

    def all(self) -> list["Call"]:
        """Return the call itself and the calls made inside, outer ones first."""
        return [self, *(inner for child in self.children for inner in child.all())]

    def leaves(self) -> list["Call"]:
        """Return the calls inside that called no other module, itself if it is one, in order of execution."""
        return [self] if self.is_leaf else [leaf for child in self.children for leaf in child.leaves()]

    def layers(self) -> list["Call"]:
        """Return the leaves that have a weight matrix or kernel of their own."""
        return [leaf for leaf in self.leaves() if any(p.dim() >= 2 for p in leaf.module.parameters(recurse=False))]

    def contains(self, other: "Call") -> bool:
        """Return whether another call is this one or was made inside it."""
        at: Call | None = other
        while at is not None and at is not self:
            at = at.parent
        return at is self


@dataclass(frozen=True)
class Trace:
    """One run of a model.

    Args:
        root: The call of the whole model.
        output: What the model returned.
        calls: How often each module was called, by name.
    """

    root: Call
    output: object
    calls: Mapping[str, int]


def trace(model: nn.Module, x: Tensor) -> Trace:
    """Run a model once and record every call of a submodule.

    Args:
        model: The model, in evaluation mode.
        x: Its input, batch axis first.

    Returns:
        The record. Whatever the model raises passes through.
    """
    # A module that is registered under two names goes by the first.
    names = {module: name for name, module in model.named_modules()}
    open_calls: list[Call] = []
    roots: list[Call] = []
    calls: Counter[str] = Counter()

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[names[module]] += 1
        parent = open_calls[-1] if open_calls else None
        call = Call(names[module], calls[names[module]], module, parent, _first_signal((*args, *kwargs.values())))
        (parent.children if parent else roots).append(call)
        open_calls.append(call)

    def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        open_calls.pop().output = _first_signal((output,))

    handles = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in names]
    handles += [module.register_forward_hook(leave) for module in names]
    try:
        with torch.no_grad():
            output = model(x)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(roots[0], output, dict(calls))


def _first_signal(values: tuple[object, ...]) -> Signal | None:
    tensor = next((value for value in values if isinstance(value, Tensor)), None)
    return None if tensor is None else Signal(tensor, tensor._version)
