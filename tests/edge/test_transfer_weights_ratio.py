"""KLIEP, uLSIF and classifier weights against other solvers, brute force and libraries; and the selection of rows."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.edge.transfer import kliep, ulsif
from acclimate.edge.transfer.domain_classifier import DomainClassifier, fit, ratio
from acclimate.edge.transfer.kernels import gaussian
from acclimate.edge.transfer.kliep import KLIEP
from acclimate.edge.transfer.selection import NearestSelection, heaviest, nearest_of_class, nearest_rows
from acclimate.edge.transfer.ulsif import ULSIF
from acclimate.edge.transfer.weighting import bounded
from acclimate.errors import InputError

Float64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def densratio() -> ModuleType:
    """Skip where densratio, the oracle, is not installed."""
    found: ModuleType = pytest.importorskip("densratio", reason="densratio, the oracle, is not installed")
    return found


def _sides(n: int, m: int, d: int, seed: int = 0) -> tuple[Float64, Float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 0.8 + 0.5


def _likelihood(at_target: Float64, coefficient: Float64) -> float:
    return float(np.log(at_target @ coefficient).mean())


@pytest.mark.parametrize(("d", "bandwidth"), [(1, 0.3), (1, 1.0), (4, 1.5)])
def test_kliep_is_at_the_optimum_of_another_solver(d: int, bandwidth: float) -> None:
    """SLSQP on the same likelihood finds none that is greater; the constraint holds to rounding."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy, the oracle, is not installed")
    source, target = _sides(80, 40, d)
    at_target, mean = gaussian(target, target, bandwidth), gaussian(source, target, bandwidth).mean(axis=0)
    found = kliep.fit(at_target, mean, 1e-7)
    other = optimize.minimize(
        lambda a: -_likelihood(at_target, a),
        np.full(40, 1 / mean.sum()),
        jac=lambda a: -(1 / (at_target @ a)) @ at_target / 40,
        bounds=[(0, None)] * 40,
        constraints={"type": "eq", "fun": lambda a: mean @ a - 1, "jac": lambda a: mean},
        method="SLSQP",
        options={"maxiter": 1_000, "ftol": 1e-12},
    )
    assert mean @ found == pytest.approx(1, abs=1e-12)
    assert found.min() >= 0
    assert _likelihood(at_target, found) == pytest.approx(-other.fun, abs=2e-6)


def test_kliep_moves_from_its_start_and_never_down() -> None:
    """The defect of a step too small to move: each further allowance of steps has a greater likelihood, by a lot."""
    source, target = _sides(200, 100, 1)
    at_target, mean = gaussian(target, target, 0.5), gaussian(source, target, 0.5).mean(axis=0)
    values = [_likelihood(at_target, kliep.fit(at_target, mean, tolerance)) for tolerance in (10.0, 1e-1, 1e-3, 1e-6)]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.05


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 8))
def test_kliep_update_is_the_multiplicative_one(seed: int, m: int, b: int) -> None:
    """From even shares, one update is a * A'(1 / (A a)) / (m mean), keeps the constraint and never falls."""
    rng = np.random.default_rng(seed)
    at_target, mean = rng.uniform(0.01, 1, (m, b)), rng.uniform(0.01, 1, b)
    before = np.full(b, 1 / b) / mean
    after = before * (at_target.T @ (1 / (at_target @ before))) / (m * mean)
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(kliep, "_UPDATES", 1)
        patch.setattr(kliep, "_STEPS", 0)
        found = kliep.fit(at_target, mean, -1.0)
    assert np.allclose(found, after, rtol=1e-12)
    assert mean @ after == pytest.approx(1)
    assert _likelihood(at_target, after) >= _likelihood(at_target, before) - 1e-12


def test_kliep_is_densratios(densratio: ModuleType) -> None:
    """With the same kernels its likelihood is densratio's within 1 %, and no lower; densratio stops a little early."""
    source, target = _sides(300, 80, 1)
    other = densratio.densratio(target, source, method="KLIEP", sigma=0.6, kernel_num=80, verbose=False)
    expected = np.asarray(other.compute_density_ratio(source)).ravel()
    found = KLIEP(bandwidth=0.6).weigh(source, target).weight
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    at_target, mean = gaussian(target, target, 0.6), gaussian(source, target, 0.6).mean(axis=0)
    theirs = np.log(np.asarray(other.compute_density_ratio(target)).ravel() / expected.mean()).mean()
    assert theirs - 1e-6 <= _likelihood(at_target, kliep.fit(at_target, mean)) <= theirs * 1.01


