"""Take activations where they pass while a module runs, whatever its forward does with them afterwards."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .stages import TapPoint

T = TypeVar("T")


@contextmanager
def watched(
    model: nn.Module, points: Sequence[TapPoint], take: Callable[[TapPoint, Tensor], T]
) -> Iterator[Mapping[TapPoint, T]]:
    """Watch points of a model while the block runs.

    Args:
        model: The model; its hooks are as before afterwards.
        points: Where to look.
        take: Makes of an activation what is kept of it. It is called at once, since a later operation may overwrite the
            activation in place.

    Yields:
        What was kept, filled as the model runs.
    """
    found: dict[TapPoint, T] = {}
    calls: Counter[str] = Counter()
    modules = dict(model.named_modules())

    def keep(name: str, side: str, value: object) -> None:
        for point in points:
            if (point.module, point.number, point.side) == (name, calls[name], side) and isinstance(value, Tensor):
                found[point] = take(point, value)

    def enter(name: str, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[name] += 1
        keep(name, "input", next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None))

    def leave(name: str, _: nn.Module, args: tuple[Any, ...], output: object) -> None:
        keep(name, "output", output)

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name in {point.module for point in points}:
            handles.append(modules[name].register_forward_pre_hook(partial(enter, name), with_kwargs=True))
            handles.append(modules[name].register_forward_hook(partial(leave, name)))
        yield found
    finally:
        for handle in handles:
            handle.remove()
