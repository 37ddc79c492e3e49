"""Plots of runs and searches: what is drawn stands where the numbers say, and numbers that cannot be drawn are told."""

import re
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.plots import (
    ConfusionPlot,
    Curve,
    CurvePlot,
    Plot,
    Point,
    ReliabilityPlot,
    TradeOffPlot,
    draw,
    legend,
    thinned,
)
from acclimate.server.plots.accuracy import apart

pytestmark = pytest.mark.needs_torch


def svg_of(plot: Plot) -> str:
    (drawing,) = draw(plot, prefix="p-")
    root = ET.fromstring(drawing.svg)  # noqa: S314  made here
    assert root.get("aria-label")
    assert "#0a0b" not in drawing.svg
    return drawing.svg


def line_of(svg: str, variable: str) -> list[tuple[float, float]]:
    """Return the corners of the first line of a colour."""
    found = re.search(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--{variable}\)', svg)
    assert found
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", found.group(1))]


def test_a_long_curve_is_the_mean_of_neighbours_with_a_band() -> None:
    """A thousand points become some two hundred; every one is within the band, and their mean stays."""
    points = [(float(i), float(i % 7)) for i in range(1_000)]
    curve = thinned("loss", points, most=200)
    assert len(curve.x) == 200
    assert curve.x[-1] == 999
    assert set(curve.low) == {0.0, 1.0, 2.0}
    assert max(curve.high) == 6.0
    assert sum(curve.y) / 200 == pytest.approx(sum(y for _, y in points) / 1_000)
    assert thinned("loss", points[:200], most=200) == Curve(
        "loss", tuple(x for x, _ in points[:200]), tuple(y for _, y in points[:200])
    )


def test_curves_are_told_apart_without_colour() -> None:
    """Each of fifteen has its own colour and dashes; a run keeps its style where others are missing."""
    curves = tuple(Curve(f"run {i}", (1.0, 2.0), (0.1 * i, 0.2)) for i in range(15))
    keys = legend(CurvePlot("t", curves))
    assert len({(key.variable, key.line) for key in keys}) == 15
    assert len({(key.mark, key.line) for key in keys}) == 15
    (only,) = CurvePlot("t", (Curve("x", (1.0,), (1.0,), style=7),), mark=1.0, mark_name="m").keys()[:1]
    assert (only.variable, only.line, only.mark) == (keys[7].variable, keys[7].line, keys[7].mark)
    assert legend(CurvePlot("t", curves[:1])) == ()
    assert svg_of(CurvePlot("t", curves)).count("var(--series-3)") > 2


def test_a_curve_stands_where_its_numbers_are() -> None:
    """Read back from the drawn line: equal steps to the right, and heights in the ratio of the values."""
    line = line_of(svg_of(CurvePlot("t", (Curve("c", (0.0, 10.0, 20.0), (1.0, 2.0, 5.0)),))), "series-1")
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0], rel=1e-3)
    # Heights grow downwards.
    assert (line[0][1] - line[2][1]) / (line[0][1] - line[1][1]) == pytest.approx(4.0, rel=1e-3)


def test_the_front_joins_what_none_beats() -> None:
    """Steps go through the cheap and the accurate models; one that is dearer and worse stays below the line."""
    points = (
        Point("1", 4.0, 0.95, False, True, False),
        Point("2", 1.0, 0.90, True, True, True),
        Point("3", 3.0, 0.85, False, False, False),
        Point("4", 2.0, 0.94, True, True, False),
    )
    svg = svg_of(TradeOffPlot("t", points, "ms", limit=2.5, floor=0.92))
    corners = line_of(svg, "base")
    # Four to the right and up: 2, then 4, then 1.
    assert len(corners) == 5
    assert corners[0][1] - corners[2][1] == pytest.approx(4 * (corners[2][1] - corners[4][1]), rel=1e-3)
    assert svg.count("stroke: var(--bad)") == 2
    assert "Chosen: 2, 1, 90.0%." in svg
    assert [key.name for key in legend(TradeOffPlot("t", points, "ms"))] == ["float32", "8 bits", "front"]
    shapes = {key.mark for key in legend(TradeOffPlot("t", points, "ms", limit=1.0))[:2]}
    assert shapes == {"o", "s"}


def test_bars_of_reliability_are_shares_of_right_answers() -> None:
    """Heights of the bars are in the ratio of the shares, and the error is told in words."""
    svg = svg_of(ReliabilityPlot("t", ((0, 0, 0.0), (10, 4, 4.5), (20, 16, 17.0))))
    bars = re.findall(r'<path d="M \S+ (\S+) \nL \S+ \S+ \nL \S+ (\S+) [^"]*"[^>]*style="fill: var\(--series-1\)', svg)
    heights = [float(foot) - float(top) for foot, top in bars]
    assert heights[1] / heights[0] == pytest.approx(2.0, rel=1e-3)
    assert "expected calibration error 5.0%" in svg


def test_many_classes_stay_readable() -> None:
    """Beyond 25 classes places stand for names; long names are shortened in the middle."""
    eye = tuple(tuple(int(i == j) for j in range(40)) for i in range(40))
    svg = svg_of(ConfusionPlot("t", tuple(f"name {i}" for i in range(40)), eye))
    assert "name 3" not in svg
    assert ">36<" in svg
    long = tuple(f"something rather long {i}" for i in range(3))
    svg = svg_of(ConfusionPlot("t", long, tuple(row[:3] for row in eye[:3])))
    assert "something…r long 2" in svg


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (CurvePlot("t", ()), "1 to 15 curves"),
        (CurvePlot("t", (Curve("c", (), ()),)), "one finite y or more"),
        (CurvePlot("t", (Curve("c", (1.0,), (float("inf"),)),)), "one finite y or more"),
        (CurvePlot("t", (Curve("c", (1.0, 2.0), (1.0,)),)), "one for each x"),
        (ReliabilityPlot("t", ((0, 0, 0.0),)), "bins with samples"),
        (ReliabilityPlot("t", ((1, 2, 0.0),)), "no more right answers"),
        (TradeOffPlot("t", (), "ms"), "one point or more"),
        (TradeOffPlot("t", (Point("1", 0.0, 0.5, False, False, False),), "ms"), "costs above 0"),
        (TradeOffPlot("t", (Point("1", 1.0, 1.5, False, False, False),), "ms"), "from 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_drawn_are_told(plot: Plot, message: str) -> None:
    """Each fault gets an error of ours instead of a wrong picture."""
    with pytest.raises(InputError, match=message):
        draw(plot, prefix="p-")


def test_numbers_below_an_axis_do_not_run_into_each_other() -> None:
    """The last stays, its near neighbour goes; what is far enough apart stays."""
    assert apart([20, 50, 100, 197, 200]) == [20, 50, 100, 200]
    assert apart([1, 2, 4, 8]) == [1, 2, 4, 8]
    assert apart([5]) == [5]