def test_kliep_leaves_out_held_out_centres() -> None:
    """In many dimensions a narrow kernel on a held-out row would make it likely: the bandwidth stays wide."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(150, 40)), rng.normal(size=(150, 40))
    note = KLIEP().weigh(source, target).note
    chosen = float(note.split("bandwidth ")[1])
    assert chosen > 0.5 * np.sqrt(2 * 40)


def test_kliep_without_overlap_gives_nothing_to_fit() -> None:
    """Where no source row is near any centre, all coefficients are 0."""
    assert np.array_equal(kliep.fit(np.eye(3), np.zeros(3)), np.zeros(3))


@pytest.mark.parametrize(("sigma", "penalty"), [(0.3, 0.1), (1.0, 0.01), (2.0, 1.0)])
def test_ulsif_is_densratios(densratio: ModuleType, sigma: float, penalty: float) -> None:
    """One linear solve: equal to densratio, to the last digits, with the same kernels and penalty."""
    source, target = _sides(120, 60, 3)
    other = densratio.densratio(
        target, source, method="uLSIF", sigma=sigma, lambda_=penalty, kernel_num=60, verbose=False
    )
    expected = np.asarray(other.compute_density_ratio(source)).ravel()
    found = ULSIF(bandwidth=sigma, penalty=penalty).weigh(source, target).weight
    assert np.allclose(found, expected / expected.mean(), rtol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(12, 9), (9, 12), (2, 2)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_ulsif_left_out_error_is_that_of_refits(n: int, m: int, penalty: float) -> None:
    """The closed form equals fitting anew without each pair."""
    source, target = _sides(n, m, 2)
    at_source, at_target = gaussian(source, target, 0.8), gaussian(target, target, 0.8)
    pairs = min(n, m)
    expected = []
    for i in range(pairs):
        left = ulsif.fit(np.delete(at_source, i, axis=0), np.delete(at_target, pairs - 1 - i, axis=0), penalty)
        expected.append((at_source[i] @ left) ** 2 / 2 - at_target[pairs - 1 - i] @ left)
    rows = np.arange(pairs)
    found = ulsif.left_out_error(at_source, at_target, rows, pairs - 1 - rows, penalty)
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_classifier_weights_are_not_inverted() -> None:
    """The defect of (1 - p) / p: samples that look like the target's weigh more, not less, and p = 3/4 means 3."""
    assert ratio(np.log([3.0]), 10, 10)[0] == pytest.approx(3)
    assert ratio(np.log([3.0]), 20, 10)[0] == pytest.approx(6)
    source, target = _sides(200, 150, 1)
    weight = DomainClassifier().weigh(source, target).weight
    assert np.corrcoef(weight, source[:, 0])[0, 1] > 0.8


def test_classifier_is_scikit_learns(sklearn: ModuleType) -> None:
    """Logistic regression with the same penalty has the same coefficients."""
    from sklearn.linear_model import LogisticRegression

    source, target = _sides(60, 90, 4)
    x, y = np.vstack([source, target]), np.repeat([0, 1], [60, 90])
    square = (x**2).sum() / 150
    for theta, penalty in zip(fit(x, y, np.array([1.0, 1e-3])), (1.0, 1e-3), strict=True):
        other = LogisticRegression(C=1 / (150 * penalty * square), tol=1e-10, max_iter=10_000).fit(x, y)
        assert np.allclose(theta, [*other.coef_[0], other.intercept_[0]], atol=1e-5)


def test_classifier_does_not_judge_what_it_saw() -> None:
    """With more features than samples a fit tells apart all that it saw; held out, it cannot, and does not say so."""
    rng = np.random.default_rng(0)
    found = DomainClassifier().weigh(rng.normal(size=(60, 200)), rng.normal(size=(60, 200)))
    assert float(found.note.split("loss ")[1].split(" nats")[0]) > 0.6
    assert found.effective_size > 45


def test_classifier_cuts_the_greatest_weights() -> None:
    """Above the root of n times the mean a weight is cut, and counted."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(400, 1)), rng.normal(size=(400, 1)) + 4
    found = DomainClassifier(penalty=1e-4).weigh(source, target)
    assert found.clipped > 0
    assert found.effective_size >= 20 * (1 - 1e-9)


def test_nearest_rows_are_those_of_brute_force() -> None:
    """The union of each target row's nearest, row by row."""
    source, target = _sides(50, 8, 3)
    expected = {int(i) for row in target for i in np.argsort(((source - row) ** 2).sum(axis=1))[:4]}
    assert nearest_rows(source, target, 4).tolist() == sorted(expected)
    assert nearest_rows(np.zeros((5, 1)), np.ones((2, 1)), 1).tolist() == [0, 1, 2, 3, 4]


def test_selection_takes_more_neighbours_where_too_few_rows_are_kept() -> None:
    """One target region near few rows: neighbours double until the bound is reached, and the note says so."""
    source, _ = _sides(400, 2, 2)
    found = NearestSelection(neighbours=1).weigh(source, np.full((3, 2), 0.2))
    assert found.effective_size >= 20
    assert np.count_nonzero(found.weight) == found.effective_size
    assert "neighbours instead of 1" in found.note
    assert np.unique(found.weight).size == 2


def test_selection_within_a_class_leaves_other_labels_out() -> None:
    """Mislabelled rows in the target's neighbourhood go; classes that one side lacks are named."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    source = rng.normal(size=(60, 2)) * 0.1 + labels[:, None]
    wrong = labels.copy()
    wrong[:5] = 1
    target, wanted = np.repeat([[0.0, 0.0], [1.0, 1.0]], 3, axis=0), np.repeat([0, 1], 3)
    rows, missing = nearest_of_class(source, wrong, target + rng.normal(size=(6, 2)) * 0.01, wanted, neighbours=15)
    assert missing == (2,)
    assert set(rows) <= set(range(5, 40))
    assert (wrong[rows] == labels[rows]).all()
    with pytest.raises(InputError, match="share classes"):
        nearest_of_class(source, labels, target, wanted + 7)
    with pytest.raises(InputError, match="at least 1 neighbour"):
        nearest_of_class(source, labels, target, wanted, neighbours=0)


def test_heaviest_rows_are_kept() -> None:
    """The greatest weights, ascending by row; equal ones together."""
    weights = bounded(np.array([1.0, 5.0, 3.0, 3.0]))
    assert heaviest(weights, 0.25).tolist() == [1]
    assert heaviest(weights, 0.5).tolist() == [1, 2, 3]
    assert heaviest(weights, 1.0).tolist() == [0, 1, 2, 3]
    for share in (0.0, 1.1):
        with pytest.raises(InputError, match="share above 0"):
            heaviest(weights, share)
