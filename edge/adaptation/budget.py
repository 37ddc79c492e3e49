"""What adapting costs, told beforehand: seconds, working memory, bytes on disk; and what is refused beforehand."""

from dataclasses import dataclass

from ...errors import BudgetError, InputError
from ..session import Session
from ..store.schema import page_size, slots_per_page
from .costs import Size, least_seconds, memory, seconds

# Bytes that a sample takes beside its latent, in the table and in the index of digests; pages beside all samples.
_ROW, _PAGES = 81, 12


@dataclass(frozen=True)
class Estimate:
    """What adapting will cost, roughly.

    Args:
        samples: Labelled samples that it was reckoned for.
        seconds: Wall time of `adapt` in seconds; a guess within a factor of about three.
        memory: Greatest working memory in bytes, on top of what the process has; an upper bound.
        disk: Bytes that the store takes with so many samples of this width.
    """

    samples: int
    seconds: float
    memory: int
    disk: int


def estimate(session: Session, samples: int | None = None) -> Estimate:
    """Tell what adapting will cost. See `Learner.estimate`."""
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 2):
        raise InputError(f"expected a number of samples from 2 on, found {samples!r}.")
    stored, labelled = session.store.count()
    n = labelled if samples is None else samples
    size, page = size_of(session, n), page_size(session.bundle.manifest.width)
    disk = _PAGES * page + max(stored, n) * (page / slots_per_page(size.width, page) + _ROW)
    return Estimate(n, seconds(size), memory(size), int(disk))


def size_of(session: Session, samples: int) -> Size:
    """Return how large adapting an opened learner to so many samples is."""
    classes = max(len(session.store.classes()), 2)
    source = f"{session.runtime}/source.safetensors" in session.bundle.sizes
    return Size(samples, session.bundle.manifest.width, classes, source or session.shipped_head is not None)


def check_budget(size: Size, max_seconds: float | None, max_memory_mb: float | None) -> None:
    """Check that what an adaptation needs at least is allowed.

    Raises:
        BudgetError: If it is not.
    """
    if max_memory_mb is not None and memory(size) > max_memory_mb * 1e6:
        raise BudgetError(
            f"expected to need at most {max_memory_mb:g} MB, found that {size.samples} samples of {size.width} "
            f"dimensions need {memory(size) / 1e6:.0f} MB. Allow more, or bound the store with max_bytes."
        )
    if max_seconds is not None:
        # The search ends at the deadline, but not before its first head is through.
        least = least_seconds(size)
        if least > max_seconds:
            raise BudgetError(
                f"expected to take at most {max_seconds:g} s, found that the least for {size.samples} samples of "
                f"{size.width} dimensions takes about {least:.2g} s. Allow more, or bound the store with max_bytes."
            )
