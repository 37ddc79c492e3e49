"""How sure the answers of a model are against how often they are right.

References:
    Reliability diagrams: Guo et al. 2017, "On calibration of modern neural networks".
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from ...errors import InputError
from .canvas import COLOUR, WIDTH, Drawing, new_figures, to_svg
from .keys import Key


@dataclass(frozen=True)
class ReliabilityPlot:
    """Share of right answers in bins of confidence, and how many samples each bin has.

    Args:
        title: What it shows.
        bins: Samples, right answers and summed confidence of each bin, of equal width from 0 to 1.
        note: What a reader should know, below the plot.
    """

    title: str
    bins: tuple[tuple[int, int, float], ...]
    note: str = ""

    def keys(self) -> tuple[Key, ...]:
        """Return the legend."""
        return (
            Key("right answers", "series-1", "", "s"),
            Key("as sure as right", "ink", "dashed"),
            Key("error", "bad"),
        )

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it; ids inside begin with the prefix.

        Raises:
            InputError: If there is no sample, or more right answers than samples.
        """
        total = sum(samples for samples, _, _ in self.bins)
        if total <= 0 or not all(0 <= right <= samples for samples, right, _ in self.bins):
            raise InputError(f"expected bins with samples, and no more right answers, in {self.title!r}.")
        figure, (main, counts) = new_figures(WIDTH * 0.95, (4, 1))
        width = 1 / len(self.bins)
        for place, (samples, right, confidence) in enumerate(self.bins):
            if not samples:
                continue
            _bar(main, place, width, right / samples, "series-1", 0.45)
            middle = confidence / samples
            gap = (min(right / samples, middle), max(right / samples, middle))
            main.plot([middle, middle], gap, color=COLOUR["bad"], linewidth=2.5, marker="_", markersize=6, zorder=4)
            _bar(counts, place, width, samples / total, "base", 0.7)
        main.plot([0, 1], [0, 1], color=COLOUR["ink"], linewidth=1.5, linestyle=(0, (4, 3)), zorder=3)
        main.set_ylim(0, 1)
        most = max(samples for samples, _, _ in self.bins) / total
        counts.set_ylim(0, most * 1.05)
        counts.yaxis.set_major_locator(FixedLocator([most]))
        main.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        for axes in (main, counts):
            axes.set_xlim(0, 1)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}%"))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f}%"))
            axes.spines["bottom"].set_visible(True)
        main.grid(axis="y", color=COLOUR["rule"], linewidth=0.8)
        main.set_axisbelow(True)
        main.set_ylabel("right", color=COLOUR["muted"])
        counts.set_ylabel("samples", color=COLOUR["muted"])
        counts.set_xlabel("confidence", color=COLOUR["muted"])
        error = sum(abs(right - confidence) for _, right, confidence in self.bins) / total
        return (Drawing(to_svg(figure, prefix, f"{self.title}: expected calibration error {100 * error:.1f}%.")),)


def _bar(axes: Axes, place: int, width: float, height: float, variable: str, alpha: float) -> None:
    axes.bar((place + 0.5) * width, height, width * 0.92, color=COLOUR[variable], alpha=alpha, linewidth=0, zorder=2)
