"""What training a tail costs: an upper bound of the memory, and seconds by a step that is timed."""

import math
from time import perf_counter

import numpy as np

from ...tail_content import TailContent
from .courses import SHARES, seconds
from .fit import BATCH, LEAST_STEPS, MOST_STEPS, ROUNDS
from .held_out import FOLDS
from .range_test import STEPS
from .stepper import Stepper

# Values that a network makes of one of a map, forwards and backwards, with what convolutions unfold; what the two
# models take as such.
_ACTIVATIONS, _MODELS = 48, 2**24
_TIMED = 3
# Seconds that it takes to judge a round, whatever the tail.
_ROUND = 5e-3


def memory(content: TailContent, classes: int, samples: int, kept: int) -> int:
    """Return an upper bound of the working memory in bytes.

    Args:
        content: The tail.
        classes: Number of classes.
        samples: Number of samples.
        kept: Bytes of maps that may be held.
    """
    spec = content.spec
    sizes = [math.prod((classes, *p.shape[1:]) if p.name in spec.head else p.shape) for p in spec.parameters]
    # Two sets of parameters and state, what they are drawn to, where they began, and one that is kept.
    sets = 2 * (1 + len(spec.state)) + 2 + (2 if content.fisher is not None else 0) + 1
    size = math.prod(spec.map)
    held = samples * content.code.size
    curves = (4 + 4) * len(SHARES) * ROUNDS * samples
    models = 2 * (len(content.forward) + len(content.step)) + _MODELS
    return 4 * sum(sizes) * sets + 4 * BATCH * size * _ACTIVATIONS + (held if held <= kept else 0) + curves + models


def usual_seconds(content: TailContent, classes: int, samples: int, threads: int) -> float:
    """Return about how many seconds a training takes, by how long a step takes now.

    Args:
        content: The tail.
        classes: Number of classes.
        samples: Number of samples.
        threads: Threads of the runtime.

    Raises:
        BackendError: If the tail's models do not run.
    """
    stepper = Stepper(content, classes, BATCH, threads)
    stepper.target[:, 0] = 1
    spec = content.spec
    start = {
        p.name: np.zeros((classes, *p.shape[1:]), np.float32) if p.name in spec.head else content.parameters[p.name]
        for p in spec.parameters
    }
    stepper.begin(start, None)
    stepper.step(0.0, 0.0)
    codes = np.zeros((BATCH, content.code.size), np.uint8)
    begun = perf_counter()
    for _ in range(_TIMED):
        stepper.map[...] = content.code.decode(codes)
        stepper.step(0.0, 0.0)
    each = (perf_counter() - begun) / _TIMED
    steps = min(max(math.ceil(samples / BATCH), LEAST_STEPS), MOST_STEPS)
    told = _ROUND * ROUNDS * len(SHARES) * FOLDS
    return seconds(each, steps, FOLDS, len(SHARES), ROUNDS) + STEPS * each + told
