"""How long a step of training takes in one process or in many: a cost model, fed by what was measured.

Reading goes on while a step is computed, so that the slower of both counts; then gradients are exchanged, and now and
then a checkpoint is written:

    step = max(compute, input) + exchange + checkpoint / steps between checkpoints

Exchanging is counted in full. Where it overlaps with the backward pass, as DDP lets it, a step is shorter: the model is
on the safe side, by at most the exchange.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..errors import InputError

# All-reduce sends what each process holds round the ring twice. FSDP gathers parameters for the forward pass and for
# the backward pass, and scatters gradients.
_ROUNDS = {"none": 2, "fsdp": 3}


@dataclass(frozen=True)
class Link:
    """The slowest link of the ring that processes exchange gradients over.

    Args:
        bandwidth: Bytes a second in one direction, of one process.
        latency: Seconds until a message of no length has arrived.
    """

    bandwidth: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, above=("bandwidth",))


@dataclass(frozen=True)
class Workload:
    """What is trained, and what each part of it takes on one device.

    Args:
        sample_seconds: Seconds of forward and backward pass for one sample.
        gradient_bytes: Bytes of all gradients: four for each parameter that trains in float32.
        step_seconds: Seconds of a step that do not grow with its samples, such as the optimiser's.
        read_seconds: Seconds in which one reader makes one sample.
        readers: Readers of each process; with `run.workers = 0`, the one thread.
        checkpoint_seconds: Seconds to write a checkpoint.
        checkpoint_every: Steps between checkpoints.
    """

    sample_seconds: float
    gradient_bytes: float
    step_seconds: float = 0.0
    read_seconds: float = 0.0
    readers: int = 1
    checkpoint_seconds: float = 0.0
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, above=("readers", "checkpoint_every"))


@dataclass(frozen=True)
class StepTime:
    """Parts of a step.

    Args:
        compute: Seconds of computing.
        input: Seconds of reading, at the same time.
        exchange: Seconds of exchanging gradients.
        checkpoint: A step's share of writing checkpoints, in seconds.
    """

    compute: float
    input: float
    exchange: float
    checkpoint: float

    @property
    def total(self) -> float:
        """Seconds of a step."""
        return max(self.compute, self.input) + self.exchange + self.checkpoint


def step_time(work: Workload, *, batch_size: int, processes: int, link: Link, sharding: str = "none") -> StepTime:
    """Return how long a step takes.

    Args:
        work: What is trained.
        batch_size: Samples of a step over all processes, as `training.batch_size`.
        processes: How many there are, each with a device and readers of its own.
        link: The slowest between them; one process does not use it.
        sharding: ``none`` or ``fsdp``, as `run.sharding`.

    Raises:
        InputError: If the batch cannot be shared out evenly, or there is no such sharding.
    """
    if processes < 1 or batch_size < 1 or batch_size % processes:
        raise InputError(
            f"expected a batch size that is a multiple of the number of processes, found {batch_size} and {processes}."
        )
    if sharding not in _ROUNDS:
        raise InputError(f"expected a sharding out of {', '.join(_ROUNDS)}, found {sharding!r}.")
    own = batch_size // processes
    return StepTime(
        compute=work.step_seconds + own * work.sample_seconds,
        input=own * work.read_seconds / work.readers,
        exchange=exchange_time(work.gradient_bytes, processes, link, rounds=_ROUNDS[sharding]),
        checkpoint=work.checkpoint_seconds / work.checkpoint_every,
    )


def exchange_time(size: float, processes: int, link: Link, *, rounds: int = 2) -> float:
    """Return the seconds in which processes in a ring sum up gradients.

    Args:
        size: Bytes of the gradients of one process.
        processes: n. In each of n - 1 messages a round, a process sends one n-th of them.
        link: The slowest in the ring.
        rounds: 2 for all-reduce (scattering sums, gathering them), 3 for FSDP.

    References:
        Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
    """
    messages = rounds * (processes - 1)
    return messages * (link.latency + size / processes / link.bandwidth)


def fit_link(sizes: Sequence[float], seconds: Sequence[float], processes: int) -> Link:
    """Return the link that explains how long all-reduces took, by least squares of relative errors.

    Args:
        sizes: Bytes of each, of two sizes or more.
        seconds: How long each took.
        processes: How many took part, two or more.

    Raises:
        InputError: If that does not tell, as where larger ones take no longer.
    """
    if processes < 2 or len(set(sizes)) < 2 or len(sizes) != len(seconds) or min(seconds) <= 0:
        raise InputError("expected times of all-reduces of two sizes or more between two processes or more.")
    messages = 2 * (processes - 1)
    x, y = np.asarray(sizes, np.float64), np.asarray(seconds, np.float64)
    terms = messages * np.stack([np.ones_like(x), x / processes], axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(terms / y[:, None], np.ones_like(y), rcond=None)
    if per_byte <= 0:
        raise InputError("expected larger all-reduces to take longer, found that they do not. Measure larger ones.")
    return Link(1 / float(per_byte), max(0.0, float(latency)))


def _check(numbers: Link | Workload, *, above: tuple[str, ...]) -> None:
    for field in fields(numbers):
        value = getattr(numbers, field.name)
        # Comparisons with NaN are false.
        if not (value > 0 if field.name in above else value >= 0) or value == float("inf"):
            least = "above 0" if field.name in above else "of 0 or more"
            raise InputError(f"expected {field.name} as a finite number {least}, found {value}.")
