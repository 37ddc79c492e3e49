"""What advice says: a method or none, why, and what it rests on."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

_DIGITS = 9
Basis = Literal["labels", "validators"]
Harm = Literal["excluded", "shown", "not excluded", "unknown"]


@dataclass(frozen=True)
class Candidate:
    """One method on this pair.

    Args:
        name: The method.
        family: What it transfers by; ``"none"`` for the target alone.
        accuracy: Share of right answers on held-out labelled target samples, 0 to 1; None where there are too few.
        low: Lower end of its 95 % interval (Wilson), or None.
        high: Upper end, or None.
        brier: Mean Brier score on the same samples, 0 to 1, the less the better, at a temperature that other samples
            tell, or None.
        way_back: Share of the source's labels that follow from the method's answers in the target, which needs no
            label there; None where labels decided.
        why_not: Why it was not compared; empty if it was.
    """

    name: str
    family: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    brier: float | None = None
    way_back: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Shift:
    """How source and target differ in their features.

    Args:
        statistic: Squared kernel discrepancy.
        p_value: Of the permutation test.
        shifted: Whether it found a shift at its level.
        level: That level.
    """

    statistic: float
    p_value: float
    shifted: bool
    level: float


@dataclass(frozen=True)
class Advice:
    """What to do with a source for a target.

    Args:
        recommended: Name of a method, or None: do not transfer.
        why: In sentences, with numbers.
        basis: ``"labels"``: cross-validation on the target's labelled samples; ``"validators"``: these were too few.
        harm: Negative transfer, of pooling both sides as they are: ``"excluded"`` by the bound, ``"shown"`` (worse than
            the target alone, beyond chance), ``"not excluded"``, or ``"unknown"`` without labels to tell.
        gain: Held-out Brier score that the choice gains on the target alone, or None.
        gain_low: Its lower bound, 95 %, or None.
        gain_high: Its upper bound, or None.
        accuracy_gain: Share of right answers that it gains, held out, or None.
        related: p-value of the source's labels having something to do with the target's, or None.
        home_accuracy: Cross-validated accuracy of the source's classifier on the source.
        shift: How features differ.
        classes: Their names.
        source_counts: Samples of each in the source.
        target_counts: Labelled samples of each in the target.
        unlabelled: Samples of the target without a label.
        mix: Estimated share of each class in the target, or None.
        width: Number of features.
        candidates: The methods, the best first.
        notes: What was left out or changed, and what to look at.
    """

    recommended: str | None
    why: tuple[str, ...]
    basis: Basis
    harm: Harm
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    accuracy_gain: float | None
    related: float | None
    home_accuracy: float
    shift: Shift | None
    classes: tuple[str, ...]
    source_counts: tuple[int, ...]
    target_counts: tuple[int, ...]
    unlabelled: int
    mix: tuple[float, ...] | None
    width: int
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, numbers to nine digits: beyond these, the order of sums decides."""
        found: dict[str, Any] = _rounded(asdict(self))
        return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
