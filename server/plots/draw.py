"""Any plot of a report, drawn."""

from typing import Protocol

from .canvas import Drawing, drawing_style
from .keys import Key


class Plot(Protocol):
    """What can be drawn."""

    @property
    def title(self) -> str:
        """What it shows."""
        ...

    @property
    def note(self) -> str:
        """What a reader should know, below the plot."""
        ...

    def keys(self) -> tuple[Key, ...]:
        """Return the legend."""
        ...

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix."""
        ...


def draw(plot: Plot, *, prefix: str) -> tuple[Drawing, ...]:
    """Draw a plot.

    Args:
        plot: What to draw.
        prefix: What the ids inside the SVG begin with; one page needs another for each plot.

    Returns:
        One drawing, or two for a confusion before and after.

    Raises:
        InputError: If the numbers do not fit each other.
    """
    with drawing_style():
        return plot.draw(prefix)


def legend(plot: Plot) -> tuple[Key, ...]:
    """Return what tells the lines and marks of a plot apart; nothing for plots that need no legend."""
    return plot.keys()
