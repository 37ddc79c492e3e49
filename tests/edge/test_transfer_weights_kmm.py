"""Kernel mean matching: its losses against another solver's, its certificate, and its kernel in linear memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.edge.transfer.interior_point import minimise
from acclimate.edge.transfer.kernels import gaussian, median_bandwidth
from acclimate.edge.transfer.kmm import EXACT, KMM, RANK, match
from acclimate.edge.transfer.pivoted_cholesky import pivoted_cholesky
from acclimate.edge.transfer.quadratic import Box, descend

Float64 = NDArray[np.float64]


def _sides(n: int, m: int, d: int, seed: int) -> tuple[Float64, Float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.6


@pytest.mark.parametrize("limit", [1_000.0, 2.0])
@pytest.mark.parametrize("d", [1, 3, 30])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_loss_is_that_of_scipys_solver(limit: float, d: int, ridge: float) -> None:
    """SLSQP finds no lower loss, and at best the same; the weights keep to the box and the sum. KMM, by objectives."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy, the oracle, is not installed")
    n, m, slack = 50, 70, 0.1
    source, target = _sides(n, m, d, d)
    bandwidth = median_bandwidth(source, target)
    kernel = gaussian(source, source, bandwidth) + ridge * np.eye(n)
    linear = gaussian(source, target, bandwidth).sum(axis=1) * n / m

    def loss(w: Float64) -> float:
        return float(w @ kernel @ w / 2 - linear @ w)

    other = optimize.minimize(
        loss,
        np.ones(n),
        jac=lambda w: kernel @ w - linear,
        bounds=[(0, limit)] * n,
        constraints=[
            {"type": "ineq", "fun": lambda w: w.sum() - n * (1 - slack), "jac": lambda w: np.ones(n)},
            {"type": "ineq", "fun": lambda w: n * (1 + slack) - w.sum(), "jac": lambda w: -np.ones(n)},
        ],
        method="SLSQP",
        options={"maxiter": 1_000, "ftol": 1e-12},
    )
    found, left_out = match(source, target, bandwidth, limit=limit, slack=slack, ridge=ridge)
    assert left_out <= 1e-7
    assert found.x.min() >= 0
    assert found.gap <= 1e-6 * abs(found.value)
    assert found.x.max() <= limit
    assert n * (1 - slack) * (1 - 1e-9) <= found.x.sum() <= n * (1 + slack) * (1 + 1e-9)
    assert loss(found.x) == pytest.approx(found.value, rel=1e-6)
    assert loss(found.x) <= other.fun + 1e-6 * abs(other.fun)
    assert loss(found.x) == pytest.approx(other.fun, rel=1e-4)


@pytest.mark.parametrize("way", ["descend", "minimise"])
@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 6), st.floats(1.1, 50), st.floats(0.01, 1.5))
def test_certificate_bounds_every_other_point(way: str, seed: int, n: int, r: int, most: float, slack: float) -> None:
    """No point of the set, drawn at random or at a corner, has a loss below the one found less its gap."""
    rng = np.random.default_rng(seed)
    factor, diagonal, linear = rng.normal(size=(n, r)), rng.uniform(0, 0.1, n), rng.normal(size=n)
    box = Box(most, n * max(1 - slack, 0), n * min(1 + slack, (1 + most) / 2))
    if way == "minimise":
        found = minimise(factor, diagonal, linear, box)
        assert found.gap <= 1e-5 * max(abs(found.value), 1e-3)
    else:
        found = descend(lambda x: factor @ (x @ factor) + diagonal * x, linear, box)
    assert box.least_sum * (1 - 1e-9) <= found.x.sum() <= box.most_sum * (1 + 1e-9)
    assert (found.x >= 0).all()
    assert (found.x <= most).all()

    def loss(x: Float64) -> float:
        return float(((x @ factor) ** 2).sum() / 2 + diagonal @ x**2 / 2 - linear @ x)

    assert loss(found.x) == pytest.approx(found.value, rel=1e-9, abs=1e-9)
    for slope in rng.normal(size=(20, n)):
        corner = box.lowest(slope)
        assert box.least_sum - 1e-9 <= corner.sum() <= box.most_sum + 1e-9
        assert (corner >= 0).all()
        assert (corner <= most).all()
        for share in (1.0, 0.5, 0.01):
            other = share * corner + (1 - share) * found.x
            assert loss(other) >= found.value - found.gap - 1e-9 * abs(found.value)


