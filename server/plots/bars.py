"""Bars of sizes, times and memory."""

from dataclasses import dataclass

from matplotlib.patches import Rectangle

from ...errors import InputError
from .canvas import COLOUR, Drawing, new_figure, three_digits, to_svg
from .keys import Key


@dataclass(frozen=True)
class BarPlot:
    """Bars from 0, one below the other.

    Args:
        title: What it shows.
        unit: Unit of the values, for example ``"kB"``.
        bars: Name and value, 0 or more, of each.
        note: What a reader should know, below the plot.
    """

    title: str
    unit: str
    bars: tuple[tuple[str, float], ...]
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend: each bar has its name beside it."""
        return ()

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If there is no bar, or one is below 0.
        """
        if not self.bars or min(value for _, value in self.bars) < 0:
            raise InputError(f"expected one bar or more in {self.title!r}, each 0 or more, found {self.bars}.")
        figure, axes = new_figure(0.2 + 0.56 * len(self.bars))
        longest = max(value for _, value in self.bars) or 1.0
        for row, (name, value) in enumerate(self.bars):
            width = max(value / longest, 0.004)
            axes.add_patch(Rectangle((0, row + 0.42), 1, 0.36, facecolor=COLOUR["rule"], alpha=0.6, linewidth=0))
            axes.add_patch(Rectangle((0, row + 0.42), width, 0.36, facecolor=COLOUR["series-1"], linewidth=0))
            shown = f"{three_digits(value)} {self.unit}"
            axes.text(0, row + 0.34, name, color=COLOUR["ink"], ha="left", va="bottom")
            axes.text(1, row + 0.34, shown, color=COLOUR["ink"], ha="right", va="bottom", weight="bold")
        axes.set_xlim(0, 1)
        axes.set_ylim(len(self.bars), 0)
        axes.set_axis_off()
        values = ", ".join(f"{name} {three_digits(value)} {self.unit}" for name, value in self.bars)
        return (Drawing(to_svg(figure, prefix, f"{self.title}: {values}.")),)
