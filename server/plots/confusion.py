"""Which class was taken for which, as heat maps."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ...errors import InputError
from .canvas import COLOUR, WIDTH, Drawing, new_figure, to_svg
from .keys import Key

_LONGEST_NAME = 18
# With more classes than this, numbers and names would be too small to read: places stand for names.
MOST_NAMED = 25


@dataclass(frozen=True)
class ConfusionPlot:
    """Which class was taken for which: one heat map, or two of before and after.

    Args:
        title: What they show.
        classes: Names of the k classes.
        before: ``(k, k)`` counts, one row per true class, one column per predicted class.
        after: Likewise; None where there is one alone.
        note: What a reader should know, below the plots.
    """

    title: str
    classes: tuple[str, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...] | None = None
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend: axes tell what there is."""
        return ()

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If the numbers do not fit each other.
        """
        if self.after is None:
            return (_draw(self, "", self.before, prefix),)
        both = (("Before", self.before), ("After", self.after))
        return tuple(_draw(self, caption, counts, f"{prefix}{caption.lower()}-") for caption, counts in both)


def _draw(plot: ConfusionPlot, caption: str, counts: tuple[tuple[int, ...], ...], prefix: str) -> Drawing:
    size = len(plot.classes)
    table = np.asarray(counts, dtype=np.float64)
    if table.shape != (size, size) or not bool((table >= 0).all()):
        raise InputError(f"expected counts ({size}, {size}) of 0 or more in {plot.title!r}, found shape {table.shape}.")
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    right = float(np.trace(table) / max(table.sum(), 1))
    figure, axes = new_figure(WIDTH)
    text_size = min(10.0, 100 / size)
    for row in range(size):
        for column in range(size):
            # The root lets a mistake of one in a hundred be seen.
            strength = float(np.sqrt(share[row, column]))
            if strength == 0 and size > MOST_NAMED:
                continue
            colour = COLOUR["series-1" if row == column else "bad"] if strength > 0 else COLOUR["rule"]
            alpha = 0.04 + 0.9 * strength if strength > 0 else 0.4
            axes.add_patch(Rectangle((column, row), 0.94, 0.94, facecolor=colour, alpha=alpha, linewidth=0))
            if share[row, column] >= 0.005 and size <= MOST_NAMED:
                ink = COLOUR["on-fill" if strength > 0.6 else "ink"]
                text = f"{100 * share[row, column]:.0f}"
                axes.text(column + 0.47, row + 0.5, text, color=ink, size=text_size, ha="center", va="center")
    if size > MOST_NAMED:
        axes.add_patch(Rectangle((0, 0), size, size, facecolor=COLOUR["rule"], alpha=0.3, linewidth=0, zorder=0))
    axes.set_xlim(-0.1, size)
    axes.set_ylim(size, -0.1)
    axes.set_aspect("equal")
    _name(axes, plot.classes)
    shown = f", {caption.lower()}" if caption else ""
    return Drawing(
        to_svg(figure, prefix, f"{plot.title}{shown}: {100 * right:.1f}% on the diagonal."),
        f"{caption}: {100 * right:.1f}% right" if caption else "",
    )


def _name(axes: Axes, classes: tuple[str, ...]) -> None:
    size = len(classes)
    axes.set_xlabel("predicted", color=COLOUR["muted"])
    axes.set_ylabel("true", color=COLOUR["muted"])
    if size > MOST_NAMED:
        ticks = np.arange(0, size, 10 if size > 50 else 5)
        axes.set_xticks(ticks + 0.47, [str(place + 1) for place in ticks], size=9)
        axes.set_yticks(ticks + 0.47, [str(place + 1) for place in ticks], size=9)
        return
    # Long names often begin alike.
    names = [name if len(name) <= _LONGEST_NAME else f"{name[:9]}…{name[-8:]}" for name in classes]
    label_size = min(11.0, 110 / size)
    turn = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(np.arange(size) + 0.47, names, size=label_size, rotation=turn)
    axes.set_yticks(np.arange(size) + 0.47, names, size=label_size)
