"""What all plots share: a figure without ornament, its colours, and the SVG that is made of it.

matplotlib draws through its object interface: no figure is registered anywhere and no window can open.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .keys import Mark

# Stand-ins that no drawing uses by chance; in the SVG each becomes a CSS variable of the page.
SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5")
_VARIABLES = ("ink", "muted", "rule", "on-fill", "bad", "base", "card", *SERIES)
COLOUR = {name: f"#0a0b{number:02x}" for number, name in enumerate(_VARIABLES, 16)}
MARKERS: tuple[Mark, ...] = ("o", "s", "^", "D", "v")
WIDTH = 4.7
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Drawing:
    """A plot as SVG.

    Args:
        svg: An ``<svg>`` element that fits its container.
        caption: What stands above it, where a plot has more than one drawing.
    """

    svg: str
    caption: str = ""


@contextmanager
def drawing_style() -> Iterator[None]:
    """Set how matplotlib writes SVG for the block, and put its settings back."""
    # Text stays text: it can be searched for, and takes the page's font. The salt makes equal plots equal bytes.
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "acclimate",
        "font.size": 11,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The reader's browser has fonts for what matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the common width and a height in inches."""
    figure, (axes,) = new_figures(height, (1,))
    return figure, axes


def new_figures(height: float, shares: tuple[float, ...]) -> tuple[Figure, tuple[Axes, ...]]:
    """Return a figure with several axes, one below the other, that share x.

    Args:
        height: Of the whole, in inches.
        shares: How the height is shared out.
    """
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0, h_pad=0.02))
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    parts = figure.subplots(len(shares), 1, sharex=True, squeeze=False, height_ratios=shares)[:, 0]
    for axes in parts:
        axes.patch.set_alpha(0)
        for spine in axes.spines.values():
            spine.set_visible(False)
            spine.set_color(COLOUR["muted"])
        axes.tick_params(length=0, colors=COLOUR["ink"])
    return figure, tuple(parts)


def add_rules(axes: Axes, *, x_label: str, y_label: str = "") -> None:
    """Draw rules behind the lines, a base line, and what the axes count."""
    axes.grid(axis="y", color=COLOUR["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=COLOUR["muted"])
    if y_label:
        axes.set_ylabel(y_label, color=COLOUR["muted"])
    axes.spines["bottom"].set_visible(True)


def to_svg(figure: Figure, prefix: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Args:
        figure: The figure.
        prefix: What the ids inside begin with.
        description: What it shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The page sizes it; ids are told apart from those of other plots on the page.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    # XML has no place for control characters.
    text = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
    for name, colour in COLOUR.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def three_digits(value: float) -> str:
    """Return a number with three digits that count, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
