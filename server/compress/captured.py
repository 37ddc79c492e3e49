"""Take the activations at chosen modules while a model runs, with their gradients."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from ...errors import InputError


@contextmanager
def captured(model: nn.Module, places: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Watch places of a model while the block runs.

    Args:
        model: The model; its hooks are as before afterwards.
        places: ``"module"`` for what a module returns, ``"module:input"`` for what it takes.

    Yields:
        What passed last, by place; filled as the model runs.

    Raises:
        InputError: If there is no such module.
    """
    modules, found, handles = dict(model.named_modules()), {}, []

    def keep_output(place: str) -> Any:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            found[place] = output

        return hook

    def keep_input(place: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            # Of a module that is called by keywords alone nothing is known.
            if args:
                found[place] = args[0]

        return hook

    try:
        for place in places:
            name, _, side = place.partition(":")
            if name not in modules or side not in ("", "input"):
                raise InputError(
                    f"expected the name of a module of {type(model).__name__}, or one with ':input', found {place!r}."
                    f"{near_name(name, modules)}"
                )
            if side:
                handles.append(modules[name].register_forward_pre_hook(keep_input(place)))
            else:
                handles.append(modules[name].register_forward_hook(keep_output(place)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def near_name(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the names that are most like another one; empty without any."""
    near = get_close_matches(name, list(names), 3)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
