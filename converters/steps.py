"""How far a conversion is."""

from collections.abc import Sequence

from ..manifest import Runtime
from .variant import Progress

# Steps of progress for each half of a variant: its conversion, and embedding the source with it.
HALF = 10


class Steps:
    """Counts steps for the callback."""

    def __init__(self, progress: Progress | None, runtimes: Sequence[Runtime]) -> None:
        self._progress, self._total, self.count = progress, 2 + len(runtimes) * (2 * HALF + 1), 0
        self.reach(0)

    def done(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.reach(self.count + steps)

    def part(self, steps: int) -> Progress:
        """Return a callback for a part that is worth so many steps."""
        before = self.count
        return lambda done, total: self.reach(before + steps * done // total)

    def reach(self, count: int) -> None:
        """Set the number of steps done."""
        self.count = count
        if self._progress is not None:
            self._progress(self.count, self._total)
