"""Ranges of activations, on the modules of a model that they were trained with."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import InputError, TrainingError

_CHILD = "held_input"


class HeldRange(nn.Module):
    """The place of an activation whose range was trained; it passes on what it is given.

    Args:
        low: Lower end, 0 at most.
        high: Upper end, 0 at least.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.activation_range = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x (...)`` itself."""
        return x


def hold_ranges(model: nn.Module, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Put ranges on a model, in place, for the converters to keep: `acclimate.converters.convert` reads them.

    They are no weights and do not stand in a checkpoint: keep them with it, and put them back after loading.

    Args:
        model: The model.
        ranges: By place: ``"module"`` for what a module returns, ``"module:input"`` for what it takes.

    Raises:
        InputError: If there is no such module.
    """
    modules = dict(model.named_modules())
    for place, (low, high) in ranges.items():
        name, _, side = place.partition(":")
        if name not in modules or side not in ("", "input") or (side and isinstance(modules[name], nn.Sequential)):
            raise InputError(
                f"expected the name of a module, or one with ':input' that is no nn.Sequential, found {place!r}."
            )
        module = modules[name]
        if not side:
            module.activation_range = (low, high)
        elif isinstance(there := getattr(module, _CHILD, None), HeldRange):
            there.activation_range = low, high
        else:
            module.add_module(_CHILD, HeldRange(low, high))
            module.register_forward_pre_hook(_pass_input)


def held_ranges(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Return the ranges that a model's modules hold, by place, as `hold_ranges` takes them."""
    found = {}
    for name, module in model.named_modules():
        ends = getattr(module, "activation_range", None)
        if ends is not None:
            place = f"{name.removesuffix(_CHILD).removesuffix('.')}:input" if isinstance(module, HeldRange) else name
            found[place] = (float(ends[0]), float(ends[1]))
    return found


def hold_noted(model: nn.Module, notes: Mapping[str, Any], path: Path) -> None:
    """Put those ranges on a model that stand in a checkpoint's notes, if any do.

    Args:
        model: The model.
        notes: A checkpoint's.
        path: Of the checkpoint, for messages.

    Raises:
        TrainingError: If they are no ranges of this model.
    """
    found = notes.get("ranges", {})
    pairs = list(found.values()) if isinstance(found, Mapping) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in pairs):
        raise TrainingError(f"expected ranges by place noted in {path}, found {found!r:.60}. Copy it again.")
    try:
        hold_ranges(model, {place: (float(low), float(high)) for place, (low, high) in found.items()})
    except InputError as error:
        raise TrainingError(f"expected ranges of this network noted in {path}: {error}") from error


def require_no_ranges(model: nn.Module, step: str) -> None:
    """Refuse to change a model whose ranges would no longer be right.

    Args:
        model: The model.
        step: What was asked for, for the message.

    Raises:
        InputError: If it holds ranges.
    """
    held = held_ranges(model)
    if held:
        raise InputError(
            f"expected a model without trained ranges to {step}, found {len(held)}, first at {next(iter(held))!r}. "
            f"Train quantization-aware last."
        )


def _pass_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(_CHILD)(args[0]), *args[1:]) if args else args


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
