"""The guard of regression heads, on planted errors."""

import re

import numpy as np
import pytest

from acclimate.edge.regression.guard import judge

UNITS = np.arange(40)


def made(error: float, seed: int = 1, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and predictions that are off by so much."""
    draw = np.random.default_rng(seed)
    y = 3 * draw.normal(size=(n, 1))
    return y, y + error * draw.normal(size=(n, 1))


def test_smaller_errors_are_accepted_and_larger_ones_rejected() -> None:
    """And the other way round, with the change of the error in the reason."""
    y, good = made(0.5)
    bad = y + 2 * np.random.default_rng(2).normal(size=y.shape)
    found = judge(y, good, bad, UNITS, y.var(axis=0))
    assert found.verdict == "accepted"
    assert found.better <= 0.1
    assert re.search(r"its root mean squared error falls by \d\d%: more than chance explains", found.reason)
    worse = judge(y, bad, good, UNITS, y.var(axis=0))
    assert worse.verdict == "rejected"
    assert "its root mean squared error rises by" in worse.reason


def test_what_is_no_better_than_the_mean_is_rejected() -> None:
    """Also where it is better than the head in use, as with labels that mean nothing: the reason says why."""
    y, _ = made(0.5)
    draw = np.random.default_rng(3)
    guess, current = 0.1 * draw.normal(size=y.shape), 3 * draw.normal(size=y.shape)
    found = judge(y, guess, current, UNITS, y.var(axis=0))
    assert found.better <= 0.1
    assert found.verdict == "rejected"
    assert "do not follow from the samples" in found.reason
    assert judge(y, guess, None, UNITS, y.var(axis=0)).verdict == "rejected"


def test_without_a_head_before_what_explains_the_labels_is_accepted() -> None:
    """There is nothing to compare with but the mean."""
    y, good = made(0.5)
    found = judge(y, good, None, UNITS, y.var(axis=0))
    assert found.verdict == "accepted"
    assert np.isnan(found.better)


def test_three_samples_are_not_enough() -> None:
    """Of three units the best outcome is one of eight: more likely by chance than the risk."""
    y, good = made(0.01, n=3)
    assert judge(y, good, y + 5, UNITS[:3], y.var(axis=0)).verdict == "insufficient"


def test_samples_of_one_unit_are_one_piece_of_evidence() -> None:
    """A single burst of forty frames shows as little as three samples do."""
    y, good = made(0.5)
    units = np.minimum(np.arange(40), 2)
    found = judge(y, good, y + 2, units, y.var(axis=0))
    assert (found.verdict, found.units) == ("insufficient", 3)


@pytest.mark.parametrize("n", [8, 40])
def test_a_head_that_is_no_better_is_seldom_called_so(n: int) -> None:
    """Equal errors are accepted no more often than the stated risk, over 200 draws, with three errors of leeway."""
    accepted = 0
    for seed in range(200):
        y, one = made(1.0, seed, n)
        other = y + np.random.default_rng((seed, 1)).normal(size=y.shape)
        accepted += judge(y, one, other, UNITS[:n], y.var(axis=0)).verdict == "accepted"
    assert accepted / 200 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 200)


def test_samples_count_by_their_weights() -> None:
    """Better on one half and worse on the other: the half that counts decides."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=(200, 1))
    first = np.arange(200) < 100
    good, bad = y + 0.1 * rng.normal(size=y.shape), y + 0.5 * rng.normal(size=y.shape)
    candidate, current = np.where(first[:, None], good, bad), np.where(first[:, None], bad, good)
    for counts, verdict in ((first, "accepted"), (~first, "rejected")):
        weight = np.where(counts, 1.0, 0.01)
        assert judge(y, candidate, current, np.arange(200), np.ones(1), weight).verdict == verdict


def test_a_gain_on_one_target_does_not_pay_for_harm_to_another() -> None:
    """The mean over both falls; the one that rises is named, and the same candidate with it kept is accepted."""
    y, good = made(0.5)
    other, kept = made(0.5, 5)
    bad = y + 3 * np.random.default_rng(2).normal(size=y.shape)
    both, current = np.hstack([y, other]), np.hstack([bad, kept])
    worse = other + 0.8 * np.random.default_rng(3).normal(size=other.shape)
    harmful = judge(both, np.hstack([good, worse]), current, UNITS, both.var(axis=0), None, ("depth", "angle"))
    assert harmful.better <= 0.1
    assert harmful.verdict == "rejected"
    assert harmful.reason.startswith("It harms angle: its root mean squared error rises by")
    assert judge(both, np.hstack([good, kept]), current, UNITS, both.var(axis=0)).verdict == "accepted"


@pytest.mark.parametrize(("n", "verdict"), [(40, "rejected"), (8, "insufficient")])
def test_every_target_must_follow_from_the_samples(n: int, verdict: str) -> None:
    """Labels of one target mean nothing: however well the other is learnt, and worse as its old head fits them."""
    y, good = made(0.3, n=n)
    noise = np.random.default_rng(9).normal(size=y.shape)
    both, current = np.hstack([y, noise]), np.hstack([y + 3, 3 * np.random.default_rng(6).normal(size=y.shape)])
    # With eight, a little better than their mean by chance: better on half of them and a little less worse on the rest.
    apart = noise - noise.mean()
    rank = np.abs(apart).argsort(axis=0).argsort(axis=0)
    guess = noise.mean() + apart * np.where(rank % 2, 0.1, -0.05) * (n < 20)
    found = judge(both, np.hstack([good, guess]), current, UNITS[:n], both.var(axis=0), None, ("depth", "angle"))
    assert found.better <= 0.1
    assert found.verdict == verdict
    assert "the labels of angle" in found.reason


def test_a_target_that_is_left_as_it_was_blocks_no_other() -> None:
    """Hardly learnable before and after: the other one, which gains, is accepted."""
    y, good = made(0.3)
    noise = np.random.default_rng(9).normal(size=y.shape)
    weak = np.full_like(y, noise.mean()) + 0.01 * np.random.default_rng(6).normal(size=y.shape)
    both = np.hstack([y, noise])
    found = judge(both, np.hstack([good, weak]), np.hstack([y + 3, weak]), UNITS, both.var(axis=0))
    assert found.verdict == "accepted"
