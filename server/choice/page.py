"""A ranking of sources as a page, and its tables, which the command line prints too."""

import math

from ..plots import BarPlot
from ..report import Cell, Column, Fact, Report, Section, Table
from .ranking import MEASURES, Ranking

TITLES = {"accuracy": "accuracy", "logme": "LogME", "h_score": "H-score", "leep": "LEEP", "nce": "NCE"}
_NOTE = (
    "Higher is better in every measure; in brackets the rank by it. LEEP and NCE are of sources whose head tells "
    "classes. The combined rank is the mean of the ranks by {counted}."
)


def ranking_table(found: Ranking) -> Table:
    """Return the sources, the best first."""
    measures = [measure for measure in MEASURES[1:] if any(measure in source.scores for source in found.sources)]
    columns = (
        Column("", "d"),
        Column("source", wraps=True),
        Column("expected accuracy"),
        Column("95 % interval"),
        Column("as shipped"),
        *(Column(TITLES[measure]) for measure in measures),
        Column("mean rank", ".2f"),
    )
    rows: list[tuple[Cell, ...]] = []
    for source in found.sources:
        e = source.expected
        scores = [
            f"{source.scores[measure]:.3f} ({source.ranks[measure]:g})" if measure in source.scores else ""
            for measure in measures
        ]
        rows.append(
            (
                source.place,
                source.name,
                f"{e.accuracy:.1%} ({source.ranks['accuracy']:g})",
                f"{e.low:.1%} to {e.high:.1%}",
                "" if source.as_shipped is None else f"{source.as_shipped:.1%}",
                *scores,
                source.mean_rank,
            )
        )
    note = _NOTE.format(counted=", ".join(TITLES[measure] for measure in found.counted))
    return Table("Sources, the best first", columns, tuple(rows), note)


def agreement_told(found: Ranking) -> str:
    """Return how far the measures agree, in a sentence; nothing for a single source."""
    if math.isnan(found.concordance):
        return ""
    return (
        f"Agreement of {len(found.counted)} measures: Kendall's W {found.concordance:.2f} (0 none, 1 the same order)."
    )


def ranking_page(found: Ranking) -> Report:
    """Return a ranking as a page."""
    best, e = found.best, found.best.expected
    chance = f"largest class {found.largest_class:.1%}"
    facts = (
        Fact("first", best.name, f"of {len(found.sources)}"),
        Fact("expected accuracy", f"{e.accuracy:.1%}", f"{e.low:.1%} to {e.high:.1%}; {chance}"),
        Fact("samples", f"{found.samples:,}", f"{len(found.classes)} classes"),
    )
    bars = BarPlot(
        "Accuracy to expect", "%", tuple((source.name, 100 * source.expected.accuracy) for source in found.sources)
    )
    pairs = tuple(
        (f"{TITLES[a]} and {TITLES[b]}", "none" if math.isnan(tau) else f"{tau:+.2f}")
        for (a, b), tau in found.taus.items()
    )
    told = Table("Agreement", (Column("measures"), Column("Kendall's tau")), pairs, agreement_told(found))
    notes = tuple((source.name, note) for source in found.sources for note in source.notes)
    sections = [
        Section(
            "Ranking", " ".join(f"{one[0].upper()}{one[1:]}." for one in found.warnings), (ranking_table(found), bars)
        )
    ]
    if pairs:
        sections.append(Section("How far the measures agree", "", (told,)))
    if notes:
        columns = (Column("source", wraps=True), Column("", wraps=True))
        sections.append(Section("Notes", "", (Table("What should be known", columns, notes),)))
    summary = f"{best.name} comes first: {e.accuracy:.1%} to expect, {e.low:.1%} to {e.high:.1%} with 95 % confidence."
    return Report("Which source to start from", summary, facts, tuple(sections))
