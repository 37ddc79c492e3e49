"""The report of a conversion as one HTML page that refers to nothing outside of itself."""

import math
import os
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..files import refuse_overwrite
from .conversion_report import ConversionReport, Measured, VariantReport
from .conversion_warnings import RUNTIME_NAMES, warnings

_KINDS = {"float": "float32", "int8": "int8", "weights": "8-bit weights"}
_STYLE = """
:root {
  --page: #f6f7f9; --card: #fff; --ink: #1b2330; --muted: #5a6577; --rule: #e1e5eb; --bar: #2f62d9; --kept: #c26a0a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #1a2029; --ink: #e8ecf2; --muted: #9ba6b6; --rule: #2d3541; --bar: #7ea6ff;
    --kept: #f0a95a;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .25rem }
h3 { font-size: 1rem; margin: 0 0 .6rem }
p, li { max-width: 46rem; overflow-wrap: anywhere }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: .75rem }
.card { padding: 1.1rem 1.25rem; margin-top: 1rem }
.scroll { overflow-x: auto }
.note, footer { color: var(--muted); font-size: .875rem }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: bottom }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { color: var(--muted); font-weight: 550; line-height: 1.3; font-size: .8438rem }
tr.kept td { font-weight: 650 }
svg { display: block; width: 100%; height: auto }
svg text { font: 12px system-ui, sans-serif }
"""


