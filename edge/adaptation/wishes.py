"""What the caller of `adapt` asks for, and whether that can be meant."""

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from ...errors import InputError
from ...record import record
from ..head import Ids

S = TypeVar("S")
# Weights and limits above are no numbers that anything is reckoned with.
LARGEST = 1e12
OnInsufficient = Literal["keep", "apply"]


@record()
class Wishes(Generic[S]):
    """What the caller of `Learner.adapt` or `Regressor.adapt` asks for; see there.

    Args:
        on_insufficient: What to do without enough evidence.
        only: Try nothing but this setting.
        class_weight: Weights of classes by name, where there are classes.
        sample_weight: Weights of samples by id.
        max_seconds: Time for the search.
        max_memory_mb: Working memory.
        max_forgetting: What may be lost of the source.
    """

    on_insufficient: OnInsufficient | None = None
    only: S | None = None
    class_weight: Mapping[str, float] | None = None
    sample_weight: Mapping[int, float] | None = None
    max_seconds: float | None = None
    max_memory_mb: float | None = None
    max_forgetting: float | None = None


def check_wishes(wishes: Wishes[Any], most_forgetting: float) -> None:
    """Check what can be checked before the store is read.

    Args:
        wishes: The wishes.
        most_forgetting: The greatest `max_forgetting`: all that there is to forget.

    Raises:
        InputError: If a limit or weights are none.
    """
    for name in ("max_seconds", "max_memory_mb"):
        value = getattr(wishes, name)
        if value is not None:
            positive(value, name)
    most = wishes.max_forgetting
    if most is not None and (not _is_number(most) or not 0 <= most <= most_forgetting):
        unit = "in points " if most_forgetting > 1 else ""
        raise InputError(f"expected max_forgetting {unit}from 0 to {most_forgetting:g}, found {most!r:.80}.")
    for name in ("class_weight", "sample_weight"):
        if not isinstance(getattr(wishes, name), Mapping | None):
            raise InputError(f"expected {name} as a mapping to numbers, found {getattr(wishes, name)!r:.80}.")


def sample_weights(wishes: Wishes[Any], ids: Ids) -> dict[int, float] | None:
    """Return the weights of samples by id, checked.

    Args:
        wishes: The wishes.
        ids: ``(n,)`` ids of the labelled samples.

    Raises:
        InputError: If a weight is none, or for no labelled sample.
    """
    weights = wishes.sample_weight
    if weights is None:
        return None
    stored = set(ids.tolist())
    unknown = [number for number in weights if not _is_whole(number) or int(number) not in stored]
    if unknown:
        raise InputError(f"expected weights for ids of labelled samples, found one for {unknown[0]!r}.")
    return {int(number): positive(weight) for number, weight in weights.items()}


def positive(value: float, name: str = "a weight") -> float:
    """Return a number above 0.

    Raises:
        InputError: If it is none, or absurd.
    """
    if not _is_number(value) or not 0 < value <= LARGEST:
        raise InputError(f"expected {name} as a finite number above 0, found {value!r:.80}.")
    return float(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
