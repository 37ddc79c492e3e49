"""Transfer components against the generalised eigenproblem that defines them."""

from typing import Any

import numpy as np
import pytest

from acclimate.edge.transfer import components
from acclimate.edge.transfer.components import Components, primal_components, transfer_components
from acclimate.edge.transfer.kernels import gaussian, median_bandwidth
from acclimate.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]
RNG = np.random.default_rng(0)
SOURCE = RNG.normal(size=(30, 5)) @ RNG.normal(size=(5, 5))
TARGET = RNG.normal(size=(22, 5)) @ RNG.normal(size=(5, 5)) + 0.7
POOLED = np.concatenate([SOURCE, TARGET])
MU = 0.3


def problem(kernel: Array, mu: float = MU) -> tuple[Array, Array]:
    """Return K H K and K L K + mu I as they are written in the paper."""
    n, whole = len(SOURCE), len(POOLED)
    centring = np.eye(whole) - 1 / whole
    e = np.r_[np.full(n, 1 / n), np.full(whole - n, -1 / (whole - n))][:, None]
    return kernel @ centring @ kernel, kernel @ (e @ e.T) @ kernel + mu * np.eye(whole)


def fits(found: Components, a: Array, b: Array) -> None:
    """Check that eigenvalues and eigenvectors solve ``a w = v b w``, and are orthogonal under both."""
    w, scale = found.coefficients, np.abs(a).max()
    np.testing.assert_allclose(a @ w, b @ w * found.values, atol=1e-9 * scale)
    for matrix in (a, b):
        products = w.T @ matrix @ w
        np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-9 * scale)
    assert (np.diff(found.values) <= 0).all()


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_generalised_eigenproblem(kernel: Any) -> None:
    """Components solve K H K w = v (K L K + mu I) w; the paper's constraint W^T K H K W = I holds where asked for."""
    values = POOLED @ POOLED.T if kernel == "linear" else gaussian(POOLED, POOLED, median_bandwidth(SOURCE, TARGET))
    a, b = problem(values)
    for scale in ("unit", "variance"):
        found = transfer_components(SOURCE, TARGET, 4, kernel=kernel, mu=MU, scale=scale)
        fits(found, a, b)
        if scale == "unit":
            np.testing.assert_allclose(np.linalg.norm(found.coefficients, axis=0), 1, rtol=1e-10)
        else:
            np.testing.assert_allclose(found.coefficients.T @ a @ found.coefficients, np.eye(4), atol=1e-8)
        np.testing.assert_allclose(found.project(POOLED), values @ found.coefficients, atol=1e-8 * np.abs(values).max())


def test_not_a_symmetric_solver_on_a_matrix_that_is_not_symmetric() -> None:
    """The subspace is that of the generalised problem, degrees away from `eigh` of the non-symmetric product.

    The defect measured elsewhere gives ``(I + mu K L K)^-1 K H K`` to a solver that reads one triangle of it.
    """
    linalg = pytest.importorskip("scipy.linalg")
    a, b = problem(POOLED @ POOLED.T)
    right = linalg.eigh(a, b)[1][:, ::-1][:, :3]
    wrong = np.linalg.eigh(np.linalg.solve(b, a))[1][:, ::-1][:, :3]
    found = transfer_components(SOURCE, TARGET, 3, mu=MU).coefficients
    assert np.degrees(linalg.subspace_angles(found, right).max()) < 1e-4
    assert np.degrees(linalg.subspace_angles(wrong, right).max()) > 2


@pytest.mark.parametrize("normalised", [False, True])
def test_primal_form(normalised: bool) -> None:
    """Directions solve X^T H X w = v (X^T L X + mu I) w; so do scipy's."""
    n, whole = len(SOURCE), len(POOLED)
    e = np.r_[np.full(n, 1 / n), np.full(whole - n, -1 / (whole - n))][:, None]
    contrast = e @ e.T
    if normalised:
        contrast = contrast / np.linalg.norm(contrast)
    a = POOLED.T @ (np.eye(whole) - 1 / whole) @ POOLED
    b = POOLED.T @ contrast @ POOLED + MU * np.eye(5)
    found = primal_components(SOURCE, TARGET, 3, mu=MU, normalised=normalised)
    fits(found, a, b)
    np.testing.assert_allclose(found.project(TARGET), TARGET @ found.weight)
    linalg = pytest.importorskip("scipy.linalg")
    np.testing.assert_allclose(found.values, linalg.eigh(a, b)[0][::-1][:3], rtol=1e-9)


