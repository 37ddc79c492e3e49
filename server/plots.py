"""The plots of a report, as SVG whose colours are CSS variables of the page, so that they follow its theme.

matplotlib draws them through its object interface: no figure is registered anywhere and no window can open.
"""

import io
import re
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..errors import InputError

# Stand-ins that no drawing uses by chance; in the SVG each becomes a CSS variable of the page.
_SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5")
_VARIABLES = ("ink", "muted", "rule", "on-fill", "bad", "base", *_SERIES)
_COLOUR = {name: f"#0a0b{number:02x}" for number, name in enumerate(_VARIABLES, 16)}
_MARKERS = ("o", "s", "^", "D", "v")
_WIDTH = 4.7


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


@dataclass(frozen=True)
class ConfusionPlot:
    """Two heat maps of which class was taken for which.

    Args:
        title: What they show.
        classes: Names of the k classes.
        before: ``(k, k)`` counts, one row per true class, one column per predicted class.
        after: Likewise.
        note: What a reader should know, below the plots.
    """

    title: str
    classes: tuple[str, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    note: str = ""


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


Plot = AccuracyPlot | ConfusionPlot | BarPlot


@dataclass(frozen=True)
class Drawing:
    """A plot as SVG.

    Args:
        svg: An ``<svg>`` element that fits its container.
        caption: What stands above it, where a plot has more than one drawing.
    """

    svg: str
    caption: str = ""


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
    # Text stays text: it can be searched for, and takes the page's font. The salt makes equal plots equal bytes.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "acclimate", "font.size": 11, "text.parse_math": False}
    ):
        if isinstance(plot, AccuracyPlot):
            return (_draw_accuracy(plot, prefix),)
        if isinstance(plot, BarPlot):
            return (_draw_bars(plot, prefix),)
        return tuple(
            _draw_confusion(plot, caption, counts, f"{prefix}{caption.lower()}-")
            for caption, counts in (("Before", plot.before), ("After", plot.after))
        )


def legend(plot: Plot) -> tuple[tuple[str, str], ...]:
    """Return the CSS variable and the name of each line of a plot; nothing for plots that need no legend."""
    if not isinstance(plot, AccuracyPlot):
        return ()
    level = () if plot.level is None else (("base", plot.level.name),)
    return (*((variable, series.name) for variable, series in zip(_SERIES, plot.series, strict=False)), *level)


