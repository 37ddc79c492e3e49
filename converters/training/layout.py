"""Feature maps with the channel first and the batch last: ``(c, h, w, n)``, so that layers become matrix products.

A convolution's weight times such a map is one product for the whole batch, windows are moved in long contiguous runs,
matrices on positions apply to each channel, and no transposition stands between two layers.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Where the axes (n, c, h, w) are held.
HELD = (3, 0, 1, 2)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the tail.

    Args:
        tensor: The numbers.
        channels_first: Whether a map ``(n, c, h, w)`` is held as ``(c, h, w, n)``.
    """

    tensor: Tensor
    channels_first: bool = False

    def plain(self) -> Tensor:
        """Return it with the axes as the tail has them."""
        return self.tensor.permute(3, 0, 1, 2) if self.channels_first else self.tensor

    def map(self) -> Tensor:
        """Return it as ``(c, h, w, n)``; fewer axes broadcast as they would have."""
        if self.channels_first:
            return self.tensor
        full = self.tensor.reshape(*[1] * (4 - self.tensor.dim()), *self.tensor.shape)
        return full.permute(1, 2, 3, 0)

    def size(self, axis: int) -> int:
        """Return the length of an axis, counted as the tail does."""
        axis %= self.tensor.dim()
        return self.tensor.shape[HELD[axis] if self.channels_first else axis]


@dataclass(eq=False)
class Constants:
    """Matrices that the graph needs and that are known at conversion.

    The first run of the tail makes them; when the tail is differentiated they are inputs, found again by their key.

    Args:
        made: What was made, by key.
        given: The tensors that stand for them, by key.
        turns: How many were told by their turn.
    """

    made: dict[Hashable, NDArray[np.float32]] = field(default_factory=dict)
    given: Mapping[Hashable, Tensor] | None = None
    turns: int = 0

    def next_key(self, kind: str) -> Hashable:
        """Return a key for a constant that is told by its turn: the tail asks in the same order in every run."""
        self.turns += 1
        return (kind, self.turns)

    def get(self, key: Hashable, value: NDArray[np.float64]) -> Tensor:
        """Return a constant as a tensor."""
        if self.given is not None:
            return self.given[key]
        self.made[key] = np.ascontiguousarray(value, np.float32)
        return torch.from_numpy(self.made[key])
