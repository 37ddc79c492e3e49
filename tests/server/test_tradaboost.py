"""TrAdaBoost: SAMME without a source, falling source weights, and what it gains from a source that is partly wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="scikit-learn, the oracle, is not installed")
pytest.importorskip("torch", reason="acclimate[server] is not installed")

from sklearn.ensemble import AdaBoostClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from acclimate.errors import InputError, LabelError, NotEnoughSamplesError
from acclimate.server.transfer.tradaboost import Boosted, Learner, tradaboost

Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]
pytestmark = pytest.mark.needs_torch


def _stump() -> Any:
    return DecisionTreeClassifier(max_depth=1, random_state=0)


def _shallow() -> Any:
    return DecisionTreeClassifier(max_depth=2, random_state=0)


def _classes(n: int, k: int, seed: int, shift: float = 0.0) -> tuple[Float64, Labels]:
    """Overlapping normal classes in four dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    mean = np.random.default_rng(99).normal(size=(k, 4)) * 1.2
    return rng.normal(size=(n, 4)) + mean[y] + shift, y


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("make", [_stump, _shallow, GaussianNB])
def test_target_only_is_scikit_learns_samme(k: int, make: Any) -> None:
    """Without a source: the same learners' errors, votes and predictions as AdaBoostClassifier, round by round."""
    x, y = _classes(300, k, 0)
    other = AdaBoostClassifier(make(), n_estimators=15, random_state=0).fit(x, y)
    found = tradaboost(make, [], (x, y), rounds=15)
    assert np.allclose(found.errors, other.estimator_errors_[: len(found.errors)], atol=1e-12)
    assert np.allclose(found.votes, other.estimator_weights_[: len(found.votes)], atol=1e-10)
    assert len(found.learners) == len(other.estimators_)
    assert found.first == 0
    test, _ = _classes(500, k, 1)
    assert np.mean(found.predict(test) == other.predict(test)) > 0.995
    assert np.allclose(found.scores(test).sum(axis=1), 1)


def test_target_only_ends_at_a_perfect_learner() -> None:
    """As SAMME does: one learner, whose vote is 1."""
    x = np.arange(10.0)[:, None]
    found = tradaboost(_stump, [], (x, x[:, 0] > 4), rounds=5)
    assert len(found.learners) == 1
    assert found.votes.tolist() == [1.0]
    assert np.array_equal(found.predict(x), x[:, 0] > 4)


def test_source_weights_never_rise_and_fall_as_the_paper_says() -> None:
    """Each round multiplies a weight by 1, or by 1 / (1 + sqrt(2 ln n / rounds)) where the learner was wrong."""
    source, target = _classes(120, 3, 2, shift=0.8), _classes(40, 3, 3)
    found = tradaboost(_stump, [source], target, rounds=12)
    weights = found.source_weights
    assert weights.shape == (13, 120)
    assert np.array_equal(weights[0], np.ones(120))
    fall = 1 / (1 + np.sqrt(2 * np.log(120) / 12))
    for before, after, learner in zip(weights[:-1], weights[1:], found.learners, strict=True):
        wrong = learner.predict(source[0]) != source[1]
        assert np.allclose(after / before, np.where(wrong, fall, 1.0), rtol=1e-12)
    assert (np.diff(weights, axis=0) <= 1e-12).all()
    assert (weights[-1] < 1).any()


class _Fixed:
    """A learner whose predictions are given, and which keeps the weights that it was fitted with."""

    def __init__(self, wrong_target: int, seen: list[Float64]) -> None:
        self.wrong_target, self.seen = wrong_target, seen

    def fit(self, x: Float64, y: Labels, sample_weight: Float64) -> object:
        self.seen.append(sample_weight)
        self.labels = y.copy()
        self.labels[-self.wrong_target :] = 1 - self.labels[-self.wrong_target :]
        return self

    def predict(self, x: Float64) -> Labels:
        return self.labels[: len(x)]


