"""The page of an explanation."""

import numpy as np

from ..report import Cell, Column, Fact, Report, Section, Table
from .explanation import TITLES, Explanation, Method
from .pictures import FOR_CLASS, HeatPlot

_TOLD: dict[Method, str] = {
    "integrated-gradients": "What each input adds to the class's logit, from a baseline to the frame.",
    "grad-cam": "The maps of the last convolution, weighed by how much the class's logit follows each of them.",
    "occlusion": "How far the class's score falls when a patch is hidden behind the frame's mean colour.",
    "cam": "What each place adds to the class's logit: the head is linear on the mean over places.",
}
_VALUE = "How far {} falls when a patch is hidden behind the frame's mean colour."


def explanation_page(found: Explanation, source: str, provenance: tuple[tuple[str, str], ...] = ()) -> Report:
    """Return an explanation as a page.

    Args:
        found: The explanation.
        source: What was explained.
        provenance: Name and value of what it was made with.
    """
    n, values = len(found.names), found.task == "regression"
    labelled = [(a, b) for a, b in zip(found.predicted, found.truth, strict=True) if b is not None]
    facts = [Fact("frames", str(n), TITLES[found.method])]
    if labelled and values:
        error = float(np.mean([abs(float(a) - float(b)) for a, b in labelled]))
        facts.append(Fact("mean absolute error", f"{error:.3g}", f"{len(labelled)} have a true value"))
    elif labelled:
        facts.append(Fact("of them right", str(sum(a == b for a, b in labelled)), f"{len(labelled)} have a label"))
    if len(found.gap):
        worst = float(np.abs(found.gap).max())
        facts.append(Fact("completeness", f"{worst:.2g}", f"largest gap; {found.whole}"))
    pictures = found.heat.ndim == 3
    blocks: list[Table | HeatPlot] = []
    drawn = pictures or (found.heat.ndim == 2 and found.frames.ndim == 3)
    if drawn:
        blocks.append(
            HeatPlot(
                "What counts",
                found.frames,
                found.heat,
                tuple(map(_caption, range(1, n + 1), found.predicted if values else found.explained, found.truth)),
                "Each frame has its own scale: the strongest place has the full colour. " + " ".join(found.remarks),
                ("raises the value", "lowers it") if values else FOR_CLASS,
            )
        )
    elif found.heat.ndim == 2:
        blocks.append(_inputs(found))
    blocks.append(_rows(found))
    return Report(
        f"What {source} looks at",
        f"{_VALUE.format(found.unit) if values else _TOLD[found.method]} It shows what the model goes by, not whether "
        "that is right.",
        tuple(facts),
        (Section("Frames", "" if drawn else " ".join(found.remarks), tuple(blocks)),),
        provenance,
    )


def _caption(number: int, explained: str, truth: str | None) -> str:
    wrong = f", is {truth}" if truth is not None and truth != explained else ""
    return f"{number}: {explained}{wrong}"


def _rows(found: Explanation) -> Table:
    gaps = [float(gap) for gap in found.gap]
    columns = [Column("number", "d"), Column("frame"), Column("predicted"), Column("label")]
    # Of a value, what is predicted is the score.
    score = [] if found.task == "regression" else [Column(found.unit, ".3f")]
    columns += score + ([Column("gap", ".2g")] if gaps else [])
    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(found.names):
        label = found.truth[i]
        row: tuple[Cell, ...] = (i + 1, name, found.predicted[i], "none" if label is None else label)
        rows.append((*row, *([float(found.score[i])] if score else []), *((gaps[i],) if gaps else ())))
    note = f"Gap: by how much the parts miss the whole; {found.whole}." if gaps else ""
    return Table("Scores", tuple(columns), tuple(rows), note)


def _inputs(found: Explanation) -> Table:
    """Return, for rows of a table, what each input counts for: the mean of its size over the frames."""
    size, mean = np.abs(found.heat).mean(axis=0), found.heat.mean(axis=0)
    order = np.argsort(-size)[:50]
    columns = (Column("input", "d"), Column("mean size", ".4f"), Column("mean", "+.4f"))
    rows = tuple((int(i) + 1, float(size[i]), float(mean[i])) for i in order)
    return Table("What each input counts for", columns, rows, "By the mean of its size over the frames.")
