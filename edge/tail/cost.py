"""What training a tail costs: an upper bound of the memory, and seconds by a step that is timed."""

import math
from time import perf_counter

import numpy as np

from ...tail_content import TailContent
from ...tail_spec import GIVEN
from .courses import SHARES, seconds
from .fit import BATCH, LEAST_STEPS, MOST_STEPS, ROUNDS
from .held_out import FOLDS
from .range_test import STEPS
from .stepper import Stepper

# A runtime holds more than is alive at once: its pool grows in steps, and what has gone leaves gaps. Measured with
# convolutions, bottlenecks and attention it was 2.2 times as much at most.
_POOL = 2.5
# Values alive for one of a map, where the bundle does not tell; maps beside each other while one is read; what the two
# models take as such.
_ACTIVATIONS, _READING, _MODELS = 64, 4, 2**24
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
    # Two sets of parameters and state, what they are drawn to, where they began; the bundle's, read and unpacked; what
    # came of the training, scaled, rounded and as bytes.
    states = 1 + len(spec.state)
    sets = 2 * states + 2 + 2 + 4 + (4 if content.fisher is not None else 0)
    if content.runtime == "tflite":
        # LiteRT copies what it is given, and what it gives back; so does the forward pass.
        sets += 2 * states + len(GIVEN[spec.penalty]) + 1
    size = math.prod(spec.map)
    working = max(spec.working, 4 * BATCH * classes) if spec.working else 4 * BATCH * size * _ACTIVATIONS
    runs = int(_POOL * working) + 4 * BATCH * size * _READING
    held = samples * content.code.size
    curves = (4 + 4) * len(SHARES) * ROUNDS * samples
    models = 2 * (len(content.forward) + len(content.step)) + _MODELS
    return 4 * sum(sizes) * sets + runs + (held if held <= kept else 0) + curves + models


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
