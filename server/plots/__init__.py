"""The plots of a report, as SVG whose colours are CSS variables of the page, so that they follow its theme."""

from .accuracy import AccuracyPlot, Level, Series
from .bars import BarPlot
from .canvas import Drawing
from .confusion import MOST_NAMED, ConfusionPlot
from .curves import Curve, CurvePlot, thinned
from .draw import Plot, draw, legend
from .intervals import Interval, IntervalPlot
from .keys import Key
from .reliability import ReliabilityPlot
from .trade_off import Point, TradeOffPlot

__all__ = [
    "MOST_NAMED",
    "AccuracyPlot",
    "BarPlot",
    "ConfusionPlot",
    "Curve",
    "CurvePlot",
    "Drawing",
    "Interval",
    "IntervalPlot",
    "Key",
    "Level",
    "Plot",
    "Point",
    "ReliabilityPlot",
    "Series",
    "TradeOffPlot",
    "draw",
    "legend",
    "thinned",
]