def test_lowest_corner_is_linear_programmings() -> None:
    """The corner that the certificate uses, against scipy's simplex."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy, the oracle, is not installed")
    rng = np.random.default_rng(0)
    for low, high in ((3.0, 5.0), (0.0, 30.0), (9.0, 9.5)):
        slope = rng.normal(size=10)
        answer = optimize.linprog(
            slope, A_ub=[np.ones(10), -np.ones(10)], b_ub=[high, -low], bounds=[(0, 1.5)] * 10, method="highs"
        )
        assert slope @ Box(1.5, low, high).lowest(slope) == pytest.approx(answer.fun, abs=1e-12)


@pytest.mark.parametrize(("n", "most"), [(40, 40), (60, 7), (30, 100)])
def test_pivoted_cholesky_leaves_out_what_it_says(n: int, most: int) -> None:
    """The factor's product has the kernel's diagonal less what is said to be left, and at full rank is the kernel."""
    source, _ = _sides(n, 2, 4, 0)
    kernel = gaussian(source, source, 1.0)
    factor, left, chosen = pivoted_cholesky(lambda row: kernel[:, row], np.ones(n), most, tolerance=1e-14)
    assert factor.shape == (n, min(most, n))
    rest = kernel - factor @ factor.T
    assert np.abs(rest[:, chosen]).max() < 1e-9
    assert np.allclose(np.diag(rest), left, atol=1e-12)
    assert np.linalg.eigvalsh(rest).min() > -1e-9
    if most >= n:
        assert np.abs(rest).max() < 1e-9


def test_pivoted_cholesky_ends_where_the_rank_does() -> None:
    """Rows that are all alike need one column; three different ones, three."""
    for rows in (np.zeros((9, 2)), np.repeat(np.arange(3.0), 4)[:, None]):
        factor, left, _ = pivoted_cholesky(
            lambda row: gaussian(rows, rows[row : row + 1], 1.0)[:, 0],  # noqa: B023
            np.ones(len(rows)),
            9,
        )
        assert factor.shape[1] == len(np.unique(rows))
        assert left.max() < 1e-12


def test_many_rows_take_a_factor_of_bounded_rank() -> None:
    """Above the stated size the loss with the whole kernel is the least to 5e-5: the target is approximated alike."""
    n = 2_000
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(n, 16)), rng.normal(size=(1_000, 16)) + 0.2
    bandwidth = median_bandwidth(source, target)
    kernel = gaussian(source, source, bandwidth) + np.eye(n)
    linear = gaussian(source, target, bandwidth).sum(axis=1) * n / 1_000
    short, left_out = match(source, target, bandwidth, ridge=1.0)
    assert 0.01 < left_out < 0.05
    whole = descend(lambda x: kernel @ x, linear, Box(1_000.0, 0.0, 2.0 * n), tolerance=1e-5)
    assert whole.gap <= 1e-5 * abs(whole.value)
    loss = short.x @ kernel @ short.x / 2 - linear @ short.x
    assert loss == pytest.approx(whole.value, rel=5e-5)


def test_what_is_left_out_is_said() -> None:
    """The note names the rank, the size from which it holds, and the share of the kernel that is not seen."""
    note = KMM().weigh(*_sides(EXACT + 1, 50, 16, 0)).note
    assert f"rank {RANK} since there are over 1,000 source rows: it leaves" in note


def test_smooth_kernels_need_no_approximation_however_many_rows() -> None:
    """In one dimension the kernel's rank is small: nothing is left out, and the note does not say so."""
    source, target = _sides(EXACT * 2, 200, 1, 0)
    assert "rank" not in KMM().weigh(source, target).note


def test_limit_is_counted() -> None:
    """Weights at the limit are counted as clipped."""
    source, target = _sides(200, 200, 1, 0)
    found = KMM(limit=2.0, ridge=0.0, slack=0.01).weigh(source, target)
    assert found.clipped > 0.05
    assert found.weight.max() <= 2.0 / 0.99


def test_ridge_brings_the_weights_nearer_to_the_true_ratio() -> None:
    """N(0, 1) to N(1, 1): the paper's loss leaves weights wild that the ridge calms, at next to no loss."""
    correlations = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        source, target = rng.normal(size=(1_000, 1)), rng.normal(size=(1_000, 1)) + 1
        truth = np.exp(source[:, 0] - 0.5)
        weights = [KMM(ridge=ridge).weigh(source, target).weight for ridge in (0.0, 1.0)]
        correlations.append([np.corrcoef(weight, truth)[0, 1] for weight in weights])
    paper, calm = np.mean(correlations, axis=0)
    # Both are told in docs/transfer.md.
    assert calm == pytest.approx(0.93, abs=0.01)
    assert paper == pytest.approx(0.47, abs=0.02)
