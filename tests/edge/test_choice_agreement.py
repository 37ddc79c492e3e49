"""Agreement of rankings against scipy, and combined ranks by hand."""

import itertools

import numpy as np
import pytest

from acclimate.edge.choice.agreement import concordance, kendall_tau, mean_ranks, ranks
from acclimate.errors import InputError


def test_tau_and_ranks_are_those_of_scipy() -> None:
    """With and without ties, over random lists."""
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b = rng.integers(0, 4 + 40 * (seed % 2), (2, 9))
        assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
        np.testing.assert_allclose(ranks(a), stats.rankdata(-a))


def test_tau_by_hand() -> None:
    """The same order, the opposite one, one pair of three exchanged, and a list that is all ties."""
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert np.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))


def test_concordance_is_what_the_mean_of_spearmans_correlations_says() -> None:
    """``(1 + (r - 1) s) / r``, without ties, for 3 to 5 rankings of 7."""
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    for r in (3, 4, 5):
        table = np.random.default_rng(r).normal(size=(r, 7))
        pairs = [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(table, 2)]
        assert concordance(table) == pytest.approx((1 + (r - 1) * np.mean(pairs)) / r, abs=1e-12)


def test_concordance_with_ties_is_friedmans_statistic() -> None:
    """Over ``r (m - 1)``, which scipy corrects for ties, too."""
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    for seed in range(10):
        table = np.random.default_rng(seed).integers(0, 4, (4, 6))
        expected = stats.friedmanchisquare(*table.T).statistic / (4 * 5)
        assert concordance(table) == pytest.approx(expected, abs=1e-12)


def test_concordance_of_equal_rankings_is_1_also_with_ties() -> None:
    """And NaN where nothing is ranked."""
    assert concordance([[1, 2, 2, 5], [10, 20, 20, 30]]) == pytest.approx(1)
    assert np.isnan(concordance([[1, 1, 1], [2, 2, 2]]))


def test_the_combined_rank_is_the_mean_whatever_the_units() -> None:
    """Two measures for the first, one for the second."""
    np.testing.assert_allclose(
        mean_ranks([[3.0, 2.0, 1.0], [1e6, 2e6, 0.0], [0.9, 0.5, 0.5]]), [4 / 3, 5.5 / 3, 8.5 / 3]
    )


@pytest.mark.parametrize("table", [[[1.0, 2.0], [1.0]], [[1.0, np.nan], [1.0, 2.0]], [[1.0], [2.0]], [["a", "b"]] * 2])
def test_what_is_no_table_of_scores_is_refused(table: object) -> None:
    """Rows of other lengths, a score that is missing, a single candidate, texts."""
    with pytest.raises(InputError, match=r"expected .*scores of"):
        concordance(table)  # type: ignore[arg-type]  # that is what is refused
