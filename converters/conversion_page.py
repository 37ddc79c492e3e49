"""The report of a conversion as one HTML page that refers to nothing outside of itself."""

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ..files import refuse_overwrite
from .conversion_report import ConversionReport, Measured, VariantReport

_RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
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
    for variant in report.variants:
        parts.append(f"<h2>{_RUNTIMES[variant.runtime]}: {_KINDS[variant.kind]}</h2><p>{escape(variant.reason)}</p>")
        parts += [_kinds(variant), _taps(variant, report), _layers(variant)]
    warnings = "".join(f"<li>{escape(text)}</li>" for text in _warnings(report)) or "<li>none</li>"
    tools = ", ".join(escape(f"{tool} {version}") for tool, version in report.tools)
    parts.append(f"<h2>Warnings</h2><ul>{warnings}</ul><footer><p>Made with {tools}.</p></footer>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _kinds(variant: VariantReport) -> str:
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
    note = (
        "In bold what the bundle holds. A fresh head is fitted on the latents of some of the source data and judged on "
        "the rest; the error behind the points is the standard error of the paired differences. The model's head is "
        "its own last layer, on the same samples."
    )
    if variant.source_accuracy is not None:
        note += f" The shipped head on all of the source data: {variant.source_accuracy:.3f}."
    return _card("What was compared", _table(columns, rows), note)


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


def _layers(variant: VariantReport) -> str:
    """Draw what each layer costs, and name those that stayed in float."""
    kept = variant.float_layers
    named = "".join(
        f"<li>{escape(layer.name)}{'' if math.isnan(layer.lost) else f': {layer.lost:.4f}'}</li>"
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
    most = max((value for _, value, _ in values), default=0.0) or 1.0
    step = width / len(values)
    marks = []
    for i, (name, value, kept) in enumerate(values):
        tall = (height - top) * value / most
        colour = "--kept" if kept else "--bar"
        title = escape(f"{name}: {value:.5f}")
        marks.append(
            f'<rect x="{i * step + 0.1 * step:.1f}" y="{height - tall:.1f}" width="{0.8 * step:.1f}" '
            f'height="{max(tall, 0.5):.1f}" style="fill:var({colour})"><title>{title}</title></rect>'
        )
    label = f"cosine lost, layer by layer; at most {most:.4f}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height + 22:.0f}">{"".join(marks)}'
        f'<line x1="0" x2="{width:.0f}" y1="{height}" y2="{height}" style="stroke:var(--muted)"/>'
        f'<text x="0" y="11" style="fill:var(--muted)">{most:.4f}</text>'
        f'<text x="0" y="{height + 16:.0f}" style="fill:var(--muted)">first layer</text>'
        f'<text x="{width:.0f}" y="{height + 16:.0f}" text-anchor="end" style="fill:var(--muted)">last layer</text>'
        "</svg>"
    )


def _warnings(report: ConversionReport) -> Iterable[str]:
    for variant in report.variants:
        name = _RUNTIMES[variant.runtime]
        if variant.kind != "int8":
            yield f"{name}: not in 8 bits throughout. {variant.reason}"
        worst = min(variant.parity.taps, key=lambda tap: variant.parity.taps[tap].cosine)
        cosine = variant.parity.taps[worst].cosine
        if cosine < 0.95:
            yield f"{name}: the tap {worst} keeps a centred cosine of {cosine:.3f} only."
        for one in variant.measured:
            if one.kind == variant.kind and one.head is not None and one.head.lost > 0.5:
                yield f"{name}: a fresh head lost {one.head.lost:.1f} points (standard error {one.head.error:.1f})."


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


def _milliseconds(one: Measured) -> str:
    return "" if one.seconds is None else f"{1e3 * one.seconds:.2f} ms"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