def test_beta_is_e_over_one_minus_e() -> None:
    """The defect of e / (2 - e): with 2 of 8 target samples wrong, e = 1/4, and their weights are multiplied by 3."""
    seen: list[Float64] = []
    source = (np.zeros((4, 1)), np.array([0, 1, 0, 1]))
    target = (np.zeros((8, 1)), np.array([0, 1] * 4))
    found = tradaboost(lambda: _Fixed(2, seen), [source], target, rounds=2)
    assert found.errors[0] == pytest.approx(1 / 4)
    assert found.votes[0] == pytest.approx(np.log(3))
    assert seen[1][-1] / seen[1][4] == pytest.approx(3)
    assert found.errors[1] == pytest.approx(1 / 2)


def test_error_is_clipped_below_one_half() -> None:
    """A learner no better than guessing on the target hardly votes, but never against, and boosting goes on."""
    seen: list[Float64] = []
    source = (np.zeros((4, 1)), np.array([0, 1, 0, 1]))
    target = (np.zeros((8, 1)), np.array([0, 1] * 4))
    found = tradaboost(lambda: _Fixed(6, seen), [source], target, rounds=4)
    assert (found.errors > 0.5).all()
    assert (found.votes > 0).all()
    assert (found.votes < 1e-4).all()
    assert len(found.learners) == 4


def test_an_error_of_zero_counts_as_half_a_sample() -> None:
    """Votes stay finite, and later rounds go on taking weight from the source."""
    x = np.arange(10.0)[:, None]
    found = tradaboost(_stump, [(x[::-1], x[:, 0] > 4)], (x, x[:, 0] > 4), rounds=6)
    assert np.isfinite(found.votes).all()
    assert found.votes.max() == pytest.approx(np.log((1 - 0.05) / 0.05))


@pytest.mark.parametrize(("rounds", "first"), [(1, 0), (4, 2), (5, 2)])
def test_the_last_half_rounded_up_votes(rounds: int, first: int) -> None:
    """Of 5 rounds the last 3, of 4 the last 2: earlier learners change nothing."""
    found = tradaboost(_stump, [_classes(60, 2, 0)], _classes(60, 2, 1), rounds=rounds)
    assert found.first == first
    x = _classes(50, 2, 2)[0]
    votes = np.zeros((50, 2))
    for learner, vote in zip(found.learners[first:], found.votes[first:], strict=True):
        votes[np.arange(50), learner.predict(x)] += vote
    assert np.array_equal(found.predict(x), votes.argmax(axis=1))


def _errors(seed: int) -> tuple[float, float, float]:
    """Return test errors of the source alone, of both pooled, and of TrAdaBoost; some of the source's labels flip."""
    rng = np.random.default_rng(seed)

    def draw(n: int, flipped: bool) -> tuple[Float64, Labels]:
        x = rng.normal(size=(n, 2)) * 2
        y = (x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64)
        # In a third of the plane the source's labels mean the opposite.
        return x, np.where(flipped & (x[:, 1] > 1), 1 - y, y)

    source, target, test = draw(200, True), draw(60, False), draw(2_000, False)
    pooled = np.vstack([source[0], target[0]]), np.concatenate([source[1], target[1]])

    def error(model: Any) -> float:
        return float(np.mean(model.predict(test[0]) != test[1]))

    boosted = tradaboost(_shallow, [source], target, rounds=30)
    usual = [AdaBoostClassifier(_shallow(), n_estimators=30, random_state=0).fit(*one) for one in (source, pooled)]
    return error(usual[0]), error(usual[1]), error(boosted)


def test_errors_are_ordered() -> None:
    """Source only errs more than both pooled, and these more than TrAdaBoost: means over five seeds."""
    source_only, mixed, boosted = np.mean([_errors(seed) for seed in range(5)], axis=0)
    assert source_only > mixed + 0.01
    assert mixed > boosted + 0.05


def test_the_useful_of_two_sources_is_chosen() -> None:
    """Beside a source whose labels all mean another class, the one that knows is learnt from first, and helps."""
    good, bad, target = _classes(300, 3, 0), _classes(300, 3, 10), _classes(45, 3, 20)
    bad = (bad[0], (bad[1] + 1) % 3)
    found = tradaboost(_shallow, [bad, good], target, rounds=10)
    assert found.source_weights.shape == (11, 600)
    assert found.chosen[0] == 1
    test = _classes(1_000, 3, 5)
    alone = tradaboost(_shallow, [bad], target, rounds=10)
    assert np.mean(found.predict(test[0]) == test[1]) > np.mean(alone.predict(test[0]) == test[1]) + 0.4


