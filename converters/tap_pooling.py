"""What is kept of a feature map in a latent: its means over positions, or its maxima as well."""

from collections.abc import Sequence
from typing import Literal, get_args

from ..errors import InputError

Pooling = Literal["mean", "mean-max"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
# How the taps of maxima and of means are told from others of the same tensor.
MAX, MEAN = ":max", ":mean"


def check_pooling(pooling: str, taps: str | Sequence[str]) -> None:
    """Refuse a pooling that cannot be, before any work.

    Args:
        pooling: ``"mean"``, or ``"mean-max"`` for the maxima of each tapped map beside its means.
        taps: As for `convert`.

    Raises:
        InputError: If it is neither, or if there is no map to take maxima of.
    """
    if pooling not in POOLINGS:
        raise InputError(f"expected pooling as one of {POOLINGS}, found {pooling!r}. By default it is 'mean'.")
    if pooling != "mean" and taps == "last":
        raise InputError(
            f"expected taps whose maps have maxima with pooling={pooling!r}, found taps='last': the head's input stays "
            f"as it is. Name taps, or take all of them."
        )


def require_maxima(found: Sequence[str], given: bool) -> None:
    """Refuse maxima beside means where no tap is a map with several positions.

    Args:
        found: What is in the latent, by name, as the message shows it.
        given: Whether anything of it is a maximum.

    Raises:
        InputError: If nothing is.
    """
    if not given:
        raise InputError(
            f"expected taps whose maps have maxima with pooling='mean-max', found none among {list(found)[:8]}. Leave "
            f"pooling out, or name taps that are maps."
        )
