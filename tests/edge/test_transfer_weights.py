"""What every weigher of source samples keeps to: known ratios, bounds, invariances, and answers to bad input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.edge.transfer.domain_classifier import DomainClassifier
from acclimate.edge.transfer.kliep import KLIEP
from acclimate.edge.transfer.kmm import KMM
from acclimate.edge.transfer.selection import NearestSelection
from acclimate.edge.transfer.ulsif import ULSIF
from acclimate.edge.transfer.weighting import Weigher, bounded, effective_size, least_size, weigh_sources
from acclimate.errors import InputError

Float64 = NDArray[np.float64]
RATIOS: tuple[Weigher, ...] = (KMM(), KLIEP(), ULSIF(), DomainClassifier())
ALL: tuple[Weigher, ...] = (*RATIOS, NearestSelection())
every = pytest.mark.parametrize("weigher", ALL, ids=lambda one: one.name)


def _sides(n: int, m: int, d: int, shift: float, seed: int) -> tuple[Float64, Float64]:
    """Unit normal samples; the target's first feature is shifted."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(m, d))
    target[:, 0] += shift
    return rng.normal(size=(n, d)), target


@pytest.mark.parametrize("weigher", RATIOS, ids=lambda one: one.name)
@pytest.mark.parametrize("shift", [0.4, 0.8])
def test_weights_are_those_of_shifted_normals(weigher: Weigher, shift: float) -> None:
    """N(0, 1) to N(m, 1): w = exp(m x - m^2 / 2), so E[w^2] = exp(m^2), and the weighted mean is m."""
    found = []
    for seed in range(3):
        source, target = _sides(1_000, 1_000, 1, shift, seed)
        weight = weigher.weigh(source, target).weight
        truth = np.exp(shift * source[:, 0] - shift**2 / 2)
        found.append((np.corrcoef(weight, truth)[0, 1], (weight**2).mean(), (weight * source[:, 0]).mean()))
        assert weight.mean() == pytest.approx(1, abs=1e-9)
    correlation, square, mean = np.mean(found, axis=0)
    assert correlation > 0.85
    assert square == pytest.approx(np.exp(shift**2), rel=0.25)
    assert mean == pytest.approx(shift, abs=0.1)


@pytest.mark.parametrize("weigher", RATIOS, ids=lambda one: one.name)
def test_weights_without_a_shift_are_even(weigher: Weigher) -> None:
    """Two samples of one distribution: hardly any effective size is lost."""
    source, target = _sides(500, 400, 3, 0.0, 0)
    assert weigher.weigh(source, target).effective_size > 350


@every
@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(2, 25), st.integers(1, 6))
def test_weights_are_a_distribution(weigher: Weigher, seed: int, n: int, m: int, d: int) -> None:
    """At least 0, mean 1, an effective size that is what it says and keeps its bound; the same each time."""
    source, target = _sides(n, m, d, 1.0, seed)
    found = weigher.weigh(source, target)
    assert found.weight.shape == (n,)
    assert found.weight.dtype == np.float64
    assert (found.weight >= 0).all()
    assert found.weight.mean() == pytest.approx(1)
    assert found.effective_size == pytest.approx(effective_size(found.weight))
    assert least_size(n) * (1 - 1e-9) <= found.effective_size <= n * (1 + 1e-9)
    assert 0 <= found.clipped <= 1
    assert np.array_equal(found.weight, weigher.weigh(source, target).weight)


@every
@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_weights_follow_their_rows(weigher: Weigher, seed: int) -> None:
    """Shuffled samples have the shuffled weights, on both sides, so the order in which samples came decides nothing."""
    source, target = _sides(40, 110, 3, 0.7, seed)
    rng = np.random.default_rng(seed)
    rows, others = rng.permutation(40), rng.permutation(110)
    weight = weigher.weigh(source, target).weight
    assert np.allclose(weigher.weigh(source[rows], target[others]).weight, weight[rows], rtol=0.02, atol=2e-3)


@every
@settings(max_examples=5)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 0.5, 64.0]), st.floats(-50, 50))
def test_weights_do_not_change_with_units(weigher: Weigher, seed: int, scale: float, shift: float) -> None:
    """Shifting and scaling both sides alike changes nothing: the bandwidths are shares of the median distance."""
    source, target = _sides(40, 50, 2, 0.7, seed)
    weight = weigher.weigh(source, target).weight
    moved = weigher.weigh(source * scale + shift, target * scale + shift).weight
    assert np.allclose(moved, weight, rtol=0.02, atol=2e-3)