def _draw_accuracy(plot: AccuracyPlot, prefix: str) -> Drawing:
    _check_accuracy(plot)
    figure, axes = _figure(3.2)
    ticks = sorted({x for series in plot.series for x in series.x})
    for series, variable, marker in zip(plot.series, _SERIES, _MARKERS, strict=False):
        mean = [float(np.mean(values)) for values in series.values]
        low, high = [min(values) for values in series.values], [max(values) for values in series.values]
        colour = _COLOUR[variable]
        axes.fill_between(series.x, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(series.x, mean, color=colour, linewidth=2, marker=marker, markersize=5, zorder=3)
    if plot.level is not None:
        axes.axhspan(min(plot.level.values), max(plot.level.values), color=_COLOUR["base"], alpha=0.16, linewidth=0)
        axes.axhline(float(np.mean(plot.level.values)), color=_COLOUR["base"], linewidth=2, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] / 1.12, ticks[-1] * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    lowest = min(v for values in _all_values(plot) for v in values)
    highest = max(v for values in _all_values(plot) for v in values)
    room = 0.08 * max(highest - lowest, 0.02)
    axes.set_ylim(max(0.0, lowest - room), min(1.0, highest + room))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
    axes.grid(axis="y", color=_COLOUR["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(plot.x_label, color=_COLOUR["muted"])
    axes.spines["bottom"].set_visible(True)
    means = [f"{name} {100 * float(np.mean(values)):.1f}%" for name, values in _last_values(plot)]
    return Drawing(_to_svg(figure, prefix, f"{plot.title}. At most samples: {', '.join(means)}."))


def _draw_confusion(plot: ConfusionPlot, caption: str, counts: tuple[tuple[int, ...], ...], prefix: str) -> Drawing:
    size = len(plot.classes)
    table = np.asarray(counts, dtype=np.float64)
    if table.shape != (size, size) or not bool((table >= 0).all()):
        raise InputError(f"expected counts ({size}, {size}) of 0 or more in {plot.title!r}, found shape {table.shape}.")
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    right = float(np.trace(table) / max(table.sum(), 1))
    figure, axes = _figure(_WIDTH)
    text_size = min(10.0, 100 / size)
    for row in range(size):
        for column in range(size):
            # The root lets a mistake of one in a hundred be seen.
            strength = float(np.sqrt(share[row, column]))
            colour = _COLOUR["series-1" if row == column else "bad"] if strength > 0 else _COLOUR["rule"]
            alpha = 0.04 + 0.9 * strength if strength > 0 else 0.4
            axes.add_patch(Rectangle((column, row), 0.94, 0.94, facecolor=colour, alpha=alpha, linewidth=0))
            if share[row, column] >= 0.005:
                ink = _COLOUR["on-fill" if strength > 0.6 else "ink"]
                text = f"{100 * share[row, column]:.0f}"
                axes.text(column + 0.47, row + 0.5, text, color=ink, size=text_size, ha="center", va="center")
    axes.set_xlim(-0.1, size)
    axes.set_ylim(size, -0.1)
    axes.set_aspect("equal")
    label_size = min(11.0, 110 / size)
    turn = 90 if max(map(len, plot.classes)) > 3 else 0
    axes.set_xticks(np.arange(size) + 0.47, plot.classes, size=label_size, rotation=turn)
    axes.set_yticks(np.arange(size) + 0.47, plot.classes, size=label_size)
    axes.set_xlabel("predicted", color=_COLOUR["muted"])
    axes.set_ylabel("true", color=_COLOUR["muted"])
    return Drawing(
        _to_svg(figure, prefix, f"{plot.title}, {caption.lower()}: {100 * right:.1f}% on the diagonal."),
        f"{caption}: {100 * right:.1f}% right",
    )


def _draw_bars(plot: BarPlot, prefix: str) -> Drawing:
    if not plot.bars or min(value for _, value in plot.bars) < 0:
        raise InputError(f"expected one bar or more in {plot.title!r}, each 0 or more, found {plot.bars}.")
    figure, axes = _figure(0.2 + 0.56 * len(plot.bars))
    longest = max(value for _, value in plot.bars) or 1.0
    for row, (name, value) in enumerate(plot.bars):
        width = max(value / longest, 0.004)
        axes.add_patch(Rectangle((0, row + 0.42), 1, 0.36, facecolor=_COLOUR["rule"], alpha=0.6, linewidth=0))
        axes.add_patch(Rectangle((0, row + 0.42), width, 0.36, facecolor=_COLOUR["series-1"], linewidth=0))
        shown = f"{_three_digits(value)} {plot.unit}"
        axes.text(0, row + 0.34, name, color=_COLOUR["ink"], ha="left", va="bottom")
        axes.text(1, row + 0.34, shown, color=_COLOUR["ink"], ha="right", va="bottom", weight="bold")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(plot.bars), 0)
    axes.set_axis_off()
    values = ", ".join(f"{name} {_three_digits(value)} {plot.unit}" for name, value in plot.bars)
    return Drawing(_to_svg(figure, prefix, f"{plot.title}: {values}."))


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0, h_pad=0.02))
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_visible(False)
        spine.set_color(_COLOUR["muted"])
    axes.tick_params(length=0, colors=_COLOUR["ink"])
    return figure, axes


def _to_svg(figure: Figure, prefix: str, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The page sizes it; ids are told apart from those of other plots on the page.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    for name, colour in _COLOUR.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def _check_accuracy(plot: AccuracyPlot) -> None:
    if not 1 <= len(plot.series) <= len(_SERIES):
        raise InputError(f"expected 1 to {len(_SERIES)} series in {plot.title!r}, found {len(plot.series)}.")
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
