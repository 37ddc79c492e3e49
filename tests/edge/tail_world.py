"""Frames whose classes differ in what is beside what: latents add up what there is, and hardly tell them apart."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.edge import Learner
from acclimate.manifest import Runtime

CLASSES = ("alike", "unlike")


def pairs(n: int, seed: int, noise: float = 20.0) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Draw frames with two squares, each bright or dark: of the same kind, or one of each.

    There are 0 or 2 bright ones in one class and 1 in the other: no weighted sum of what there is tells them apart.

    Args:
        n: Number of frames.
        seed: Draws them.
        noise: Standard deviation of the noise, in levels.

    Returns:
        ``(n, 8, 8, 1) uint8`` frames, and their ``(n,)`` class names.
    """
    draw = np.random.default_rng((seed, 11))
    classes = np.arange(n) % 2
    draw.shuffle(classes)
    frames = 128 + draw.normal(0, noise, (n, 8, 8, 1))
    for frame, label in zip(frames, classes, strict=True):
        sign = draw.choice((-70, 70))
        for column, height in ((0, sign), (5, sign if label == 0 else -sign)):
            row = draw.integers(1, 5)
            frame[row : row + 3, column : column + 3] += height
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8), np.array(CLASSES)[classes]


TRAINED_ON = pairs(120, 2)


def open_tail(bundle: Path, store: Path | None = None, runtime: Runtime = "onnx") -> Learner:
    """Open the bundle with a tail, with the classes of the planted world alone."""
    learner = Learner.open(bundle, store, threads=1, runtime=runtime)
    for name in set(learner.classes) - set(CLASSES):
        learner.classes.remove(name)
    return learner
