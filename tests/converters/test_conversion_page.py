"""The report as a page: everything is on it, nothing is fetched, nothing is overwritten."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters import ConversionReport, VariantReport
from acclimate.converters.conversion_page import render_page
from acclimate.converters.conversion_report import Measured
from acclimate.converters.parity import Closeness, Parity
from acclimate.converters.quantization.fresh_head import HeadAccuracy
from acclimate.converters.quantization.sensitivity import LayerCost
from acclimate.converters.tail_report import TailReport
from acclimate.errors import OutputExistsError
from acclimate.manifest import Tap

pytestmark = pytest.mark.needs_torch


@pytest.fixture
def report() -> ConversionReport:
    """A report with a name that is no HTML, a layer in float and one whose cost is not known."""
    parity = Parity(Closeness(0.991, 0.97, 0.2), {"early <b>": Closeness(0.9, 0.8, 0.2)})
    measured = (
        Measured("float", 4_000_000, 0.010, parity, HeadAccuracy(0.9, 0.9, 0.0, 0.0, 200), 0.951),
        Measured("int8", 1_000_000, 0.004, parity, HeadAccuracy(0.9, 0.88, 2.0, 0.7, 200), 0.942),
    )
    layers = (LayerCost("stem", 0.0123, True), LayerCost("last", 0.0001), LayerCost("odd", float("nan")))
    variant = VariantReport(
        "onnx", True, 1_000_000, 0, parity, parity, 0.93, 2.0, "int8", "8 bits: fast.", layers, measured
    )
    return ConversionReport(
        Path("m<i>.acc"), 1_200_000, ("a", "b"), (Tap("early <b>", 0, 8),), (variant,), 3.0, (("torch", "2.14"),)
    )


def test_the_page_has_every_figure_and_needs_nothing(report: ConversionReport, tmp_path: Path) -> None:
    """Latency, size, parity, accuracy of both heads, layers in float, warnings, versions; text is escaped."""
    report.save_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    for text in (
        *("m&lt;i&gt;.acc", "early &lt;b&gt;", "4.00 MB", "10.00 ms", "4.00 ms", "0.9910", "+2.00 ± 0.70", "0.951"),
        *("stem: 0.0123", "a centred cosine of 0.900 only", "lost 2.0 points", "torch 2.14", "<svg", "8 bits: fast."),
    ):
        assert text in page, text
    assert "<i>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<rect") == 2


def test_a_tail_is_told(report: ConversionReport) -> None:
    """Cut, shape, what trains, how close the maps are; its notes are warnings too."""
    assert "Trainable tail" not in render_page(report)
    parity = Parity(Closeness(0.987, 0.91, 0.1), {})
    tail = TailReport("blocks.<2>", (8, 7, 7), 12_345, parity, ("batch norm stays as it is.",))
    page = render_page(replace(report, tail=tail))
    for text in ("Trainable tail", "blocks.&lt;2&gt;", "8 x 7 x 7", "12,345", "0.9870", "0.9100"):
        assert text in page, text
    assert "tail: batch norm stays as it is." in page.partition("Warnings")[2]
    assert page.count("batch norm stays") == 2


def test_a_small_cost_has_digits(report: ConversionReport) -> None:
    """A full column is not labelled with zero, and no cost at all not with one."""
    (variant,) = report.variants
    for lost, label in ((0.000043, "4.3e-05"), (0.0, "0.0000"), (-0.00002, "0.0000")):
        page = render_page(replace(report, variants=(replace(variant, layers=(LayerCost("stem", lost),)),)))
        assert f'style="fill:var(--muted)">{label}</text>' in page
        assert f"at most {label}" in page


def test_a_page_of_a_regression_has_no_empty_columns(report: ConversionReport) -> None:
    """No fresh head is told of where none was judged, and the score is called what it is."""
    (variant,) = report.variants
    measured = tuple(replace(one, head=None, own=None) for one in variant.measured)
    page = render_page(replace(report, task="regression", variants=(replace(variant, measured=measured),)))
    compared = page.partition("What was compared")[2].partition("Parity, tap by tap")[0]
    assert "fresh head" not in compared
    assert "own head" not in compared
    assert "<td></td>" not in compared
    assert "R\N{SUPERSCRIPT TWO} of the shipped head on all of the source data: 0.930" in compared
    assert "Accuracy of the shipped head on all of the source data: 0.930" in render_page(report)


def test_a_page_that_is_there_stays(report: ConversionReport, tmp_path: Path) -> None:
    """Unless told otherwise; no half of a page is left behind."""
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"r\.html is there already"):
        report.save_html(path)
    assert path.read_text() == "mine"
    report.save_html(path, overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]
    assert path.read_text() != "mine"


def test_plain_values_are_valid_json(report: ConversionReport) -> None:
    """A cost that was not measured is null, not NaN."""
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [layer["lost"] for layer in plain["variants"][0]["layers"]] == [0.0123, 0.0001, None]
    assert report.variants[0].float_layers == ("stem",)
