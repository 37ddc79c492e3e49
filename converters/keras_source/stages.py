"""Choose where a Keras model is tapped: the last layer of each spatial resolution."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import CutError
from ..tap_pooling import MAX
from .head import IDLE
from .unroll import Step, Symbol, before

# Padding and convolutions without it change a resolution a little; a stage ends where its side falls to two thirds.
_SAME = 1.5
_MOST = 16
# What only moves values about is no end of a stage.
_MOVES = (
    *("Reshape", "Flatten", "Permute", "RepeatVector"),
    *("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D"),
)


@dataclass(frozen=True, eq=False)
class KerasTap:
    """A layer whose output is pooled over positions.

    Args:
        step: The layer.
        pool: Whether the mean is meant or the maximum.
    """

    step: Step
    pool: Literal["mean", "max"] = "mean"

    @property
    def name(self) -> str:
        """Name of the tap."""
        return self.step.name + (MAX if self.pool == "max" else "")


def choose_taps(steps: Sequence[Step], end: Symbol, wanted: str | Sequence[str]) -> tuple[KerasTap, ...]:
    """Choose the taps in front of the cut.

    Args:
        steps: The model (`unroll`).
        end: What goes into the head.
        wanted: ``"last"`` for none, ``"all"`` for the ends of stages, or names of layers; ``"NAME:max"`` means the
            maxima over positions.

    Returns:
        The taps.

    Raises:
        CutError: If a name means no layer in front of the cut.
    """
    if wanted == "last":
        return ()
    leading = before(steps, end)
    if wanted == "all":
        return tuple(KerasTap(step) for step in stage_ends(leading)[-_MOST:])
    if isinstance(wanted, str):
        raise CutError(f"expected taps 'last', 'all' or a list of layer names, found {wanted!r}.")
    return tuple(_tap(name, leading) for name in wanted)


def with_maxima(taps: Sequence[KerasTap]) -> tuple[KerasTap, ...]:
    """Put the maxima of each map beside its means; what is there by name already is taken once."""
    return tuple({one.name: one for tap in taps for one in (tap, *_maxima(tap.step))}.values())


def _tap(name: str, steps: Sequence[Step]) -> KerasTap:
    step = _named(name.removesuffix(MAX), steps)
    if not name.endswith(MAX):
        return KerasTap(step)
    found = _maxima(step)
    if not found:
        raise CutError(f"expected a map with several positions for {name!r}, found {step.shape}. Leave '{MAX}' out.")
    return found[0]


def _maxima(step: Step) -> tuple[KerasTap, ...]:
    """Return the tap of the maxima of a map, if it is one with several positions."""
    several = any(length is None or length > 1 for length in step.shape[1:-1])
    return (KerasTap(step, "max"),) if 3 <= len(step.shape) <= 5 and several else ()


def stage_ends(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the last layer of each spatial resolution that everything behind it depends on.

    Args:
        steps: What the head is computed from.
    """
    last_use = {id(value): i for i, step in enumerate(steps) for value in step.inputs}
    made = {id(step.output) for step in steps}
    ends: dict[tuple[str, int], Step] = {}
    weighted, vectors, stage, start = False, 0, 0, 0.0
    # How far what was computed before a layer is still needed: an end is where nothing passes it by.
    furthest = max((i for value, i in last_use.items() if value not in made), default=0)
    for i, step in enumerate(steps):
        weighted |= step.has_weights
        alone, shape = furthest <= i, step.shape
        furthest = max(furthest, last_use.get(id(step.output), 0))
        if not alone:
            continue
        if len(shape) == 2:
            vectors += step.kind == "Dense"
            key, usable = ("vector", vectors), vectors > 0
        else:
            side = math.prod(axis or 1 for axis in shape[1:-1]) ** (1 / (len(shape) - 2))
            if not start or max(side, start) > _SAME * min(side, start):
                stage, start = stage + 1, side
            key, usable = ("map", stage), weighted and shape[-1] is not None and side > 1
        if usable and step.kind not in (*_MOVES, *IDLE):
            ends[key] = step
    return tuple(ends.values())


def _named(name: str, steps: Sequence[Step]) -> Step:
    found = [step for step in steps if name in (step.name, step.name.rpartition("/")[2])]
    exact = [step for step in found if step.name == name] or found
    if len(exact) != 1 or len(exact[0].shape) < 2:
        known = [step.name for step in steps]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]
        many = f", {len(exact)} of that name" if len(exact) > 1 else ""
        raise CutError(f"expected a layer in front of the head as tap, found {name!r}{many}. Close to it: {near}.")
    return exact[0]