def test_linear_kernel_by_features_is_that_by_samples() -> None:
    """More features than samples or fewer: values agree with scipy's on the whole problem."""
    linalg = pytest.importorskip("scipy.linalg")
    wide = RNG.normal(size=(52, 90))
    for pooled in (POOLED, wide):
        a, b = problem(pooled @ pooled.T)
        found = transfer_components(pooled[:30], pooled[30:], 4, mu=MU)
        np.testing.assert_allclose(found.values, linalg.eigh(a, b)[0][::-1][:4], rtol=1e-8)


def test_mu_is_the_journal_papers() -> None:
    """A greater mu weighs size, a smaller one the discrepancy: it vanishes between the projected means."""
    gaps = []
    for mu in (1e6, 1e-6):
        found = transfer_components(SOURCE, TARGET, 2, mu=mu, scale="variance")
        gaps.append(np.linalg.norm(found.project(SOURCE).mean(axis=0) - found.project(TARGET).mean(axis=0)))
    assert gaps[1] < 1e-3 * gaps[0]


def test_landmarks_are_exact_when_all_are_taken() -> None:
    """With every sample as a landmark the components are those of the whole kernel; fewer come near."""
    exact = transfer_components(SOURCE, TARGET, 3, kernel="gaussian", mu=MU)
    allowed = transfer_components(SOURCE, TARGET, 3, kernel="gaussian", mu=MU, landmarks=len(POOLED))
    np.testing.assert_allclose(allowed.values, exact.values, rtol=1e-6)
    fresh = RNG.normal(size=(6, 5))
    signs = np.sign((exact.project(POOLED) * allowed.project(POOLED)).sum(axis=0))
    np.testing.assert_allclose(allowed.project(fresh) * signs, exact.project(fresh), atol=1e-5)
    few = transfer_components(SOURCE, TARGET, 3, kernel="gaussian", mu=MU, landmarks=25, seed=1)
    np.testing.assert_allclose(few.values, exact.values, rtol=0.35)


def test_many_samples_stand_on_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the stated size landmarks are taken without being asked for, seeded."""
    monkeypatch.setattr(components, "EXACT_ROWS", 40)
    monkeypatch.setattr(components, "LANDMARKS", 20)
    found = transfer_components(SOURCE, TARGET, 3, kernel="gaussian", seed=2)
    assert len(found.weight) <= 20
    again = transfer_components(SOURCE, TARGET, 3, kernel="gaussian", seed=2)
    np.testing.assert_array_equal(found.project(TARGET), again.project(TARGET))


def test_rank_bounds_the_components() -> None:
    """Duplicated rows and constant features leave as many components as there are directions."""
    line = np.arange(10.0)[:, None] * [[1.0, 2.0, 0.0]] + [[0.0, 0.0, 7.0]]
    found = transfer_components(np.repeat(line, 2, axis=0), line + 0.5 * line, 5)
    assert 1 <= len(found.values) <= 2
    assert np.isfinite(found.project(line)).all()
    assert len(primal_components(line, 2 * line, 5).values) <= 2


def test_bad_input_is_refused() -> None:
    """Rows all alike, arguments out of range and new samples of another width."""
    same = np.full((6, 3), 4.0)
    for kernel in ("linear", "gaussian"):
        with pytest.raises(InputError, match="samples that vary"):
            transfer_components(same, same, 2, kernel=kernel)
    with pytest.raises(InputError, match="samples that vary"):
        primal_components(same, same, 2)
    for bad, said in (
        ({"count": 0}, "at least 1 component"),
        ({"mu": 0.0}, "mu above 0"),
        ({"kernel": "cubic"}, "'linear' or 'gaussian'"),
        ({"scale": "other"}, "'unit' or 'variance'"),
        ({"kernel": "gaussian", "bandwidth": -1.0}, "bandwidth above 0"),
        ({"kernel": "gaussian", "landmarks": 0}, "at least 1 landmark"),
    ):
        with pytest.raises(InputError, match=said):
            transfer_components(SOURCE, TARGET, **{"count": 2, **bad})  # type: ignore[arg-type]
    for kernel in ("linear", "gaussian"):
        found = transfer_components(SOURCE, TARGET, 2, kernel=kernel)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="samples of 5 features, found 4"):
            found.project(np.zeros((2, 4)))
