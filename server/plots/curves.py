"""Curves over the steps of a run: losses, learning rates, scores, speed."""

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import InputError
from .canvas import COLOUR, MARKERS, SERIES, Drawing, add_rules, new_figure, three_digits, to_svg
from .keys import Key, Line, Mark

_LINES: tuple[Line, ...] = ("solid", "dashed", "dotted")
_DASHES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}
_MOST = len(SERIES) * len(_LINES)
# Marks tell lines apart without colour; on many points they would hide the line.
_MOST_MARKS = 12


@dataclass(frozen=True)
class Curve:
    """One line.

    Args:
        name: Its name in the legend.
        x: Where it is known, ascending.
        y: What it is there.
        low: Lowest value around each place, drawn as a band with `high`; empty for none.
        high: Likewise, highest.
        style: Which colour, dashes and marks it has; None for those of its place in the plot.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    style: int | None = None


@dataclass(frozen=True)
class CurvePlot:
    """Curves with one pair of axes.

    Args:
        title: What they show.
        curves: One to fifteen.
        x_label: What x counts.
        percent: Whether y are shares, written in percent.
        mark: An x that stands out, as that of the best weights; None for none.
        mark_name: What is there.
        note: What a reader should know, below the plot.
    """

    title: str
    curves: tuple[Curve, ...]
    x_label: str = "step"
    percent: bool = False
    mark: float | None = None
    mark_name: str = ""
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend; none for a single curve without a mark."""
        keys = [Key(one.name, *_style(one, place)) for place, one in enumerate(self.curves)]
        if self.mark is not None:
            keys.append(Key(self.mark_name, "base", "dashed"))
        return tuple(keys) if len(keys) > 1 else ()

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If the numbers do not fit each other, or there are too many curves.
        """
        _check(self)
        figure, axes = new_figure(2.7)
        for place, curve in enumerate(self.curves):
            _line(axes, curve, *_style(curve, place))
        if self.mark is not None:
            axes.axvline(self.mark, color=COLOUR["base"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.margins(x=0.02, y=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        if self.percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
        else:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
        add_rules(axes, x_label=self.x_label)
        last = ", ".join(f"{curve.name} {_value(curve.y[-1], self.percent)}" for curve in self.curves)
        return (Drawing(to_svg(figure, prefix, f"{self.title}. At the end: {last}.")),)


def thinned(name: str, points: list[tuple[float, float]], *, most: int = 240) -> Curve:
    """Return a curve of at most so many points: means of neighbours, with a band from the lowest to the highest."""
    if len(points) <= most:
        return Curve(name, tuple(x for x, _ in points), tuple(y for _, y in points))
    size = math.ceil(len(points) / most)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return Curve(
        name,
        tuple(part[-1][0] for part in parts),
        tuple(math.fsum(y for _, y in part) / len(part) for part in parts),
        tuple(min(y for _, y in part) for part in parts),
        tuple(max(y for _, y in part) for part in parts),
    )


def _style(curve: Curve, place: int) -> tuple[str, Line, Mark]:
    place = place if curve.style is None else curve.style
    return SERIES[place % len(SERIES)], _LINES[place // len(SERIES) % len(_LINES)], MARKERS[place % len(MARKERS)]


def _line(axes: Axes, curve: Curve, variable: str, line: Line, marker: Mark) -> None:
    colour = COLOUR[variable]
    if curve.low:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        curve.x,
        curve.y,
        color=colour,
        linewidth=1.8,
        linestyle=_DASHES[line],
        marker=marker,
        markersize=5,
        markevery=max(1, math.ceil(len(curve.x) / _MOST_MARKS)),
        zorder=3,
    )


def _check(plot: CurvePlot) -> None:
    if not 1 <= len(plot.curves) <= _MOST:
        raise InputError(f"expected 1 to {_MOST} curves in {plot.title!r}, found {len(plot.curves)}.")
    for curve in plot.curves:
        sizes = {len(curve.x), len(curve.y), len(curve.low) or len(curve.x), len(curve.high) or len(curve.x)}
        values = (*curve.x, *curve.y, *curve.low, *curve.high)
        if not curve.x or len(sizes) > 1 or not all(map(math.isfinite, values)):
            raise InputError(f"expected one finite y or more, one for each x, in the curve {curve.name!r}.")


def _value(y: float, percent: bool) -> str:
    return f"{100 * y:.1f}%" if percent else three_digits(y)
