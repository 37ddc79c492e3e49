"""Accuracy against samples, with what it varies by from seed to seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ...errors import InputError
from .canvas import COLOUR, MARKERS, SERIES, Drawing, add_rules, new_figure, to_svg
from .keys import Key

# Share of the axis that two numbers below it must be apart to be told apart.
_LEAST_APART = 0.06


@dataclass(frozen=True)
class Series:
    """One line of a plot of accuracy.

    Args:
        name: Its name in the legend.
        x: Samples per class, ascending, above 0.
        values: For each x the accuracies of all seeds, 0 to 1.
    """

    name: str
    x: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Level:
    """A horizontal line: an accuracy that needs no samples.

    Args:
        name: Its name in the legend.
        values: The accuracies of all seeds, 0 to 1.
    """

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class AccuracyPlot:
    """Accuracy against samples: the mean over seeds as a line, the lowest and the highest as a band.

    Args:
        title: What it shows.
        series: One line each, five at most.
        level: The accuracy before adapting, or None.
        x_label: What the samples are counted in.
        note: What a reader should know, below the plot.
    """

    title: str
    series: tuple[Series, ...]
    level: Level | None = None
    x_label: str = "labelled samples per class"
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend."""
        lines = zip(self.series, SERIES, MARKERS, strict=False)
        level = () if self.level is None else (Key(self.level.name, "base", "dashed"),)
        return (*(Key(one.name, variable, "solid", marker) for one, variable, marker in lines), *level)

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If the numbers do not fit each other.
        """
        _check(self)
        figure, axes = new_figure(3.2)
        ticks = sorted({x for series in self.series for x in series.x})
        for series, variable, marker in zip(self.series, SERIES, MARKERS, strict=False):
            mean = [float(np.mean(values)) for values in series.values]
            low, high = [min(values) for values in series.values], [max(values) for values in series.values]
            colour = COLOUR[variable]
            axes.fill_between(series.x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(series.x, mean, color=colour, linewidth=2, marker=marker, markersize=5, zorder=3)
        if self.level is not None:
            axes.axhspan(min(self.level.values), max(self.level.values), color=COLOUR["base"], alpha=0.16, linewidth=0)
            axes.axhline(float(np.mean(self.level.values)), color=COLOUR["base"], linewidth=2, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] / 1.12, ticks[-1] * 1.12)
        axes.xaxis.set_major_locator(FixedLocator(apart(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        lowest = min(v for values in _all_values(self) for v in values)
        highest = max(v for values in _all_values(self) for v in values)
        room = 0.08 * max(highest - lowest, 0.02)
        axes.set_ylim(max(0.0, lowest - room), min(1.0, highest + room))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
        add_rules(axes, x_label=self.x_label)
        means = [f"{name} {100 * float(np.mean(values)):.1f}%" for name, values in _last_values(self)]
        return (Drawing(to_svg(figure, prefix, f"{self.title}. At most samples: {', '.join(means)}.")),)


def apart(ticks: Sequence[float]) -> list[float]:
    """Return those of ascending numbers above 0 that can be written beside each other on a logarithmic axis.

    The last one stays; of others that are too near to one that stays, the smaller goes.
    """
    least = (ticks[-1] / ticks[0]) ** _LEAST_APART
    kept = [ticks[-1]]
    for tick in reversed(ticks[:-1]):
        if kept[-1] / tick >= least:
            kept.append(tick)
    return kept[::-1]


def _check(plot: AccuracyPlot) -> None:
    if not 1 <= len(plot.series) <= len(SERIES):
        raise InputError(f"expected 1 to {len(SERIES)} series in {plot.title!r}, found {len(plot.series)}.")
    for series in plot.series:
        if not series.x or len(series.x) != len(series.values) or min(series.x) <= 0 or not all(series.values):
            raise InputError(
                f"expected one or more accuracies for each x above 0 of {series.name!r}, found x {series.x} and "
                f"{[len(values) for values in series.values]} accuracies."
            )
    values = [value for values in _all_values(plot) for value in values]
    if not all(0 <= value <= 1 for value in values):
        raise InputError(f"expected accuracies from 0 to 1 in {plot.title!r}, found {min(values)} to {max(values)}.")


def _all_values(plot: AccuracyPlot) -> list[tuple[float, ...]]:
    level = [] if plot.level is None else [plot.level.values]
    return [*(values for series in plot.series for values in series.values), *level]


def _last_values(plot: AccuracyPlot) -> list[tuple[str, tuple[float, ...]]]:
    level = [] if plot.level is None else [(plot.level.name, plot.level.values)]
    return [*((series.name, series.values[-1]) for series in plot.series), *level]
