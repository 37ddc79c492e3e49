"""What became of an adaptation without labels, as a part of a report."""

from ..report import Cell, Column, Section, Table
from ..training.settings import ADAPTATION
from .folder import RunFolder

# Scores of a verdict, and how each is told.
_SCORES = {
    "accuracy": ("labelled samples of the target that are right", ".1%"),
    "way_back": ("labels of the source that follow from the answers in the target", ".1%"),
    "entropy": ("entropy of the answers in the target, in nats", ".3f"),
    "density": ("density of neighbourhoods in the target", ".3f"),
}


def adaptation_section(run: RunFolder) -> Section | None:
    """Return the part of a report on what the guard decided; None for a run that does not adapt."""
    objective = run.config.get("objective", {})
    if objective.get("name") not in ADAPTATION:
        return None
    note = "Validation samples are of the source: their scores tell nothing of the target."
    verdict = run.verdict
    if verdict is None:
        state = "has not judged yet" if objective.get("guard", True) else "was switched off"
        if objective.get("adaptation_weight") == 0:
            state = "had nothing to judge: objective.adaptation_weight is 0"
        return Section("Adaptation", f"The guard {state}. {note}")
    if verdict.kept:
        text = f"The adapted model is kept. {verdict.reason} {note}"
    else:
        text = (
            f"The adapted model was refused: the weights of the run, and the scores on this page, are those of the "
            f"model trained on the source alone. Curves are those of the adapted one, whose weights are in adapted/. "
            f"{verdict.reason} {note}"
        )
    rows: list[tuple[Cell, ...]] = []
    for name, (told, form) in _SCORES.items():
        before, after = verdict.scores.get(f"source_only_{name}"), verdict.scores.get(f"adapted_{name}")
        if before is not None and after is not None:
            rows.append((told, format(before, form), format(after, form)))
    columns = (Column("what", wraps=True), Column("source alone"), Column("adapted"))
    return Section("Adaptation", text, (Table("Both models in the target", columns, tuple(rows)),) if rows else ())
