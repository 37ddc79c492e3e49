"""Raw samples for the models of the zoo, and why a row may not run."""

import numpy as np
from numpy.typing import NDArray

FRAME, TOKENS, SAMPLES = (160, 200), 24, 16


class MissingFileError(Exception):
    """A file that a row needs is not on this machine."""


class NoWayError(Exception):
    """There is no way to convert a model of this kind on this machine."""


def frames() -> NDArray[np.uint8]:
    """Return coarse and fine blocks with noise: frames that differ as photos do."""
    random = np.random.default_rng(0)
    made = []
    for i in range(SAMPLES):
        block = 2 ** (3 + i % 4)
        coarse = random.integers(0, 256, (-(-FRAME[0] // block), -(-FRAME[1] // block), 3))
        frame = np.kron(coarse, np.ones((block, block, 1)))[: FRAME[0], : FRAME[1]]
        made.append(np.clip(frame + random.normal(0, 8, frame.shape), 0, 255).astype(np.uint8))
    return np.stack(made)


def tokens() -> NDArray[np.int32]:
    """Return rows of ids below 1,000, some of which are padded with 0."""
    random = np.random.default_rng(0)
    ids = random.integers(1, 1000, (SAMPLES, TOKENS))
    for i, row in enumerate(ids):
        row[TOKENS - i % 8 :] = 0
    return ids.astype(np.int32)
