"""What adapting costs, told beforehand: seconds, working memory, bytes on disk; and what is refused beforehand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...errors import BudgetError, InputError
from ...record import record
from ..session import Session
from ..store.schema import page_size, slots_per_page
from ..task_session import TaskSession
from .costs import Size, least_seconds, memory, seconds

# Bytes that a sample takes beside its latent, in the table and in the index of digests; pages beside all samples.
_ROW, _PAGES = 81, 12
# More samples than this no device stores, and nothing was measured near it.
MOST_SAMPLES = 10**9


@record()
class Estimate:
    """What adapting will cost, roughly.

    Args:
        samples: Labelled samples that it was reckoned for.
        seconds: Time of `adapt` in seconds on one core that nothing else uses; a guess within a factor of two, and of
            three for values. Where other processes use the cores, it takes as much longer as they take of them.
        memory: Greatest working memory in bytes, on top of what the process has; an upper bound.
        disk: Bytes that the store takes with so many samples of this width.
        tail_seconds: What training the tail takes on top, in seconds, by how long a step takes now; 0 without a tail.
        tail_memory: Working memory of that in bytes, an upper bound; 0 without a tail.
    """

    samples: int
    seconds: float
    memory: int
    disk: int
    tail_seconds: float = 0.0
    tail_memory: int = 0


@record()
class Need:
    """What one adaptation takes.

    Args:
        samples: Labelled samples.
        width: Dimensions of the latent.
        memory: Working memory in bytes, an upper bound.
        seconds: Reckons the seconds of a whole search.
        least: Reckons the seconds that it takes at least, whatever is left out.
    """

    samples: int
    width: int
    memory: int
    seconds: Callable[[], float]
    least: Callable[[], float]


def estimate(session: Session, samples: int | None = None) -> Estimate:
    """Tell what adapting will cost. See `Learner.estimate`."""
    found = reckon(session, samples, lambda n: need(session, n))
    if session.tail is None:
        return found
    from ..tail.cost import memory as tail_memory
    from ..tail.cost import usual_seconds
    from ..tail.maps import KEPT

    classes = max(len(session.store.classes()), 2)
    return replace(
        found,
        tail_seconds=usual_seconds(session.tail, classes, found.samples, session.threads),
        tail_memory=tail_memory(session.tail, classes, found.samples, KEPT),
    )


def reckon(session: TaskSession[Any], samples: int | None, need_of: Callable[[int], Need]) -> Estimate:
    """Tell what adapting will cost, by what it takes for a number of samples.

    Raises:
        InputError: If `samples` is no number of samples that a store may hold.
    """
    whole = isinstance(samples, int) and not isinstance(samples, bool)
    if samples is not None and not (whole and 2 <= samples <= MOST_SAMPLES):
        raise InputError(f"expected a number of samples from 2 to {MOST_SAMPLES}, found {samples!r:.80}.")
    stored, labelled = session.store.count()
    # Maps lie beside the latents.
    found, width = need_of(labelled if samples is None else samples), session.store.width
    page = page_size(width)
    disk = _PAGES * page + max(stored, found.samples) * (page / slots_per_page(width, page) + _ROW)
    return Estimate(found.samples, found.seconds(), found.memory, int(disk))


def need(session: Session, samples: int) -> Need:
    """Return what adapting an opened learner to so many samples takes."""
    classes = max(len(session.store.classes()), 2)
    source = f"{session.runtime}/source.safetensors" in session.bundle.sizes
    size = Size(samples, session.bundle.manifest.width, classes, source or session.shipped_head is not None)
    return Need(samples, size.width, memory(size), lambda: seconds(size), lambda: least_seconds(size))


def check_budget(need: Need, max_seconds: float | None, max_memory_mb: float | None) -> None:
    """Check that what an adaptation needs at least is allowed.

    Raises:
        BudgetError: If it is not.
    """
    if max_memory_mb is not None and need.memory > max_memory_mb * 1e6:
        raise BudgetError(
            f"expected to need at most {max_memory_mb:g} MB, found that {need.samples} samples of {need.width} "
            f"dimensions need {need.memory / 1e6:.0f} MB. Allow more, or bound the store with max_bytes."
        )
    if max_seconds is not None:
        # The search ends at the deadline, but not before its first head is through.
        least = need.least()
        if least > max_seconds:
            raise BudgetError(
                f"expected to take at most {max_seconds:g} s, found that the least for {need.samples} samples of "
                f"{need.width} dimensions takes about {least:.2g} s. Allow more, or bound the store with max_bytes."
            )
