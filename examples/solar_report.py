"""The results of the solar cells: means over the seeds, paired differences, a table, a page with a plot."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .elpv import LICENCE, Gap, Score, gap

MARGIN = 0.01  # how much worse than the reference is still "not worse"
MEASURES = ("balanced_accuracy", "auc")


@dataclass(frozen=True)
class Row:
    """One seed of one setting.

    Attributes:
        runtime: `onnx` or `tflite`.
        taps: `last` or `all`.
        photos: Local photos adapted from.
        seed: Of the split.
        before: The bundle's own head on the test photos.
        after: The device's head on the same photos once it has adapted.
        reference: scikit-learn on fp32 latents, same photos to fit, same photos to be scored on.
        verdict: The guard's: `accepted`, `rejected` or `insufficient` (evidence).
        applied: Whether the device used what it had learnt; if not, `after` is the bundle's own head still.
        reason: Why, in words.
        head: The head it chose.
        source_weight: The weight of the source statistics it chose, 0 (local only) to 1 (pooled).
        seconds: Wall time of `adapt()`.
    """

    runtime: str
    taps: str
    photos: int
    seed: int
    before: Score
    after: Score
    reference: Score
    verdict: str
    applied: bool
    reason: str
    head: str
    source_weight: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """One setting over its seeds: means, the median source weight, and gaps (after minus reference, paired by seed)."""

    runtime: str
    taps: str
    photos: int
    seeds: int
    before: Score
    after: Score
    reference: Score
    gap_balanced_accuracy: Gap
    gap_auc: Gap
    applied: int
    heads: str
    source_weight: float
    seconds: float


def _mean(scores: Sequence[Score]) -> Score:
    return Score(*(float(np.mean([getattr(score, measure) for score in scores])) for measure in MEASURES))


def _gap(rows: Sequence[Row], measure: str) -> Gap:
    by_seed: dict[int, list[float]] = {}
    for row in rows:
        by_seed.setdefault(row.seed, []).append(getattr(row.after, measure) - getattr(row.reference, measure))
    return gap(np.array([np.mean(differences) for differences in by_seed.values()]))


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """One summary per runtime, taps and number of photos, in the order in which they first occur."""
    summaries = []
    for runtime, taps, photos in dict.fromkeys((row.runtime, row.taps, row.photos) for row in rows):
        same = [row for row in rows if (row.runtime, row.taps, row.photos) == (runtime, taps, photos)]
        heads = sorted({row.head for row in same})
        summaries.append(
            Summary(
                runtime,
                taps,
                photos,
                len(same),
                _mean([row.before for row in same]),
                _mean([row.after for row in same]),
                _mean([row.reference for row in same]),
                _gap(same, "balanced_accuracy"),
                _gap(same, "auc"),
                sum(row.applied for row in same),
                ", ".join(f"{head} {sum(row.head == head for row in same)}" for head in heads),
                float(np.median([row.source_weight for row in same])),
                float(np.mean([row.seconds for row in same])),
            )
        )
    return summaries


@dataclass(frozen=True)
class Verdict:
    """One runtime and taps against the reference, the budgets averaged within each seed."""

    runtime: str
    taps: str
    measure: str
    gap: Gap
    not_worse: bool


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """For each runtime, taps and measure: is the device not worse than the reference by more than `MARGIN`?"""
    found = []
    for runtime, taps in dict.fromkeys((row.runtime, row.taps) for row in rows):
        same = [row for row in rows if (row.runtime, row.taps) == (runtime, taps)]
        for measure in MEASURES:
            difference = _gap(same, measure)
            found.append(Verdict(runtime, taps, measure, difference, difference.not_worse(MARGIN)))
    return found


def points(difference: Gap) -> str:
    """A gap in percentage points, with its interval where there is one."""
    text = f"{100 * difference.mean:+.1f}"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


HEADINGS = (
    "runtime", "taps", "photos", "applied", "bal. acc. before", "after", "reference", "difference, points",
    "AUC before", "after", "reference", "difference, points", "heads", "source weight", "adapt, s",
)  # fmt: skip


def cells_of(line: Summary) -> list[str]:
    """The texts of one line of the table, one per heading."""
    texts = [line.runtime, line.taps, str(line.photos), f"{line.applied}/{line.seeds}"]
    for measure, difference in zip(MEASURES, (line.gap_balanced_accuracy, line.gap_auc), strict=True):
        texts += [f"{getattr(score, measure):.3f}" for score in (line.before, line.after, line.reference)]
        texts.append(points(difference))
    return [*texts, line.heads, f"{line.source_weight:.3g}", f"{line.seconds:.2f}"]


def table(lines: Sequence[Summary]) -> Table:
    """The summaries for a terminal of 80 columns; the page has every column."""
    shown = Table(
        title="Mono cells to poly cells: before and after, mean over the seeds",
        caption="difference: points above scikit-learn on fp32 latents, paired, 95 %",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("taps", "photos", "bal. acc.", "difference", "AUC", "difference", "source"):
        shown.add_column(heading, justify="left" if heading == "taps" else "right", no_wrap=True)
    for line in lines:
        texts = [f"{line.runtime} {line.taps}", str(line.photos)]
        for measure, difference in zip(MEASURES, (line.gap_balanced_accuracy, line.gap_auc), strict=True):
            scores = (f"{getattr(score, measure):.3f}".lstrip("0") for score in (line.before, line.after))
            texts.append(" \N{RIGHTWARDS ARROW} ".join(scores))
            half = "" if difference.high is None else f" ± {100 * (difference.high - difference.mean):.1f}"
            texts.append(f"{100 * difference.mean:+.1f}{half}")
        shown.add_row(*texts, f"{line.source_weight:.3g}", end_section=line.photos == lines[-1].photos)
    return shown


def plot(lines: Sequence[Summary]) -> bytes:
    """Both measures against the photos adapted from, as a PNG: solid is the device, dashed the reference."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, measure, name in zip(figure.subplots(1, 2), MEASURES, ("balanced accuracy", "AUC"), strict=True):
        for taps, reference_colour in (("last", "tab:gray"), ("all", "black")):
            of_taps = [line for line in lines if line.taps == taps]
            for runtime in dict.fromkeys(line.runtime for line in of_taps):
                own = [line for line in of_taps if line.runtime == runtime]
                photos = [line.photos for line in own]
                axes.plot(photos, [getattr(line.after, measure) for line in own], "o-", label=f"{runtime}, {taps} taps")
                axes.axhline(getattr(own[0].before, measure), color="tab:red", linewidth=0.6, linestyle=":")
            if of_taps:
                own = [line for line in of_taps if line.runtime == of_taps[0].runtime]
                scores = [getattr(line.reference, measure) for line in own]
                label = f"scikit-learn fp32, {taps} taps"
                axes.plot([line.photos for line in own], scores, "s--", color=reference_colour, label=label)
        axes.set(xscale="log", xlabel="local photos", ylabel=name)
        axes.set_xticks(sorted({line.photos for line in lines}), sorted({str(line.photos) for line in lines}, key=int))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    figure.suptitle("Defective solar cells: a model of mono cells adapts to poly cells (dotted: before)")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


