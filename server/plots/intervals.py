"""Shares with their intervals, one below the other, against a mark that they are compared with."""

import math
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import InputError
from .canvas import COLOUR, Drawing, new_figure, to_svg
from .keys import Key

_ROW = 0.24


@dataclass(frozen=True)
class Interval:
    """One row.

    Args:
        name: What stands beside it.
        value: The share, 0 to 1.
        low: Lower end of its interval, at most the value.
        high: Upper end, at least the value.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalPlot:
    """Shares with their intervals.

    Args:
        title: What it shows.
        rows: One or more, from above.
        x_label: What the shares are of.
        base: Name of the row that others are compared with: a square, and a dashed line through all rows; or None.
        chosen: Name of the row to take: a diamond; or None.
        note: What a reader should know, below the plot.
    """

    title: str
    rows: tuple[Interval, ...]
    x_label: str
    base: str | None = None
    chosen: str | None = None
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend of what occurs."""
        names = {row.name for row in self.rows}
        keys = []
        if self.chosen in names:
            keys.append(Key(f"{self.chosen}, to be taken", "series-2", "solid", "D"))
        if self.base in names - {self.chosen}:
            keys.append(Key(str(self.base), "base", "dashed", "s"))
        return (*keys, Key("others" if keys else "all", "series-1", "solid", "o"))

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If there is no row, or its numbers are no share within its interval.
        """
        _check(self)
        figure, axes = new_figure(0.5 + _ROW * len(self.rows))
        for place, row in enumerate(self.rows):
            kind, mark = ("series-1", "o")
            if row.name == self.chosen:
                kind, mark = ("series-2", "D")
            elif row.name == self.base:
                kind, mark = ("base", "s")
            axes.plot((row.low, row.high), (place, place), color=COLOUR[kind], linewidth=2, zorder=3)
            axes.plot((row.value,), (place,), color=COLOUR[kind], marker=mark, markersize=6, linestyle="", zorder=4)
            if row.name == self.base:
                axes.axvline(row.value, color=COLOUR["base"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
        axes.set_ylim(len(self.rows) - 0.5, -0.5)
        axes.set_yticks(range(len(self.rows)), [row.name for row in self.rows])
        low, high = min(row.low for row in self.rows), max(row.high for row in self.rows)
        room = 0.04 * max(high - low, 0.02)
        axes.set_xlim(max(low - room, -0.01), min(high + room, 1.01))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
        axes.grid(axis="x", color=COLOUR["rule"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(self.x_label, color=COLOUR["muted"])
        told = ", ".join(f"{one.name} {one.value:.1%} ({one.low:.1%} to {one.high:.1%})" for one in self.rows)
        return (Drawing(to_svg(figure, prefix, f"{self.title}: {told}.")),)


def _check(plot: IntervalPlot) -> None:
    if not plot.rows:
        raise InputError(f"expected one row or more in {plot.title!r}, found none.")
    for row in plot.rows:
        numbers = (row.low, row.value, row.high)
        if not all(map(math.isfinite, numbers)) or not 0 <= row.low <= row.value <= row.high <= 1:
            raise InputError(
                f"expected a share from 0 to 1 within its interval for {row.name!r} in {plot.title!r}, found "
                f"{row.value} and {row.low} to {row.high}."
            )
