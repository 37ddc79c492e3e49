"""What a learner returns: predictions, entries of the history, and what was forgotten."""

from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from ..record import record
from .head import Float32


@record(eq=False)
class Prediction:
    """Predictions for ``n`` frames.

    Args:
        labels: ``(n,)`` class names.
        probabilities: ``(n, k) float32``; rows add up to 1.
        classes: Names of the ``k`` columns.
        unknown: ``(n,) bool``: the frame is unlike every class; the label is then the least wrong of them. Known frames
            are called unknown at the rate stated when the head was fitted; with too few samples to tell, none is.
    """

    labels: NDArray[np.str_]
    probabilities: Float32
    classes: tuple[str, ...]
    unknown: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


@record()
class Version:
    """One entry of the history.

    Args:
        number: Its number; 0 is the shipped head.
        current: Whether it is in use.
        time: When it was made, in seconds since 1970; 0 for the shipped head.
        summary: What it is, in words.
    """

    number: int
    current: bool
    time: float
    summary: str


@record()
class Forgotten:
    """What forgetting did.

    Args:
        samples: Number of samples that are gone.
        versions: Number of versions that are gone, since they were trained on one of them.
        erased: Whether no byte of them is left in the store's files. False while another process reads an older state:
            the bytes are erased as soon as it is done, at the next change or opening.
    """

    samples: int
    versions: int
    erased: bool
