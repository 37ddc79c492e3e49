"""Which of the calibration samples maps are compared on: maps are large beside latents."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 64


def mapped_samples(samples: NDArray[Any]) -> NDArray[Any]:
    """Return at most 64 of the samples, evenly spaced; every position of a map shows its channels."""
    rows = np.linspace(0, len(samples) - 1, min(len(samples), MOST)).astype(int)
    chosen: NDArray[Any] = samples[rows]
    return chosen