def test_many_rounds_do_not_overflow() -> None:
    """A learner that is always wrong on the same rows would give them weights beyond any number."""
    seen: list[Float64] = []
    source = (np.zeros((4, 1)), np.array([0, 1, 0, 1]))
    target = (np.zeros((300, 1)), np.array([0, 1] * 150))
    found = tradaboost(lambda: _Fixed(1, seen), [source], target, rounds=200)
    assert all(np.isfinite(one).all() and one.sum() == pytest.approx(1) for one in seen)
    assert np.isfinite(found.votes).all()


def test_names_work_as_labels_and_progress_is_told() -> None:
    """Text labels; each round is reported once; the same call gives the same answer."""
    x, y = _classes(80, 3, 0)
    names = np.array(["ant", "bee", "cat"])
    told: list[tuple[int, int]] = []

    def run() -> Boosted:
        return tradaboost(
            _stump, [(x, names[y])], (x[:40], names[y[:40]]), rounds=3, progress=lambda a, b: told.append((a, b))
        )

    found = run()
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert set(found.predict(x)) <= set(names)
    assert np.array_equal(found.predict(x), run().predict(x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rounds": 0}, InputError, "at least 1 round"),
        ({"sources": [(np.zeros((5, 3)), np.zeros(5, int))]}, InputError, "one width"),
        ({"sources": [(np.zeros((5, 4)), np.full(5, 7))]}, LabelError, "source 0 and the target to share classes"),
        ({"sources": [(np.zeros((5, 4)), np.zeros(4, int))]}, LabelError, "5 labels of the source 0"),
        ({"sources": [(np.full((5, 4), np.nan), np.zeros(5, int))]}, InputError, "finite source"),
        (
            {"target": (np.zeros((5, 4)), np.zeros(5, int)), "sources": []},
            NotEnoughSamplesError,
            "at least two classes",
        ),
        ({"target": (np.zeros((5, 4)), np.full(5, 0.5))}, LabelError, "whole numbers or text"),
        (
            {"target": (np.zeros((6, 4)), np.arange(6) % 2), "sources": []},
            NotEnoughSamplesError,
            "better than guessing",
        ),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    """What was expected, what was found, what to do."""
    arguments: dict[str, Any] = {"sources": [_classes(20, 2, 0)], "target": _classes(20, 2, 1), "rounds": 2, **change}
    with pytest.raises(error, match=message):
        tradaboost(_stump, arguments["sources"], arguments["target"], rounds=arguments["rounds"])


@pytest.mark.parametrize(
    "features",
    [
        lambda x: np.tile(x, 30),
        lambda x: np.c_[x, np.ones((len(x), 2))],
        lambda x: np.repeat(x[:10], len(x) // 10, axis=0),
        lambda x: np.full_like(x, 0.1),
    ],
    ids=["fewer samples than features", "constant features", "duplicated rows", "all alike"],
)
def test_degenerate_samples_get_an_answer(features: Callable[[Any], Any]) -> None:
    """Finite shares of the vote that add up to 1; of rows that are all alike one class for all."""
    source, target = _classes(40, 2, 0), _classes(20, 2, 1)
    own = features(target[0])
    found = tradaboost(_stump, [(features(source[0]), source[1])], (own, target[1]), rounds=4)
    shares = found.scores(own)
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert len(np.unique(own, axis=0)) > 1 or len(np.unique(found.predict(own))) == 1


def test_a_class_that_only_one_side_has() -> None:
    """A class only the source has stays one; a class only the target has is learnt."""
    source, target = _classes(90, 3, 0), _classes(60, 3, 1)
    source = source[0][source[1] != 0], source[1][source[1] != 0]
    target = target[0][target[1] != 2], target[1][target[1] != 2]
    found = tradaboost(_shallow, [source], target, rounds=5)
    assert found.classes.tolist() == [0, 1, 2]
    assert 0 in found.predict(target[0])


def test_learner_is_a_protocol_that_scikit_learn_fulfils() -> None:
    """Anything with fit and predict will do."""
    learner: Learner = GaussianNB()
    assert callable(learner.fit)