def write_page(path: Path, report: ConversionReport, *, overwrite: bool = False) -> None:
    """Write a report as one HTML file, at once or not at all.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
    """
    refuse_overwrite(path, overwrite=overwrite)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(render_page(report).encode())
        # mkstemp makes a private file; a report is one that others may read.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def render_page(report: ConversionReport) -> str:
    """Return the page."""
    name = escape(report.path.name)
    outputs = f"{len(report.classes)} outputs, " if report.classes else ""
    parts = [
        f"<h1>{name}</h1><p>{_bytes(report.size)}, {outputs}latents of {report.width} numbers from "
        f"{len(report.taps)} taps, made in {report.seconds:.0f} s.</p>"
    ]
    parts.append(_budget(report))
    for variant in report.variants:
        parts.append(
            f"<h2>{RUNTIME_NAMES[variant.runtime]}: {_KINDS[variant.kind]}</h2><p>{escape(variant.reason)}</p>"
        )
        parts += [_kinds(variant, report), _taps(variant, report), _layers(variant)]
    parts.append(_tail(report))
    warned = "".join(f"<li>{escape(text)}</li>" for text in warnings(report)) or "<li>none</li>"
    tools = ", ".join(escape(f"{tool} {version}") for tool, version in report.tools)
    parts.append(f"<h2>Warnings</h2><ul>{warned}</ul><footer><p>Made with {tools}.</p></footer>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _budget(report: ConversionReport) -> str:
    """Tell which taps were left out for a budget of latent bytes, and what each was worth."""
    budget = report.budget
    if budget is None or not budget.dropped:
        return ""
    rows = [
        ([tap.name, f"{tap.bytes:,}", f"{tap.loss:.4f}", f"{tap.points:.1f}", "left out" if gone else "kept"], not gone)
        for gone, taps in ((True, budget.dropped), (False, budget.kept))
        for tap in taps
    ]
    (before, after), (first, last) = budget.accuracy, budget.loss
    note = (
        f"{budget.bytes:,} of at most {budget.budget:,} bytes a sample, the head's input among them. What a tap is "
        f"worth is by how much the held-out loss of a head, and its accuracy, are worse without it: of those left out "
        f"in the order in which they went, of those kept in the end. With every tap accuracy was {before:.3f} and loss "
        f"{first:.3f}, with these {after:.3f} and {last:.3f}, on {budget.samples:,} samples of the source."
    )
    return _card("Taps for a budget of latent bytes", _table(("tap", "bytes", "nats", "points", ""), rows), note)


def _kinds(variant: VariantReport, report: ConversionReport) -> str:
    """Tell what was compared: sizes, latencies, parity, accuracy."""
    columns = (
        "",
        "size",
        "one sample, one thread",
        "cosine, mean",
        "least",
        "fresh head",
        "points lost",
        "model's own head",
    )
    rows = []
    for one in variant.measured:
        own = "" if one.own is None else f"{one.own:.3f}"
        cells = [_KINDS[one.kind], _bytes(one.size), _milliseconds(one), *_closeness(one), *_head(one), own]
        rows.append((cells, one.kind == variant.kind))
    # Regression has no fresh head to judge; a float backbone that was asked for is compared with nothing.
    told = [i for i in range(len(columns)) if i == 0 or any(cells[i] for cells, _ in rows)]
    table = _table([columns[i] for i in told], [([cells[i] for i in told], kept) for cells, kept in rows])
    note = "In bold what the bundle holds."
    if any(one.head is not None for one in variant.measured):
        note += (
            " A fresh head is fitted on the latents of some of the source data and judged on the rest; the error "
            "behind the points is the standard error of the paired differences. The model's head is its own last "
            "layer, on the same samples."
        )
    if variant.source_accuracy is not None:
        score = "R\N{SUPERSCRIPT TWO}" if report.task == "regression" else "Accuracy"
        note += f" {score} of the shipped head on all of the source data: {variant.source_accuracy:.3f}."
    return _card("What was compared", table, note)


def _taps(variant: VariantReport, report: ConversionReport) -> str:
    """Tell the parity of each tap, for each kind."""
    columns = (
        "tap",
        "numbers",
        *(f"{_KINDS[one.kind]}: {what}" for one in variant.measured for what in ("cosine", "error")),
    )
    rows = []
    for tap in report.taps:
        cells = [tap.name, str(tap.width)]
        for one in variant.measured:
            found = one.parity.taps[tap.name]
            cells += [f"{found.cosine:.4f}", f"{found.error:.2g}"]
        rows.append((cells, False))
    note = (
        "Against the original: centred cosine, mean over samples, and the greatest error as a share of the tap's "
        "spread."
    )
    return _card("Parity, tap by tap", _table(columns, rows), note)


def _tail(report: ConversionReport) -> str:
    """Tell what of the last layers a device can train, and how close the maps are that it stores for it."""
    tail = report.tail
    if tail is None:
        return ""
    rows = [
        ("cut", tail.cut),
        ("shape of a map, one byte a value", " x ".join(map(str, tail.map_shape))),
        ("values that train", f"{tail.trained:,}"),
        ("optimiser", tail.optimiser),
        ("penalty", tail.penalty),
        ("cosine of the maps with the original's, mean", f"{tail.parity.whole.cosine:.4f}"),
        ("least", f"{tail.parity.whole.least_cosine:.4f}"),
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in tail.notes)
    note = "The layers behind the cut, which a device can train beside the head on the maps that it stores."
    table = _table(("", "tail"), [(row, False) for row in rows])
    return f"<h2>Trainable tail</h2>{_card('What trains', table, note)}{f'<ul>{notes}</ul>' if notes else ''}"


def _layers(variant: VariantReport) -> str:
    """Draw what each layer costs, and name those that stayed in float."""
    kept = variant.float_layers
    named = "".join(
        f"<li>{escape(layer.name)}{'' if math.isnan(layer.lost) else f': {_cosine(layer.lost)}'}</li>"
        for layer in sorted(variant.layers, key=lambda layer: -layer.lost if layer.lost == layer.lost else 0.0)
        if layer.name in kept
    )
    measured = [layer for layer in variant.layers if not math.isnan(layer.lost)]
    if not measured and not named:
        return ""
    drawing = _bars([(layer.name, max(layer.lost, 0.0), layer.name in kept) for layer in measured]) if measured else ""
    names = f"<p>In float, with what each cost:</p><ul>{named}</ul>" if named else "<p>No layer stayed in float.</p>"
    note = "Centred cosine that the latents lose with one layer alone in 8 bits; layers in float are orange."
    return _card("Error, layer by layer", drawing + names, note)


def _bars(values: Sequence[tuple[str, float, bool]]) -> str:
    """Return columns in the order of the graph, as SVG."""
    width, height, top = 960.0, 180.0, 14.0
    most = max((value for _, value, _ in values), default=0.0)
    step = width / len(values)
    marks = []
    for i, (name, value, kept) in enumerate(values):
        tall = (height - top) * value / (most or 1.0)
        colour = "--kept" if kept else "--bar"
        title = escape(f"{name}: {_cosine(value)}")
        marks.append(
            f'<rect x="{i * step + 0.1 * step:.1f}" y="{height - tall:.1f}" width="{0.8 * step:.1f}" '
            f'height="{max(tall, 0.5):.1f}" style="fill:var({colour})"><title>{title}</title></rect>'
        )
    label = f"cosine lost, layer by layer; at most {_cosine(most)}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height + 22:.0f}">{"".join(marks)}'
        f'<line x1="0" x2="{width:.0f}" y1="{height}" y2="{height}" style="stroke:var(--muted)"/>'
        f'<text x="0" y="11" style="fill:var(--muted)">{_cosine(most)}</text>'
        f'<text x="0" y="{height + 16:.0f}" style="fill:var(--muted)">first layer</text>'
        f'<text x="{width:.0f}" y="{height + 16:.0f}" text-anchor="end" style="fill:var(--muted)">last layer</text>'
        "</svg>"
    )


def _card(title: str, body: str, note: str) -> str:
    return f'<div class="card"><h3>{title}</h3>{body}<p class="note">{note}</p></div>'


def _table(columns: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=kept' if kept else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for cells, kept in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _closeness(one: Measured) -> tuple[str, str]:
    return f"{one.parity.whole.cosine:.4f}", f"{one.parity.whole.least_cosine:.4f}"


def _head(one: Measured) -> tuple[str, str]:
    if one.head is None:
        return "", ""
    return f"{one.head.accuracy:.3f}", f"{one.head.lost:+.2f} ± {one.head.error:.2f}"


def _cosine(lost: float) -> str:
    """Return what is lost of a cosine, with digits also where it is very little."""
    return f"{lost:.4f}" if not lost or abs(lost) >= 1e-3 else f"{lost:.1e}"


def _milliseconds(one: Measured) -> str:
    return "" if one.seconds is None else f"{1e3 * one.seconds:.2f} ms"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
