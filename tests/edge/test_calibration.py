"""The expected calibration error against sums by hand."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.calibration import calibration_error
from acclimate.edge.adaptation.report import _calibration
from acclimate.edge.adaptation.selection import cross_validate
from acclimate.errors import InputError


def test_it_is_the_gap_by_hand() -> None:
    """Two bins of five: (.9, .95, .85 with two right) and (.55, .45 with none): |2 - 2.7| / 5 + |0 - 1| / 5."""
    sure = np.array([0.9, 0.95, 0.85, 0.55, 0.45])
    probabilities = np.stack([sure, (1 - sure) / 2, (1 - sure) / 2], axis=1)
    y = np.array([0, 0, 1, 2, 2])
    # In five bins: (.8, 1] holds three samples, (.4, .6] two.
    assert calibration_error(probabilities, y, bins=5) == pytest.approx(0.7 / 5 + 1.0 / 5)
    # In one bin all gaps add up before the size is taken: |2 - 3.7| / 5.
    assert calibration_error(probabilities, y, bins=1) == pytest.approx(1.7 / 5)


def test_a_bin_holds_its_upper_edge() -> None:
    """At a probability of one half, of two bins, the lower one counts it: gaps of opposite sign do not cancel."""
    probabilities = np.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0]])
    assert calibration_error(probabilities, np.array([0, 1]), bins=2) == pytest.approx((0.5 + 0.75) / 2)


def test_honest_probabilities_have_almost_none_and_a_temperature_shows() -> None:
    """Labels drawn from the probabilities themselves leave only noise; sharpened ones have the error they deserve."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 1.5

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    honest = softmax(logits)
    y = (rng.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    assert calibration_error(honest, y) < 0.015
    sharp = softmax(logits * 3)
    expected = sharp.max(axis=1).mean() - (sharp.argmax(axis=1) == y).mean()
    assert calibration_error(sharp, y) == pytest.approx(expected, abs=0.01)
    assert calibration_error(sharp.astype(np.float32), y) == pytest.approx(calibration_error(sharp, y), abs=1e-3)


def test_ends_and_misfits() -> None:
    """Sure and right is 0, sure and wrong 1, a class of none is wrong, no sample is NaN, other shapes are refused."""
    sure = np.eye(3)
    assert calibration_error(sure, np.arange(3)) == 0
    assert calibration_error(sure, np.array([1, 2, 0])) == 1
    assert calibration_error(sure, np.full(3, -1)) == 1
    assert np.isnan(calibration_error(np.empty((0, 3)), np.empty(0, np.int64)))
    with pytest.raises(InputError, match=r"found \(3, 3\), 2 classes and 15 bins"):
        calibration_error(sure, np.arange(2))
    with pytest.raises(InputError, match="0 bins"):
        calibration_error(sure, np.arange(3), bins=0)


def test_a_report_undoes_the_temperature_that_each_sample_had() -> None:
    """Folds may choose settings of other scales: the error without a temperature is that of their own logits."""
    rng = np.random.default_rng(1)
    logits, y = 3 * rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    temperature = np.where(np.arange(200) < 100, 0.1, 20.0)
    temperature[:10] = np.nan

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    shares = softmax(logits / temperature[:, None])
    selection = SimpleNamespace(probabilities=shares, temperature=temperature, best=SimpleNamespace(temperature=0.1))
    candidate: Any = SimpleNamespace(selection=selection, head=SimpleNamespace(classes=np.arange(3)))
    before, after = _calibration(candidate, y)
    assert before == pytest.approx(calibration_error(softmax(logits[10:]), y[10:]))
    assert after == pytest.approx(calibration_error(shares[10:], y[10:]))


def test_the_temperature_of_each_sample_is_that_of_its_fold(blobs: Callable[..., Any]) -> None:
    """One for each fold; none where nothing could be held out."""
    found = cross_validate(blobs(apart=0.7).problem(60))
    for number in range(found.folds):
        (own,) = np.unique(found.temperature[found.fold == number])
        assert own > 0
    alone = cross_validate(blobs().problem(3))
    assert np.isnan(alone.temperature).all()
