"""Drafts of the `lda` head: conjugate gradients give what a factorisation gives, to the digits they promise."""

import numpy as np
import pytest

from acclimate.edge.heads.lda import solve_ridges


@pytest.mark.parametrize("rotated", [True, False], ids=["principal axes", "other coordinates"])
@pytest.mark.parametrize("rank", [8, 60], ids=["singular", "regular"])
def test_it_agrees_with_a_factorisation(rank: int, rotated: bool) -> None:
    """For several ridges and right sides at once, within a thousandth, also where the matrix alone is singular."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(rank, 40)) * np.geomspace(1, 0.05, 40) * 1e3
    matrix = rows.T @ rows
    if rotated:
        axes = np.linalg.eigh(matrix)[1]
        matrix = axes.T @ matrix @ axes
    right = rng.normal(size=(40, 3))
    level = np.trace(matrix) / 40
    ridges = np.array([300, 3, 0.1]) * level
    found = solve_ridges(matrix, ridges, right)
    for solution, ridge in zip(found, ridges, strict=True):
        expected = np.linalg.solve(matrix + ridge * np.eye(40), right)
        assert np.linalg.norm(solution - expected) <= 1e-3 * np.linalg.norm(expected)


def test_a_column_of_zeros_has_the_solution_zero() -> None:
    """A class whose mean lies at the centre does not divide by zero."""
    found = solve_ridges(np.eye(5) * 1e-20, np.array([1e-20, 1.0]), np.zeros((5, 2)))
    assert np.array_equal(found, np.zeros((2, 5, 2)))


def test_a_ridge_is_solved_alike_alone_and_in_company() -> None:
    """What is solved beside it does not change a solution but for rounding."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, 20))
    matrix, right = rows.T @ rows, rng.normal(size=(20, 2))
    together = solve_ridges(matrix, np.array([0.01, 1.0, 1e4]), right)
    alone = solve_ridges(matrix, np.array([1.0]), right)
    assert np.linalg.norm(together[1] - alone[0]) <= 1e-4 * np.linalg.norm(alone[0])
