"""The weight of a model's own head, on the whole latent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..manifest import Tap


def pad_weight(weight: NDArray[np.float32], taps: Sequence[Tap]) -> NDArray[np.float32]:
    """Return a head's weight ``(k, c)`` on the last tap as one on the whole latent, ``(k, d)``: zero elsewhere."""
    last = taps[-1]
    padded = np.zeros((len(weight), last.offset + last.width), np.float32)
    padded[:, last.offset :] = weight
    return padded
