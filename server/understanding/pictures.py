"""Frames with what counts in them, as plots of a report: pictures with a heat map over them, series with one behind."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ...errors import InputError
from ..plots import Drawing, Key
from ..plots.canvas import COLOUR, WIDTH, to_svg

Float64 = NDArray[np.float64]
# Stand for the page's own: inside a picture, colours are pixels.
_FOR, _AGAINST = np.array([207, 63, 43]) / 255, np.array([47, 98, 217]) / 255
_LONGEST, _MOST_SIDE = 26, 256
# Of the channels of a series; blue is what speaks against the class.
_CHANNELS = ("series-2", "series-3", "series-4", "series-5", "ink")


FOR_CLASS = ("speaks for the class", "speaks against it")


@dataclass(frozen=True, eq=False)
class HeatPlot:
    """Frames beside themselves with what counts in them: red for the class, blue against it.

    Args:
        title: What they show.
        frames: ``(n, h, w)``, ``(n, h, w, 1 or 3)`` pictures, uint8 or of any range; ``(n, t)`` or ``(n, t, c)``
            series.
        heat: ``(n, h, w)`` or ``(n, t)``.
        captions: Of each frame.
        note: What a reader should know, below the plot.
        told: What red and blue stand for.
    """

    title: str
    frames: NDArray[Any]
    heat: Float64
    captions: tuple[str, ...]
    note: str = ""
    told: tuple[str, str] = FOR_CLASS

    def keys(self) -> tuple[Key, ...]:
        """Return the legend."""
        return (Key(self.told[0], "bad", "", "s"), Key(self.told[1], "series-1", "", "s"))

    def draw(self, prefix: str) -> tuple[Drawing, ...]:
        """Draw it in two halves, side by side where there is room; ids inside begin with the prefix.

        Raises:
            InputError: If frames, heat and captions do not fit each other.
        """
        n = len(self.frames)
        if not n or len(self.heat) != n or len(self.captions) != n or not np.isfinite(self.heat).all():
            raise InputError(f"expected finite heat and a caption for each frame of {self.title!r}, found others.")
        pictures = self.heat.ndim == 3
        if not pictures and self.heat.ndim != 2:
            raise InputError(f"expected heat (n, h, w) or (n, t) in {self.title!r}, found {self.heat.shape}.")
        half = (n + 1) // 2
        parts = [range(half), range(half, n)] if n > 1 else [range(n)]
        return tuple(self._part(part, f"{prefix}{i}-", pictures) for i, part in enumerate(parts) if len(part))

    def _part(self, part: range, prefix: str, pictures: bool) -> Drawing:
        rows = len(part)
        sides = self.heat.shape[1:]
        height = (WIDTH / 2 * sides[0] / sides[1] if pictures else 1.3) + 0.32
        figure = Figure(figsize=(WIDTH, rows * height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03))
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        grid = figure.subplots(rows, 2 if pictures else 1, squeeze=False)
        for axes, i in zip(grid, part, strict=True):
            if pictures:
                _picture(axes[0], self.frames[i], None, self.captions[i])
                _picture(axes[1], self.frames[i], self.heat[i], "")
            else:
                _series(axes[0], self.frames[i], self.heat[i], self.captions[i])
        told = "; ".join(self.captions[i] for i in part)
        return Drawing(to_svg(figure, prefix, f"{self.title}: {told}."))


def overlaid(frame: NDArray[Any], heat: Float64 | None) -> Float64:
    """Return a picture ``(h, w, 3)`` from 0 to 1, grey with the heat in colour over it, or as it is without.

    Args:
        frame: ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)``.
        heat: ``(h, w)``; the strongest place of either sign has the full colour.
    """
    pixels = frame.astype(np.float64).reshape(*frame.shape[:2], -1)
    if frame.dtype == np.uint8:
        pixels = pixels / 255
    else:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / (high - low or 1.0)
    if pixels.shape[2] not in (1, 3):
        pixels = pixels.mean(axis=2, keepdims=True)
    colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if heat is None:
        return colour.copy()
    grey = np.broadcast_to(pixels.mean(axis=2, keepdims=True), colour.shape)
    strength = np.abs(heat) / (np.abs(heat).max() or 1.0)
    tint = np.where((heat > 0)[..., None], _FOR, _AGAINST)
    # The root lets weaker places be seen; the frame shows through everywhere.
    cover = 0.75 * np.sqrt(strength)[..., None]
    result: Float64 = grey * (1 - cover) + tint * cover
    return result


def _picture(axes: Axes, frame: NDArray[Any], heat: Float64 | None, caption: str) -> None:
    step = max(1, -(-max(frame.shape[:2]) // _MOST_SIDE))
    pixels = overlaid(frame, heat)[::step, ::step]
    axes.imshow((255 * pixels).round().astype(np.uint8), interpolation="none")
    axes.set_axis_off()
    axes.set_title(_short(caption), loc="left", size=9, color=COLOUR["ink"])


def _series(axes: Axes, frame: NDArray[Any], heat: Float64, caption: str) -> None:
    values = frame.astype(np.float64).reshape(len(frame), -1)
    for channel, variable in zip(values.T, _CHANNELS * (values.shape[1] // len(_CHANNELS) + 1), strict=False):
        axes.plot(channel, color=COLOUR[variable], linewidth=1.0, zorder=3)
    strength = np.abs(heat) / (np.abs(heat).max() or 1.0)
    for t, (value, sign) in enumerate(zip(strength, heat, strict=True)):
        if value > 0.02:
            name = "bad" if sign > 0 else "series-1"
            axes.axvspan(t - 0.5, t + 0.5, color=COLOUR[name], alpha=float(0.5 * value), linewidth=0, zorder=1)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, colors=COLOUR["muted"], labelsize=8)
    axes.set_title(_short(caption, 60), loc="left", size=9, color=COLOUR["ink"])


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
