"""What every measure of a source refuses, and what it takes: one set of cases for all of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from acclimate.edge.choice.expected_accuracy import expected_accuracy
from acclimate.edge.choice.h_score import h_score
from acclimate.edge.choice.logme import logme
from acclimate.edge.choice.scores import transfer_scores
from acclimate.errors import InputError, LabelError

MEASURES: dict[str, Callable[[Any, Any], Any]] = {
    "logme": logme,
    "h_score": h_score,
    "expected accuracy": lambda x, y: expected_accuracy(x, y).accuracy,
    "all scores": lambda x, y: sum(transfer_scores(x, y).values()),
}
X, Y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3


@pytest.fixture(params=MEASURES, ids=list(MEASURES))
def measure(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    """Return each of the measures of latents."""
    return MEASURES[request.param]


def changed(value: float) -> Any:
    """Return the latents with one value exchanged."""
    x = X.copy()
    x[7, 1] = value
    return x


@pytest.mark.parametrize(
    ("latents", "said"),
    [
        (changed(np.nan), "NaN or infinity in row 7"),
        (changed(np.inf), "NaN or infinity in row 7"),
        (changed(1e31), r"latents of at most 1e\+30 in size, found 1e\+31 in row 7"),
        (X[:, 0], r"rows of numbers \(n, d\), found shape \(12,\)"),
        (np.empty((12, 0)), "rows of numbers"),
        (X[:1], "at least 2 rows of latents, found 1"),
        (X.astype(str), "as numbers, found"),
        ([[1.0, 2.0], [1.0]], "as one array"),
    ],
    ids=["nan", "infinity", "huge", "one axis", "no width", "one sample", "texts", "ragged"],
)
def test_what_are_no_latents_is_refused(measure: Callable[[Any, Any], Any], latents: Any, said: str) -> None:
    """The message says what was found, and where."""
    with pytest.raises(InputError, match=said):
        measure(latents, Y)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(12, np.int64), "at least 2 classes, found 1"),
        (Y[:11], r"per sample \(12\)"),
        (Y / 2, "a whole number or a text"),
        (np.eye(3)[Y], "a whole number or a text"),
        (np.array([b"a", b"b", b"c"])[Y], r"found bytes\. Decode them first: numpy\.char\.decode"),
        (np.array([b"a", b"b", b"c"], object)[Y], r"found bytes\. Decode them first"),
    ],
    ids=["one class", "too few", "fractions", "one-hot", "bytes", "objects that are bytes"],
)
def test_what_are_no_labels_is_refused(measure: Callable[[Any, Any], Any], labels: Any, said: str) -> None:
    """Of one class, of another number, or no names of classes."""
    with pytest.raises(LabelError, match=said):
        measure(X, labels)


@pytest.mark.parametrize(
    "latents",
    [
        np.hstack([X, np.ones((12, 2))]),
        np.ones((12, 3)),
        np.repeat(X[:6], 2, axis=0),
        np.tile(X, 10),
        1e6 * X,
        1e-6 * X,
        1e29 * X,
        1e-200 * X,
    ],
    ids=[
        "constant columns",
        "all alike",
        "rows twice",
        "fewer samples than dimensions",
        "large",
        "small",
        "huge",
        "tiny",
    ],
)
def test_what_is_allowed_gets_a_finite_value(measure: Callable[[Any, Any], Any], latents: Any) -> None:
    """Degenerate latents are measured, without a warning of numpy."""
    assert np.isfinite(measure(latents, np.repeat(np.arange(3), 4)))


def test_names_stand_for_classes_as_numbers_do(measure: Callable[[Any, Any], Any]) -> None:
    """In another order of the alphabet."""
    names = np.array(["a", "b", "c"])[Y]
    assert measure(X, names) == pytest.approx(measure(X, Y), abs=1e-12)


def test_scores_of_a_head_come_with_a_head() -> None:
    """Two measures without, four with; a head of another number of samples is refused."""
    assert list(transfer_scores(X, Y)) == ["logme", "h_score"]
    assert list(transfer_scores(X, Y, np.full((12, 5), 0.2))) == ["logme", "h_score", "leep", "nce"]
    with pytest.raises(InputError, match=r"expected probabilities \(12, z\)"):
        transfer_scores(X, Y, np.full((11, 5), 0.2))
