"""What to label next: uncertainty by hand and against scikit-activeml, k-centre against brute force."""

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.suggest import STRATEGIES, Strategy, suggest
from acclimate.errors import InputError

# The rows for which scikit-activeml 1.0.1 was asked (`uncertainty_scores`), most uncertain first.
CHANCES = np.array(
    [
        [0.27, 0.49, 0.24],
        [0.17, 0.51, 0.32],
        [0.88, 0.11, 0.01],
        [0.10, 0.09, 0.81],
        [0.48, 0.48, 0.04],
        [0.33, 0.29, 0.38],
        [0.58, 0.28, 0.14],
        [0.01, 0.40, 0.59],
        [0.32, 0.50, 0.18],
        [0.56, 0.08, 0.36],
        [0.11, 0.25, 0.64],
        [0.24, 0.30, 0.46],
    ]
)
ORACLE: dict[Strategy, list[int]] = {
    "least-confidence": [5, 11, 4, 0, 8, 1, 9, 6, 7, 10, 3, 2],
    "entropy": [5, 11, 0, 8, 1, 6, 9, 10, 4, 7, 3, 2],
}
METHODS: dict[Strategy, str] = {
    "least-confidence": "least_confident",
    "margin": "margin_sampling",
    "entropy": "entropy",
}
Codes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def activeml() -> ModuleType:
    """Skip where scikit-activeml, the oracle, is not installed."""
    found: ModuleType = pytest.importorskip("skactiveml.pool", reason="scikit-activeml, the oracle, is not installed")
    return found


@pytest.mark.parametrize("strategy", ["least-confidence", "entropy"])
def test_order_is_that_of_scikit_activeml(strategy: Strategy) -> None:
    """Stored answers of scikit-activeml 1.0.1."""
    assert suggest(12, probabilities=CHANCES, strategy=strategy).tolist() == ORACLE[strategy]


@pytest.mark.parametrize("strategy", list(METHODS))
def test_order_is_that_of_scikit_activeml_on_other_samples(activeml: ModuleType, strategy: Strategy) -> None:
    """The same order as by its scores on random probabilities."""
    chances = np.random.default_rng(0).dirichlet(np.ones(5), size=200)
    oracle = np.argsort(-activeml.uncertainty_scores(chances, method=METHODS[strategy]), kind="stable")
    assert suggest(200, probabilities=chances, strategy=strategy).tolist() == oracle.tolist()


def test_margin_by_hand() -> None:
    """Gaps of .4, .1, 0 and .7: the least comes first, wherever the two classes are."""
    chances = np.array([[0.6, 0.2, 0.2], [0.3, 0.3, 0.4], [0.5, 0.0, 0.5], [0.1, 0.8, 0.1]])
    assert suggest(4, probabilities=chances).tolist() == [2, 1, 0, 3]
    assert suggest(2, probabilities=chances, strategy="margin").tolist() == [2, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_ones_come_in_the_order_of_rows(strategy: Strategy) -> None:
    """Of samples that are alike, the earlier row is first; as many come as asked for, none twice."""
    chances, codes = np.tile([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]], (200, 1)), np.full((400, 5), 7, np.uint8)
    found = suggest(200, probabilities=chances, codes=codes, strategy=strategy)
    assert found.tolist() == (list(range(200)) if strategy == "k-centre" else list(range(1, 400, 2)))
    assert found.dtype == np.int64


