"""Mistakes that `acclimate verify` would see in adapters, fusion, alignment, validation and the choice of a source."""

from importlib import util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("sklearn", reason="acclimate[verify] is not installed")

from acclimate.bundle import LinearLayer
from acclimate.edge.alignment.space import HeadSpace
from acclimate.edge.choice import expected_accuracy
from acclimate.edge.choice.agreement import mean_ranks
from acclimate.edge.head import LinearHead
from acclimate.edge.transfer.concatenation import Concatenation
from acclimate.edge.transfer.label_shift import LabelShift
from acclimate.edge.transfer.late_fusion import equal_weights
from acclimate.server.transfer import validators
from acclimate.server.transfer.lora import Adapters
from acclimate.server.verify import adapters, fusion, identities, left_out, run_checks, source_choice, validation

pytestmark = pytest.mark.needs_torch
Array = NDArray[Any]


def _unmerged(self: Adapters, state: dict[str, Any]) -> dict[str, Any]:
    return {name.replace(".base_layer", ""): one for name, one in state.items() if ".lora_" not in name}


def _of_fewer(parts: list[Array]) -> Concatenation:
    return Concatenation(tuple(x.mean(axis=0) for x in parts), tuple(x.std(axis=0, ddof=1) for x in parts))


def _with_itself(logits: Array, *, temperature: float = 0.05) -> float:
    shares = validators.probabilities(logits)
    directions = shares / np.linalg.norm(shares, axis=1, keepdims=True)
    weights = validators.probabilities(directions @ directions.T / temperature)
    return float(-(weights * np.log(weights)).sum(axis=1).mean())


def _without_the_offset(self: HeadSpace, weight: Array, bias: Array, code: Any) -> LinearLayer:
    change = (weight - self.weight) @ self.projection / code.scale
    return LinearLayer(
        (self.layer.weight + change).astype(np.float32), (self.layer.bias + bias - self.bias).astype(np.float32)
    )


def _greatest_part(self: LinearHead, rows: Array) -> Array:
    merged = np.zeros((len(rows), len(self.ids)), np.float32)
    columns = np.arange(len(self.ids)) if self.columns is None else self.columns
    np.maximum.at(merged.T, columns, rows.T)
    return merged


def _without_ties(table: Array) -> float:
    r, m = np.asarray(table).shape
    total = r * mean_ranks(table)
    return float(12 * ((total - total.mean()) ** 2).sum() / (r**2 * (m**3 - m)))


weights = validators.importance_weights
# The mistake: where a part is replaced, by what, and the method whose check sees it.
MISTAKES: dict[str, tuple[Any, str, Any, str]] = {
    "adapters left out of the merged weights": (Adapters, "merged", _unmerged, "LoRA"),
    "a log pool that is linear": (fusion, "equal_weights", lambda m, pool: equal_weights(m, "linear"), "late fusion"),
    "weights that are not fitted": (fusion, "fit_late", lambda given, y, pool: equal_weights(3, pool), "late fusion"),
    "deviations of n - 1": (fusion, "Concatenation", SimpleNamespace(fit=_of_fewer), "concatenation"),
    "weights inverted": (
        validators,
        "importance_weights",
        lambda *sides, normalised=True: 1 / weights(*sides),
        "importance-weighted validation",
    ),
    "weights inverted, with a control variate": (
        validators,
        "importance_weights",
        lambda *sides, normalised=True: 1 / weights(*sides, normalised=normalised),
        "deep embedded validation",
    ),
    "entropy in bits": (validation, "entropy", lambda logits: validators.entropy(logits) / np.log(2), "entropy"),
    "a sample its own neighbour": (validation, "neighbourhood_density", _with_itself, "soft neighbourhood density"),
    "the way back by one neighbour": (
        validation,
        "reverse_answers",
        lambda *given: validators.reverse_answers(*given, neighbours=1),
        "reverse validation",
    ),
    "a fold that forgets the zero of the codes": (HeadSpace, "fold", _without_the_offset, "alignment"),
    "label shift inverted": (
        LabelShift,
        "correct",
        lambda self, bias: np.asarray(bias) - np.log(self.ratio),
        "label shift",
    ),
    "merged classes by their greatest part": (LinearHead, "_merged", _greatest_part, "merged classes"),
    "ranks from the lowest": (source_choice, "mean_ranks", lambda table: mean_ranks(-table), "rank aggregation"),
    "W without ties": (source_choice, "concordance", _without_ties, "Kendall's W"),
    "folds taken for independent": (expected_accuracy, "_effective", lambda *given: given[-1], "expected accuracy"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mistake in place of the part, a check of that method is off; without it, all of them hold."""
    place, name, wrong, method = MISTAKES[mistake]
    if method == "LoRA":
        pytest.importorskip("peft")
    own = [one for one in identities() if one.method == method]
    assert all(one.holds for one in run_checks(own))
    monkeypatch.setattr(place, name, wrong)
    assert any(not one.holds for one in run_checks(own))


def test_without_peft_adapters_are_told_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checks are not run, and the command says what installs it."""
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else util.find_spec(name))
    assert not [one for one in identities() if one.method == "LoRA"]
    assert left_out() == ("LoRA (pip install 'acclimate[lora]')",)