@every
@pytest.mark.parametrize(
    "make",
    [
        lambda: _sides(15, 12, 200, 1.0, 0),
        lambda: (
            np.pad(_sides(40, 30, 2, 0.5, 1)[0], ((0, 0), (0, 3))),
            np.pad(_sides(40, 30, 2, 0.5, 1)[1], ((0, 0), (0, 3))),
        ),
        lambda: (np.repeat(_sides(8, 6, 2, 0.5, 2)[0], 5, axis=0), np.repeat(_sides(8, 6, 2, 0.5, 2)[1], 5, axis=0)),
        lambda: (np.full((9, 3), 0.1), np.full((7, 3), 0.1)),
        lambda: (np.zeros((9, 3)), np.ones((7, 3))),
        lambda: _sides(2, 2, 4, 0.0, 3),
        lambda: _sides(2, 300, 2, 0.0, 4),
        lambda: _sides(300, 2, 2, 0.0, 5),
        lambda: (_sides(50, 40, 2, 0.0, 6)[0], _sides(50, 40, 2, 1e4, 6)[1]),
        lambda: (_sides(50, 40, 2, 0.0, 7)[0] * 1e-150, _sides(50, 40, 2, 1.0, 7)[1] * 1e-150),
        lambda: (_sides(50, 40, 2, 0.0, 8)[0] * 1e100, _sides(50, 40, 2, 1.0, 8)[1] * 1e100),
    ],
    ids=[
        "fewer rows than features",
        "constant features",
        "duplicated rows",
        "all rows alike",
        "two different points",
        "two rows a side",
        "two source rows",
        "two target rows",
        "far apart",
        "tiny numbers",
        "huge numbers",
    ],
)
def test_hard_input_has_weights(weigher: Weigher, make: Callable[[], tuple[Float64, Float64]]) -> None:
    """Kernels of rank one, tiny sides, no overlap: finite weights of mean 1 that have not collapsed; no warning."""
    source, target = make()
    found = weigher.weigh(source, target)
    assert np.isfinite(found.weight).all()
    assert (found.weight >= 0).all()
    assert found.weight.mean() == pytest.approx(1)
    assert found.effective_size >= least_size(len(source)) * (1 - 1e-9)


@every
def test_rows_that_are_alike_weigh_alike(weigher: Weigher) -> None:
    """Where all rows are one point, the weights are all 1."""
    assert np.allclose(weigher.weigh(np.full((9, 3), 0.1), np.full((7, 3), 0.1)).weight, 1)


@every
@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 2)), "one width"),
        (np.array([[0.0], [np.nan]]), np.zeros((5, 1)), "finite source"),
        (np.zeros((5, 1)), np.array([[0.0], [np.inf]]), "finite target"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 source"),
        (np.zeros((5, 3)), np.zeros((0, 3)), "at least 2 target"),
        (np.zeros(5), np.zeros((5, 1)), "shape"),
    ],
)
def test_bad_input_is_refused(weigher: Weigher, source: Float64, target: Float64, message: str) -> None:
    """The error says which side and what to do."""
    with pytest.raises(InputError, match=message):
        weigher.weigh(source, target)


@pytest.mark.parametrize(
    "make",
    [
        lambda: KMM(limit=1.0),
        lambda: KMM(slack=0.0),
        lambda: KMM(ridge=-1.0),
        lambda: KMM(bandwidth=0.0),
        lambda: KLIEP(centres=1),
        lambda: KLIEP(folds=1),
        lambda: KLIEP(bandwidth=-1.0),
        lambda: ULSIF(centres=0),
        lambda: ULSIF(penalty=0.0),
        lambda: ULSIF(bandwidth=float("nan")),
        lambda: DomainClassifier(penalty=-1.0),
        lambda: DomainClassifier(folds=1),
        lambda: NearestSelection(neighbours=0),
        *(lambda kind=kind: kind(least_share=1.5) for kind in (KMM, KLIEP, ULSIF, DomainClassifier, NearestSelection)),
    ],
)
def test_bad_settings_are_refused(make: Callable[..., Any]) -> None:
    """When they are made, before any work."""
    with pytest.raises(InputError, match="expected"):
        make()


def test_collapsed_weights_are_flattened_to_the_bound() -> None:
    """All weight on one of 400 samples: a power brings the effective size to the root of n, and the note says so."""
    raw = np.full(400, 1e-6)
    raw[7], raw[9] = 1.0, 0.0
    found = bounded(raw)
    assert found.effective_size == pytest.approx(20, rel=1e-6)
    assert 0 < found.power < 1
    assert "collapsed on 1.0 effective" in found.note
    assert found.weight[7] == found.weight.max()
    assert found.weight[9] == found.weight.min()
    assert found.weight.mean() == pytest.approx(1)
    assert bounded(raw, least_share=0.5).effective_size == pytest.approx(200, rel=1e-6)


def test_weights_above_the_bound_stay_as_they_were_found() -> None:
    """Only their scale changes."""
    raw = np.arange(1.0, 101.0)
    found = bounded(raw)
    assert found.power == 1
    assert found.note == ""
    assert np.allclose(found.weight, raw / raw.mean(), rtol=1e-15)
    assert found.effective_size == pytest.approx(raw.sum() ** 2 / (raw**2).sum())


def test_no_weight_at_all_becomes_even() -> None:
    """Where the target resembles no source sample, none is preferred, and the note says why."""
    found = bounded(np.zeros(5))
    assert np.array_equal(found.weight, np.ones(5))
    assert "no source sample resembles the target" in found.note


@every
def test_several_sources_share_the_weight(weigher: Weigher) -> None:
    """The source that resembles the target gets most; parts are cut from the weights of all, in their order."""
    near, target = _sides(120, 100, 2, 0.0, 0)
    far = _sides(80, 2, 2, 0.0, 1)[0] + 6
    found, (far_part, near_part) = weigh_sources(weigher, [far, near], target)
    assert np.array_equal(np.concatenate([far_part, near_part]), found.weight)
    assert far_part.shape == (80,)
    assert found.weight.mean() == pytest.approx(1)
    assert near_part.sum() > 0.9 * found.weight.sum()


def test_no_source_is_refused() -> None:
    """An empty list has no samples to weigh; a source of another width is named by the same error as alone."""
    with pytest.raises(InputError, match="at least one source"):
        weigh_sources(ULSIF(), [], np.zeros((3, 1)))
    with pytest.raises(InputError, match="one width"):
        weigh_sources(ULSIF(), [np.zeros((3, 1)), np.zeros((3, 2))], np.zeros((3, 1)))
