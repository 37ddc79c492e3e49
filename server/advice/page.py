"""Advice as a page, and the table of its methods, which the command line prints too."""

from ..plots import BarPlot, Interval, IntervalPlot, Plot
from ..report import Cell, Column, Fact, Report, Section, Table
from .advice import Advice
from .method import TARGET_ONLY
from .next_step import next_steps

_JUDGED = (
    "On labelled target samples that the method has not seen; 95 % intervals. Methods are judged on the same samples, "
    "so that intervals that overlap may differ for sure. The Brier score is better the lower."
)
_WAY_BACK = (
    "Share of the source's labels that follow from a method's answers in the target. It needs no label there, and "
    "shows little: classes that lie in each other's place look fine."
)
# Classes; the table of more is folded.
_MOST_SHOWN = 30
_BASIS = {"labels": "by held-out labelled samples", "validators": "without labels to tell: little is certain"}
_MIX = (
    "Shares of the labelled samples on each side. The estimate is of all target samples, by the source's classifier: "
    "right where classes look alike on both sides."
)


def candidate_table(found: Advice) -> Table:
    """Return the methods that were compared, the best first; the recommended one is marked."""
    rows: list[tuple[Cell, ...]] = []
    by_labels = found.basis == "labels"
    for one in found.candidates:
        name = f"{one.name} *" if one.name == found.recommended else one.name
        if one.accuracy is not None and one.low is not None and one.high is not None and one.brier is not None:
            rows.append((name, one.family, one.accuracy, f"{one.low:.1%} to {one.high:.1%}", one.brier))
        elif one.way_back is not None:
            rows.append((name, one.family, one.way_back))
    judged = (Column("accuracy", ".1%"), Column("95 % interval"), Column("Brier score", ".3f"))
    columns = (Column("method"), Column("family"), *(judged if by_labels else (Column("way back", ".1%"),)))
    note = "* is recommended. " if found.recommended else ""
    note += _JUDGED if by_labels else _WAY_BACK
    return Table("Methods, the best first", columns, tuple(rows), note)


def advice_page(found: Advice) -> Report:
    """Return advice as a page.

    Args:
        found: The advice.
    """
    steps = tuple((f"{step[0].upper()}{step[1:]}.",) for step in next_steps(found))
    reasons = tuple((line,) for line in found.why[1:])
    verdict = Section(
        "Recommendation",
        "",
        (
            Table("What to do next", (Column("", wraps=True),), steps),
            Table("Why", (Column("", wraps=True),), reasons),
        ),
    )
    sections = [verdict, Section("Methods", "", (_plot(found), candidate_table(found))), _sides(found)]
    if left := _left_out(found):
        sections.append(Section("Left out, and notes", "", (left,)))
    # Of the sentences that follow the verdict by labels, the first has the figures that it rests on.
    summary = " ".join(found.why[: 2 if found.basis == "labels" else 1])
    return Report("Which way of transfer, or none", summary, _facts(found), tuple(sections))


def _plot(found: Advice) -> Plot:
    rows = tuple(
        Interval(one.name, one.accuracy, one.low, one.high)
        for one in found.candidates
        if one.accuracy is not None and one.low is not None and one.high is not None
    )
    if rows:
        note = "" if found.recommended is None else "The dashed line is what is reached without the source."
        return IntervalPlot(
            "Accuracy, held out", rows, "labelled target samples that are right", TARGET_ONLY, found.recommended, note
        )
    bars = tuple((one.name, 100 * one.way_back) for one in found.candidates if one.way_back is not None)
    return BarPlot("The way back", "%", bars)


def _facts(found: Advice) -> tuple[Fact, ...]:
    by = {one.name: one for one in found.candidates}
    name = found.recommended or TARGET_ONLY
    facts = [Fact("transfer by" if found.recommended else "do not transfer", name, _BASIS[found.basis])]
    chosen, alone = by.get(name), by.get(TARGET_ONLY)
    if chosen is not None and chosen.accuracy is not None:
        told = ""
        if found.recommended and alone is not None and alone.accuracy is not None:
            told = f"{TARGET_ONLY} {alone.accuracy:.1%}"
        facts.append(Fact("accuracy, held out", f"{chosen.accuracy:.1%}", told))
    facts.append(Fact("negative transfer of the pool", found.harm, "of both sides as they are"))
    facts.append(Fact("labelled target samples", f"{sum(found.target_counts):,}", f"{found.unlabelled:,} without"))
    return tuple(facts)


def _sides(found: Advice) -> Section:
    n, m = sum(found.source_counts), sum(found.target_counts)
    titles = ("source samples", "share", "labelled target samples", "share")
    columns = [Column("class", wraps=True), *(Column(title, ",") for title in titles)]
    rows: list[tuple[Cell, ...]] = []
    for place, name in enumerate(found.classes):
        home, here = found.source_counts[place], found.target_counts[place]
        row: list[Cell] = [name, home, f"{home / n:.1%}", here, f"{here / m:.1%}" if m else ""]
        rows.append(tuple(row if found.mix is None else [*row, found.mix[place]]))
    if found.mix is not None:
        columns.append(Column("estimate of all", ".1%"))
    mix = Table("Mix of classes", tuple(columns), tuple(rows), _MIX, folded=len(rows) > _MOST_SHOWN)
    return Section("Source and target", "", (_shift(found), mix))


def _shift(found: Advice) -> Table:
    columns = (Column("what"), Column("found", wraps=True))
    home = ("source's classifier at home", f"{found.home_accuracy:.1%} right, held out")
    if found.shift is None:
        return Table("Shift", columns, (("features", "too few target samples to tell"), home))
    one = found.shift
    rows = (
        ("features", "shifted" if one.shifted else "no shift found"),
        ("p-value, by permutations", f"{one.p_value:.2g} at a level of {one.level:g}"),
        ("squared kernel discrepancy", f"{one.statistic:.3g}"),
        home,
    )
    return Table("Shift", columns, rows)


def _left_out(found: Advice) -> Table | None:
    rows = [(f"{one.name}: not compared", one.why_not) for one in found.candidates if one.why_not]
    rows += [("note", note) for note in found.notes]
    if not rows:
        return None
    return Table("What should be known", (Column("what", wraps=True), Column("", wraps=True)), tuple(rows))
