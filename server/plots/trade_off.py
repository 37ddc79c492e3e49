"""Accuracy against a cost: every model that was measured, the front, the limits and the one that was chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ...errors import InputError
from .canvas import COLOUR, WIDTH, Drawing, add_rules, new_figure, to_svg
from .keys import Key

_HEIGHT = 3.4
# Where the number of a point may stand, in points from its centre: the first place that is free.
_PLACES = ((8, 5), (-8, 5), (8, -13), (-8, -13), (0, 9), (0, -18))
_CLOSE = 9.0


@dataclass(frozen=True)
class Point:
    """A model that was measured.

    Args:
        name: What stands beside it: a few letters.
        cost: Its cost, above 0.
        accuracy: Its accuracy, 0 to 1.
        int8: Whether it has 8 bits: a square, others are circles.
        front: Whether no other model beats it in every cost and in accuracy: filled.
        chosen: Whether it is the one to take: ringed.
    """

    name: str
    cost: float
    accuracy: float
    int8: bool
    front: bool
    chosen: bool


@dataclass(frozen=True)
class TradeOffPlot:
    """Accuracy against a cost. A line joins the models that none beats in this cost and accuracy.

    Args:
        title: What it shows.
        points: The models, one or more.
        cost_label: What the cost is, with its unit.
        limit: Highest cost that is allowed, or None.
        floor: Lowest accuracy that is allowed, or None.
        note: What a reader should know, below the plot.
    """

    title: str
    points: tuple[Point, ...]
    cost_label: str
    limit: float | None = None
    floor: float | None = None
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend of what occurs."""
        keys = []
        if any(not point.int8 for point in self.points):
            keys.append(Key("float32", "series-1", "", "o"))
        if any(point.int8 for point in self.points):
            keys.append(Key("8 bits", "series-2", "", "s"))
        keys.append(Key("front", "base", "solid"))
        if self.limit is not None or self.floor is not None:
            keys.append(Key("limit", "bad", "dashed"))
        return tuple(keys)

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If there is no point, or a number is out of its range.
        """
        _check(self)
        figure, axes = new_figure(_HEIGHT)
        _scale(axes, self)
        front = _front(self.points)
        steps = [(point.cost, point.accuracy) for point in front]
        axes.step(*zip(*steps, strict=True), where="post", color=COLOUR["base"], linewidth=1.5, zorder=2)
        if self.limit is not None:
            axes.axvline(self.limit, color=COLOUR["bad"], linewidth=1.5, linestyle=(0, (4, 3)), zorder=1)
        if self.floor is not None:
            axes.axhline(self.floor, color=COLOUR["bad"], linewidth=1.5, linestyle=(0, (4, 3)), zorder=1)
        for point in self.points:
            _mark(axes, point)
        _label(axes, self.points)
        add_rules(axes, x_label=self.cost_label)
        return (Drawing(to_svg(figure, prefix, _told(self))),)


def _mark(axes: Axes, point: Point) -> None:
    colour = COLOUR["series-2" if point.int8 else "series-1"]
    place = ([point.cost], [point.accuracy])
    if point.chosen:
        axes.plot(*place, marker="o", markersize=15, color=COLOUR["ink"], fillstyle="none", linestyle="", zorder=3)
    axes.plot(
        *place,
        marker="s" if point.int8 else "o",
        markersize=7,
        color=colour,
        markerfacecolor=colour if point.front else COLOUR["card"],
        linestyle="",
        zorder=4,
    )


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Write names where neither a point nor another name is."""
    spots = [_spot(axes, point) for point in points]
    taken = list(spots)
    for point, (x, y) in zip(points, spots, strict=True):
        free = [
            (dx, dy)
            for dx, dy in _PLACES
            if all(math.hypot(x + dx - a, y + dy + 4 - b) > _CLOSE for a, b in taken if (a, b) != (x, y))
        ]
        dx, dy = free[0] if free else _PLACES[0]
        taken.append((x + dx, y + dy + 4))
        axes.annotate(
            point.name,
            (point.cost, point.accuracy),
            (dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            size=9,
            color=COLOUR["ink"],
            weight="bold" if point.chosen else "normal",
            zorder=5,
        )


def _spot(axes: Axes, point: Point) -> tuple[float, float]:
    """Return about where a point is, in points: the axes take nearly the whole figure."""
    x, y = axes.transAxes.inverted().transform(axes.transData.transform((point.cost, point.accuracy)))
    return float(x) * 66 * WIDTH, float(y) * 62 * _HEIGHT


def _scale(axes: Axes, plot: TradeOffPlot) -> None:
    costs = [point.cost for point in plot.points] + ([] if plot.limit is None else [plot.limit])
    heights = [point.accuracy for point in plot.points] + ([] if plot.floor is None else [plot.floor])
    low, high = min(costs), max(costs)
    if high > 8 * low:
        axes.set_xscale("log")
        room = (high / low) ** 0.08
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.1 * max(high - low, 0.1 * high)
        axes.set_xlim(max(low - room, 0.0), high + room)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    room = 0.12 * max(max(heights) - min(heights), 0.005)
    axes.set_ylim(min(heights) - room, max(heights) + room)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))


def _front(points: Sequence[Point]) -> list[Point]:
    """Return the points that none beats in both, the cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def _check(plot: TradeOffPlot) -> None:
    limits = [limit for limit in (plot.limit,) if limit is not None]
    costs = [point.cost for point in plot.points] + limits
    if not plot.points or not all(0 < cost < math.inf for cost in costs):
        raise InputError(f"expected one point or more in {plot.title!r}, with costs above 0, found costs {costs}.")
    found = [point.accuracy for point in plot.points]
    if not all(0 <= value <= 1 for value in found):
        raise InputError(f"expected accuracies from 0 to 1 in {plot.title!r}, found {found}.")


def _told(plot: TradeOffPlot) -> str:
    chosen = [point for point in plot.points if point.chosen]
    told = "".join(f" Chosen: {one.name}, {one.cost:.3g}, {100 * one.accuracy:.1f}%." for one in chosen)
    return f"{plot.title}: {len(plot.points)} models.{told}"