def test_copies_of_what_is_labelled_come_last() -> None:
    """Samples at distance 0 are never taken for new ones by rounding, however far they are from the mean."""
    rng = np.random.default_rng(0)
    labelled = rng.integers(0, 256, (50, 300)).astype(np.uint8)
    new = labelled[[3]].copy()
    new[0, 5] ^= 128
    found = suggest(3, codes=np.vstack([labelled[40:], new]), labelled=labelled, strategy="k-centre")
    assert found.tolist() == [10, 0, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fewer_samples_than_asked_for(strategy: Strategy) -> None:
    """All there are come, each once; of none, none."""
    codes = np.random.default_rng(0).integers(0, 256, (5, 3)).astype(np.uint8)
    chances = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    assert sorted(suggest(99, probabilities=chances, codes=codes, strategy=strategy)) == [0, 1, 2, 3, 4]
    assert suggest(0, probabilities=chances, codes=codes, strategy=strategy).tolist() == []
    assert suggest(3, probabilities=chances[:0], codes=codes[:0], strategy=strategy).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_k_centre_is_within_twice_of_the_best(seed: int) -> None:
    """Greedily chosen centres leave no sample more than twice as far as the best ones of all that could be chosen."""
    rng = np.random.default_rng(seed)
    n, count = int(rng.integers(6, 11)), int(rng.integers(1, 4))
    codes, labelled = (rng.integers(0, 256, (m, 2)).astype(np.uint8) for m in (n, int(rng.integers(1, 4))))
    both = np.vstack([codes, labelled]).astype(np.float64)
    scaled = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1)
    apart = np.linalg.norm(scaled[:n, None] - scaled[None], axis=2)
    old = list(range(n, len(both)))

    def radius(rows: tuple[int, ...]) -> float:
        return float(apart[:, [*rows, *old]].min(axis=1).max())

    best = min(radius(rows) for rows in combinations(range(n), count))
    greedy = suggest(count, codes=codes, labelled=labelled, strategy="k-centre")
    assert radius(tuple(greedy.tolist())) <= 2 * best + 1e-5


def test_k_centre_takes_the_farthest_in_turn() -> None:
    """On a line: what is labelled counts as covered, then the far end, then the middle between."""
    codes = np.array([[10], [60], [120], [250]], np.uint8)
    assert suggest(3, codes=codes, labelled=np.array([[12]], np.uint8), strategy="k-centre").tolist() == [3, 2, 1]
    # Nothing labelled: first the one nearest to the mean (110), then the far ones.
    assert suggest(3, codes=codes, strategy="k-centre").tolist() == [2, 3, 0]


def test_k_centre_weighs_dimensions_alike() -> None:
    """A dimension of wide codes does not drown one of narrow codes: latents are standardised."""
    rng = np.random.default_rng(0)
    wide = np.stack([rng.integers(0, 256, 40), np.full(40, 100)], axis=1)
    wide[7] = [128, 108]
    assert suggest(1, codes=wide.astype(np.uint8), labelled=wide[:5].astype(np.uint8), strategy="k-centre") == [7]


def test_k_centre_in_blocks_is_k_centre_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are worked on at a time, the same samples are chosen as by all distances at once."""
    rng = np.random.default_rng(0)
    codes, labelled = (rng.integers(0, 256, (n, 6)).astype(np.uint8) for n in (300, 90))
    both = np.vstack([codes, labelled]).astype(np.float64)
    scaled = (both - both.mean(axis=0)) / both.std(axis=0)
    nearest = np.linalg.norm(scaled[:300, None] - scaled[None, 300:], axis=2).min(axis=1)
    expected = []
    for _ in range(10):
        expected.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(scaled[:300] - scaled[expected[-1]], axis=1))
    assert suggest(10, codes=codes, labelled=labelled, strategy="k-centre").tolist() == expected
    monkeypatch.setattr("acclimate.edge.suggest._BLOCK_VALUES", 60)
    assert suggest(10, codes=codes, labelled=labelled, strategy="k-centre").tolist() == expected


def test_what_a_strategy_needs_is_asked_for() -> None:
    """Each misfit has its own message."""
    codes: Codes = np.zeros((3, 4), np.uint8)
    with pytest.raises(InputError, match="expected a strategy of least-confidence, margin, entropy, k-centre"):
        suggest(1, probabilities=CHANCES, strategy="random")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="probabilities for strategy 'margin', found none"):
        suggest(1, codes=codes)
    with pytest.raises(InputError, match="codes for strategy 'k-centre', found none"):
        suggest(1, probabilities=CHANCES, strategy="k-centre")
    with pytest.raises(InputError, match=r"labelled codes \(l, 4\), found \(3, 3\)"):
        suggest(1, codes=codes, labelled=codes[:, :3], strategy="k-centre")
    with pytest.raises(InputError, match="from 0 on, found -1"):
        suggest(-1, probabilities=CHANCES)


def test_one_class_leaves_no_doubt() -> None:
    """With one class there is no second one: rows come as they are."""
    assert suggest(2, probabilities=np.ones((3, 1))).tolist() == [0, 1]