STYLE = (
    "body{font:15px system-ui;margin:2em auto;max-width:75em}td,th{padding:.2em .7em;text-align:right}"
    "tr:nth-child(even){background:#f4f4f4}img{max-width:100%}"
)


def claim(verdict: Verdict) -> str:
    """A verdict in words."""
    outcome = "not worse" if verdict.not_worse else "not shown to be not worse"
    measure = verdict.measure.replace("_", " ")
    return f"{verdict.runtime}, {verdict.taps} taps, {measure}: {points(verdict.gap)} points, {outcome}"


def page(rows: Sequence[Row]) -> str:
    """The table, the verdicts and the plot as one self-contained HTML page."""
    lines = summarize(rows)
    image = base64.b64encode(plot(lines)).decode()
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in HEADINGS)
    texts = [[f"<td>{html.escape(text)}</td>" for text in cells_of(line)] for line in lines]
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in texts)
    claims = "".join(f"<li>{html.escape(claim(verdict))}</li>" for verdict in verdicts(rows))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Solar cells</title><style>{STYLE}</style>"
        f"<h1>From mono cells to poly cells</h1>"
        f"<img alt='scores against local photos' src='data:image/png;base64,{image}'>"
        f"<table><tr>{head}</tr>{body}</table><p>Against scikit-learn on fp32 latents, mean over the budgets, margin "
        f"{100 * MARGIN:.0f} point, 95 %, paired by seed:</p><ul>{claims}</ul>"
        f"<p>Photos: ELPV, {LICENCE}. Weights: EfficientNet-Lite0, Apache-2.0.</p></html>"
    )


def as_json(rows: Sequence[Row]) -> dict[str, object]:
    """Everything as plain values: every row, the summary per setting, the verdict per runtime and taps."""
    return {
        "benchmark": "solar_cells",
        "rows": [asdict(row) for row in rows],
        "summary": [asdict(line) for line in summarize(rows)],
        "verdicts": [asdict(verdict) for verdict in verdicts(rows)],
    }
