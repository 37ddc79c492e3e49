"""Reports: they show what they were given, need nothing from outside, and cannot be broken by a name."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")
pytest.importorskip("jinja2", reason="acclimate[server] is not installed")
pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import InputError, OutputExistsError
from acclimate.server.plots import AccuracyPlot, BarPlot, ConfusionPlot, Level, Series, draw
from acclimate.server.report import Column, Fact, Report, Section, Table, render_report, write_report

from .pages import read

pytestmark = pytest.mark.needs_torch
NASTY = "<script>alert('x')</script> & \"quotes\" $\\frac{1}$ ]]>"


def make_report(name: str = "cats") -> Report:
    accuracy = AccuracyPlot(
        f"Accuracy of {name}",
        (
            Series(name, (2, 20), ((0.8, 0.9), (0.95, 0.97))),
            Series("reference", (2, 20), ((0.7, 0.75), (0.9, 0.94))),
        ),
        Level(f"{name} as shipped", (0.61, 0.63)),
        note="Band: lowest to highest.",
    )
    confusion = ConfusionPlot("Confusion", (name, "dogs"), ((8, 2), (5, 5)), ((10, 0), (1, 9)))
    bars = BarPlot("Size", "kB", ((name, 3840.0), ("student", 92.1)))
    table = Table("Table", (Column("budget"), Column("accuracy", ".1%")), ((name, 0.9512), ("all", 1.0)), "A note.")
    return Report(
        f"Report on {name}",
        f"All about {name}.",
        (Fact("accuracy", "98.6%", f"{name} before"),),
        (Section("First", f"On {name}.", (accuracy, confusion)), Section("Second", "", (bars, table))),
        (("data", name), ("version", "0.1.0")),
    )


def test_report_shows_what_it_was_given() -> None:
    """Every title, text, figure, cell, axis tick, bar and share of the confusion is in the page as text."""
    texts = read(render_report(make_report())).texts
    for expected in [
        "Report on cats", "All about cats.", "98.6%", "accuracy", "cats before", "First", "On cats.", "Second",
        "Accuracy of cats", "reference", "cats as shipped", "Band: lowest to highest.", "2", "20",
        "Confusion", "Before: 65.0% right", "After: 95.0% right", "dogs", "80", "50", "100", "90",
        "Size", "3,840 kB", "92.1 kB", "student", "budget", "95.1%", "100.0%", "A note.", "data", "0.1.0",
    ]:  # fmt: skip
        assert expected in texts, expected


def test_page_loads_nothing_and_its_ids_are_unique() -> None:
    """No script, no address but fragments of the page itself, and references inside the plots that lead somewhere."""
    html = render_report(make_report())
    reader = read(html)
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "img", "image", "base", "form"}
    assert all(link.startswith("#") for link in reader.links)
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert set(re.findall(r"url\(#?([^)]*)\)", html)) <= set(reader.ids)
    assert "@import" not in html


def test_names_cannot_become_markup() -> None:
    """Names with tags, quotes and what looks like a formula stay text, in the page and inside the plots."""
    reader = read(render_report(make_report(NASTY)))
    assert "script" not in reader.tags
    assert f"Report on {NASTY}" in reader.texts
    # In the legend, in a table and beside a bar; on both axes of both confusions shortened.
    assert reader.texts.count(NASTY) >= 4
    assert reader.texts.count(f"{NASTY[:9]}…{NASTY[-8:]}") == 4


def test_plots_are_well_formed_and_follow_the_theme() -> None:
    """Each drawing parses as XML, fits its container, and no stand-in colour or fixed ink is left."""
    for section in make_report(NASTY).sections:
        for block in section.blocks:
            if isinstance(block, Table):
                continue
            for drawing in draw(block, prefix="p-"):
                root = ET.fromstring(drawing.svg)  # noqa: S314  made here
                assert root.get("viewBox")
                assert root.get("width") is None
                assert root.get("aria-label")
                assert "var(--" in drawing.svg
                assert "#0a0b" not in drawing.svg
                assert "#000000" not in drawing.svg


def test_equal_reports_give_equal_bytes() -> None:
    """No time, no random id."""
    assert render_report(make_report()) == render_report(make_report())


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    """No global figure, no changed setting."""
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    render_report(make_report())
    assert dict(matplotlib.rcParams) == before
    assert _pylab_helpers.Gcf.get_num_fig_managers() == 0


def test_line_is_the_mean_and_band_reaches_the_extremes() -> None:
    """Read back from the drawn coordinates; a level that is given is drawn, none otherwise."""
    plot = AccuracyPlot("t", (Series("s", (1, 10), ((0.5, 0.6, 1.0), (0.5, 0.6, 1.0))),))
    svg = draw(plot, prefix="p-")[0].svg

    def heights(pattern: str) -> list[float]:
        found = re.search(pattern, svg, re.DOTALL)
        assert found
        offset = float(found.group(2)) if found.lastindex == 2 else 0.0
        return [offset + float(y) for y in re.findall(r"[ML] \S+ (\S+)", found.group(1))]

    band = heights(r'FillBetween.*? d="([^"]*)".*?<use[^>]* y="([^"]*)"')
    line = heights(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--series-1\)')
    assert line[0] == pytest.approx(line[-1])
    # Heights grow downwards: 1.0 is 0.3 above the mean of 0.7, 0.5 is 0.2 below.
    assert (line[0] - min(band)) / (max(band) - line[0]) == pytest.approx(0.3 / 0.2, rel=1e-3)
    assert "s 70.0%" in svg
    assert "var(--base)" not in svg
    leveled = draw(AccuracyPlot("t", plot.series, Level("base", (0.2,))), prefix="p-")[0].svg
    assert "var(--base)" in leveled
    assert "base 20.0%" in leveled


def test_no_report_is_overwritten_unless_asked(tmp_path: Path) -> None:
    """A second write is refused, with `overwrite` it replaces, and no temporary file stays."""
    path = tmp_path / "report.html"
    write_report(path, make_report())
    assert path.read_text("utf-8") == render_report(make_report())
    with pytest.raises(OutputExistsError, match="is there already"):
        write_report(path, make_report("dogs"))
    assert path.read_text("utf-8") == render_report(make_report())
    write_report(path, make_report("dogs"), overwrite=True)
    assert path.read_text("utf-8") == render_report(make_report("dogs"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (AccuracyPlot("t", ()), "1 to 5 series"),
        (AccuracyPlot("t", (Series("s", (1, 2), ((0.5,),)),)), "accuracies for each x"),
        (AccuracyPlot("t", (Series("s", (0,), ((0.5,),)),)), "x above 0"),
        (AccuracyPlot("t", (Series("s", (1,), ((50.0,),)),)), "from 0 to 1"),
        (AccuracyPlot("t", (Series("s", (1,), ((float("nan"),),)),)), "from 0 to 1"),
        (ConfusionPlot("t", ("a", "b"), ((1, 2),), ((1, 2),)), r"counts \(2, 2\)"),
        (BarPlot("t", "s", ()), "one bar or more"),
        (BarPlot("t", "s", (("a", -1.0),)), "0 or more"),
        (Table("t", (Column("a"), Column("b")), (("x",),)), "2 cells in each row"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    block: Table | AccuracyPlot | ConfusionPlot | BarPlot, message: str
) -> None:
    """Each fault gets an error of ours instead of a wrong picture."""
    with pytest.raises(InputError, match=message):
        render_report(Report("r", sections=(Section("s", "", (block,)),)))


def test_an_empty_report_is_a_page() -> None:
    """A title is enough."""
    assert "only a title" in read(render_report(Report("only a title"))).texts
