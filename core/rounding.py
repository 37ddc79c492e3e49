"""What an update sends of a head: rows rounded to float16, and which of them the receiver has already."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .record import record
from .update_format import MAX_EXPONENT

Float32 = NDArray[np.float32]
# The largest weight of a row comes to lie between 2^14 and 2^15: none overflows, and below 2^-29 of it bits are lost.
_TOP = 15
LARGEST = 2.0 ** (MAX_EXPONENT + _TOP)


@record(eq=False)
class Rounded:
    """Rows of a head as they are sent.

    Args:
        exponent: ``(k,) int8``; weights are multiplied by 2 to this power.
        bias: ``(k,) float32``.
        weight: ``(k, d) float16``.
    """

    exponent: NDArray[np.int8]
    bias: Float32
    weight: NDArray[np.float16]

    @classmethod
    def of(cls, weight: Float32, bias: Float32, centre: Float32 | None) -> Self:
        """Round a head.

        Args:
            weight: ``(k, d) float32``, below `LARGEST`.
            bias: ``(k,) float32``.
            centre: ``(d,) float32``, a latent whose logits the rounding leaves as they were, by way of the bias; None
                leaves the bias.

        Returns:
            The rows.
        """
        exact = weight.astype(np.float64)
        largest = np.abs(exact).max(axis=1)
        exponent = np.clip(np.frexp(largest)[1] - _TOP, -MAX_EXPONENT, MAX_EXPONENT) * (largest > 0)
        rounded = np.ldexp(exact, -exponent[:, None]).astype(np.float16)
        shifted = bias.astype(np.float64)
        if centre is not None:
            lost = exact - np.ldexp(rounded.astype(np.float64), exponent[:, None])
            # Not a matrix product: its last bits depend on the machine, and equal updates are to have equal bytes.
            shifted = shifted + (lost * centre).sum(axis=1)
        return cls(exponent.astype(np.int8), shifted.astype(np.float32), rounded)

    def key(self, row: int) -> tuple[int, bytes, bytes]:
        """Return what is equal for rows that are equal."""
        return int(self.exponent[row]), self.bias[row].tobytes(), self.weight[row].tobytes()


def match_rows(
    classes: Sequence[str], rows: Rounded, shipped_classes: Sequence[str], shipped: Rounded | None
) -> tuple[dict[int, int], dict[int, int]]:
    """Find the rows of a head among those of the shipped one.

    Args:
        classes: Name of each row's class.
        rows: The rows.
        shipped_classes: Names of the shipped classes.
        shipped: The shipped rows, or None if there is no head.

    Returns:
        From row to shipped row: of those with the same parameters, whatever their names, and of those that have a
        shipped class's name and other parameters. Each shipped row is that of one row at most.
    """
    place = {name: i for i, name in enumerate(shipped_classes)}
    equal: dict[tuple[int, bytes, bytes], list[int]] = defaultdict(list)
    if shipped is not None:
        for i in range(len(shipped_classes)):
            equal[shipped.key(i)].append(i)
    kept: dict[int, int] = {}
    # First those that bear their own name, so that renamed and merged ones take what is left.
    for own in (True, False):
        for row, name in enumerate(classes):
            found = equal.get(rows.key(row), []) if row not in kept else []
            if found and (not own or place.get(name) in found):
                kept[row] = found.pop(found.index(place[name]) if own else 0)
    changed: dict[int, int] = {}
    taken = set(kept.values())
    for row, name in enumerate(classes):
        if row not in kept and name in place and place[name] not in taken:
            changed[row] = place[name]
            taken.add(place[name])
    return kept, changed
