"""The report of a conversion as one HTML page that refers to nothing outside of itself."""

import math
import os
import tempfile
from html import escape
from pathlib import Path

from ..files import refuse_overwrite
from .agreement import Likeness
from .conversion_report import ConversionReport, Measured, VariantReport
from .conversion_warnings import RUNTIME_NAMES, warnings
from .page_elements import bars, card, lost_cosine, table, whole_page

_KINDS = {"float": "float32", "int8": "int8", "weights": "8-bit weights"}


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
    parts += [_answers(report), _tail(report)]
    warned = "".join(f"<li>{escape(text)}</li>" for text in warnings(report)) or "<li>none</li>"
    tools = ", ".join(escape(f"{tool} {version}") for tool, version in report.tools)
    parts.append(f"<h2>Warnings</h2><ul>{warned}</ul><footer><p>Made with {tools}.</p></footer>")
    return whole_page(name, "".join(parts))


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
    return card("Taps for a budget of latent bytes", table(("tap", "bytes", "nats", "points", ""), rows), note)


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
    compared = table([columns[i] for i in told], [([cells[i] for i in told], kept) for cells, kept in rows])
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
    return card("What was compared", compared, note)


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
    return card("Parity, tap by tap", table(columns, rows), note)


def _answers(report: ConversionReport) -> str:
    """Tell how alike original and variants answer, by latents and by the shipped heads."""
    rows = [
        (f"{RUNTIME_NAMES[one.runtime]} with the original", one.parity.whole, one.with_original)
        for one in report.variants
    ]
    both = report.agreement
    if both is not None:
        rows.append(
            (" with ".join(RUNTIME_NAMES[one.runtime] for one in report.variants[::-1]), both.latents, both.answers)
        )
    if all(likeness is None for _, _, likeness in rows) and both is None:
        return ""
    last = "largest difference of values" if report.task == "regression" else "same class"
    columns = ("", "cosine, mean", "least", "largest difference of latents", last)
    cells = [
        [name, f"{found.cosine:.4f}", f"{found.least_cosine:.4f}", f"{found.error:.2g}", _likeness(likeness)]
        for name, found, likeness in rows
    ]
    samples = "" if both is None else f" of {both.samples:,} samples"
    against = "the model's own answers" if report.keeps_head else "what the same head makes of the original's latents"
    note = (
        f"Latents{samples}, and what the shipped heads make of them; differences are shares of the spread. Beside the "
        f"original, a shipped head is compared with {against}."
    )
    shown = [i for i in range(len(columns)) if i == 0 or any(row[i] for row in cells)]
    body = table([columns[i] for i in shown], [([row[i] for i in shown], False) for row in cells])
    return f"<h2>Do they answer alike?</h2>{card('Original and variants', body, note)}"


def _likeness(found: Likeness | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.same:.1f} %" if found.same is not None else f"{found.apart:.2g}"


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
    what = table(("", "tail"), [(row, False) for row in rows])
    return f"<h2>Trainable tail</h2>{card('What trains', what, note)}{f'<ul>{notes}</ul>' if notes else ''}"


def _layers(variant: VariantReport) -> str:
    """Draw what each layer costs, and name those that stayed in float."""
    kept = variant.float_layers
    named = "".join(
        f"<li>{escape(layer.name)}{'' if math.isnan(layer.lost) else f': {lost_cosine(layer.lost)}'}</li>"
        for layer in sorted(variant.layers, key=lambda layer: -layer.lost if layer.lost == layer.lost else 0.0)
        if layer.name in kept
    )
    measured = [layer for layer in variant.layers if not math.isnan(layer.lost)]
    if not measured and not named:
        return ""
    drawing = bars([(layer.name, max(layer.lost, 0.0), layer.name in kept) for layer in measured]) if measured else ""
    names = f"<p>In float, with what each cost:</p><ul>{named}</ul>" if named else "<p>No layer stayed in float.</p>"
    note = "Centred cosine that the latents lose with one layer alone in 8 bits; layers in float are orange."
    return card("Error, layer by layer", drawing + names, note)


def _closeness(one: Measured) -> tuple[str, str]:
    return f"{one.parity.whole.cosine:.4f}", f"{one.parity.whole.least_cosine:.4f}"


def _head(one: Measured) -> tuple[str, str]:
    if one.head is None:
        return "", ""
    return f"{one.head.accuracy:.3f}", f"{one.head.lost:+.2f} ± {one.head.error:.2f}"


def _milliseconds(one: Measured) -> str:
    if one.seconds is None:
        return ""
    found = 1e3 * one.seconds
    return f"{found:.2f} ms" if found >= 0.1 else f"{found:.2g} ms"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
