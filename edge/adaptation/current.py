"""What is in use when an adaptation begins, as far as it is asked: a linear head, or a trained tail."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..head import Float32, Ids


class Current(Protocol):
    """What a candidate is compared with."""

    def held_out(self, ids: Ids, latents: Float32) -> Ids:
        """Predict stored samples as if none of them had been fitted on. See `LinearHead.held_out`."""

    def knows(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which classes it can predict, for ``(k,)`` class ids."""
