"""Scores of a model on a domain without labels, and the guard's rule: closed forms, oracles, planted harm."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from numpy.typing import NDArray

from acclimate.errors import InputError
from acclimate.server.transfer.guard import Answers, judge_adaptation
from acclimate.server.transfer.validators import (
    deep_embedded_risk,
    entropy,
    importance_weighted_risk,
    importance_weights,
    neighbourhood_density,
    probabilities,
    reverse_accuracy,
    reverse_answers,
)

pytestmark = pytest.mark.needs_torch
Float64 = NDArray[np.float64]


def test_entropy_is_0_where_certain_and_ln_k_where_not() -> None:
    """And their mean where half of the samples are either."""
    certain, open_ = np.eye(4) * 1e3, np.zeros((4, 4))
    assert entropy(certain) == pytest.approx(0, abs=1e-12)
    assert entropy(open_) == pytest.approx(np.log(4))
    assert entropy(np.concatenate([certain, open_])) == pytest.approx(np.log(4) / 2)


def test_density_of_neighbourhoods_is_that_of_the_definition() -> None:
    """By hand in loops; of alike answers ln (m - 1); also where samples do not fit one block."""
    logits = np.random.default_rng(0).normal(size=(7, 3)) * 3
    shares = probabilities(logits)
    expected = []
    for i in range(7):
        near = [shares[i] @ shares[j] / np.linalg.norm(shares[i]) / np.linalg.norm(shares[j]) for j in range(7)]
        weights = np.exp(np.array([near[j] for j in range(7) if j != i]) / 0.05)
        weights /= weights.sum()
        expected.append(-(weights * np.log(weights)).sum())
    assert neighbourhood_density(logits) == pytest.approx(np.mean(expected), rel=1e-9)
    assert neighbourhood_density(np.ones((1_500, 3))) == pytest.approx(np.log(1_499), rel=1e-9)
    with pytest.raises(InputError, match="two target samples"):
        neighbourhood_density(logits[:1])


def test_importance_weights_are_those_of_two_gaussians() -> None:
    """N(0, 1) -> N(m, 1): w = exp(m x - m² / 2); the risk is that of the target, where the source's is another."""
    draws = np.random.default_rng(0)
    m = 0.8
    source, target = draws.normal(size=(8_000, 1)), draws.normal(m, 1, size=(6_000, 1))
    weights = importance_weights(source, target)
    expected = np.exp(m * source[:, 0] - m**2 / 2)
    assert weights.mean() == pytest.approx(1)
    assert np.corrcoef(weights, expected)[0, 1] > 0.99
    # A model that is wrong above 1 alone.
    wrong = (source[:, 0] > 1).astype(np.int64)
    logits = np.stack([np.ones(8_000), np.zeros(8_000)], 1)
    truth = float((target[:, 0] > 1).mean())
    assert abs(wrong.mean() - truth) > 0.2
    for risk in (importance_weighted_risk, deep_embedded_risk):
        assert risk(source, wrong, logits, target) == pytest.approx(truth, abs=0.03)


def test_deep_embedded_risk_of_a_model_that_is_always_wrong_is_1() -> None:
    """And of one that is always right 0, whatever the weights: their mean, known to be 1, is a control variate."""
    draws = np.random.default_rng(0)
    source, target = draws.normal(size=(40, 1)), draws.normal(1.5, 1, size=(60, 1))
    logits = np.stack([np.ones(40), np.zeros(40)], 1)
    assert abs(importance_weights(source, target, normalised=False).mean() - 1) > 1e-3
    assert deep_embedded_risk(source, np.ones(40, np.int64), logits, target) == pytest.approx(1, abs=1e-9)
    assert deep_embedded_risk(source, np.zeros(40, np.int64), logits, target) == pytest.approx(0, abs=1e-9)


def test_the_way_back_is_that_of_nearest_neighbours() -> None:
    """Scikit-learn's classifier fitted on the target's answers, for one and three neighbours, over several blocks."""
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    draws = np.random.default_rng(0)
    source, target, logits = draws.normal(size=(1_300, 4)), draws.normal(size=(90, 4)), draws.normal(size=(90, 2))
    labels = draws.integers(0, 2, 1_300)
    for count in (1, 3):
        oracle = neighbors.KNeighborsClassifier(count).fit(target, logits.argmax(1)).predict(source)
        found = reverse_answers(source, target, logits, neighbours=count)
        assert np.array_equal(found, oracle)
        assert reverse_accuracy(source, labels, target, logits, neighbours=count) == pytest.approx(
            float((oracle == labels).mean())
        )
    # Of three neighbours of three classes the nearest decides.
    line, answers = np.array([[0.0], [1.0], [2.5]]), np.eye(3)
    assert reverse_answers(np.array([[0.1], [0.9], [2.4]]), line, answers).tolist() == [0, 1, 2]


def _answers(shift: float, permuted: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> tuple[Answers, NDArray[np.int64]]:
    """Return what a model makes of three clusters, whose target's are moved, or taken for each other."""
    draws, centres = np.random.default_rng(seed), np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    labels = np.arange(300) % 3
    source = centres[labels] + draws.normal(size=(300, 2))
    target = centres[np.array(permuted)][labels] + shift + draws.normal(size=(300, 2))

    def logits(features: Float64) -> Float64:
        squares: Float64 = -np.square(features[:, None] - centres).sum(2) / 2
        return squares

    return Answers(source, logits(source), target, logits(target)), labels


def test_what_brings_the_domains_together_is_kept() -> None:
    """A shift of the clusters into the next ones against none, over seeds; and the same model against itself."""
    for seed in range(10):
        plain, labels = _answers(3.0, seed=seed)
        adapted, _ = _answers(0.0, seed=seed)
        verdict = judge_adaptation(plain, adapted, labels)
        assert verdict.kept, verdict.reason
        assert judge_adaptation(plain, plain, labels).kept


def test_an_adaptation_that_mixes_classes_is_refused() -> None:
    """Answers in the target that do not follow its features, as where the alignment split clusters."""
    plain, labels = _answers(0.5)
    for share in (0.3, 0.6, 1.0):
        draws = np.random.default_rng(1)
        mixed = plain.target_logits.copy()
        rows = np.flatnonzero(draws.random(300) < share)
        mixed[rows] = mixed[draws.permutation(rows)]
        verdict = judge_adaptation(plain, replace(plain, target_logits=mixed), labels)
        assert not verdict.kept
        assert "adaptation did harm" in verdict.reason


def test_swapped_classes_are_seen_with_labels_alone() -> None:
    """The limit that is told: clusters taken for each other as a whole come back right, and only labels show it."""
    plain, labels = _answers(0.5)
    swapped, _ = _answers(0.0, (1, 0, 2))
    assert judge_adaptation(plain, swapped, labels).kept
    held = plain.target_logits[:30], swapped.target_logits[:30], labels[:30]
    assert not judge_adaptation(plain, swapped, labels, held=held).kept


def test_labels_of_the_target_decide_before_all_else() -> None:
    """One sample less right is refused, as many are kept; whatever the way back says."""
    plain, labels = _answers(0.5)
    right, wrong = np.eye(3)[labels[:30]], np.eye(3)[(labels[:30] + 1) % 3]
    one_less = np.concatenate([wrong[:1], right[1:]])
    assert not judge_adaptation(plain, plain, labels, held=(right, one_less, labels[:30])).kept
    mixed = replace(plain, target_logits=plain.target_logits[::-1].copy())
    verdict = judge_adaptation(plain, mixed, labels, held=(one_less, right, labels[:30]))
    assert verdict.kept
    assert verdict.scores["adapted_accuracy"] == 1


def test_what_cannot_be_judged_is_refused() -> None:
    """Other samples, no label, and answers that are not finite."""
    plain, labels = _answers(0.5)
    for other, known, message in (
        (replace(plain, source_logits=plain.source_logits[:5]), labels, "same samples"),
        (plain, np.full(300, -1), "same samples"),
        (replace(plain, target_features=plain.target_features * np.nan), labels, "finite"),
    ):
        with pytest.raises(InputError, match=message):
            judge_adaptation(plain, other, known)
    with pytest.raises(InputError, match="label for each"):
        judge_adaptation(plain, plain, labels, held=(plain.target_logits, plain.target_logits, labels[:3]))


_DRAW = np.random.default_rng(0)
_GOOD: dict[str, Any] = {
    "source_features": _DRAW.normal(size=(20, 4)),
    "source_labels": _DRAW.integers(0, 2, 20),
    "source_logits": _DRAW.normal(size=(20, 2)),
    "target_features": _DRAW.normal(size=(15, 4)),
    "target_logits": _DRAW.normal(size=(15, 2)),
}
_VALIDATORS = (entropy, neighbourhood_density, importance_weighted_risk, deep_embedded_risk, reverse_accuracy)


def _judge(validator: Callable[..., float], changed: dict[str, Any]) -> float:
    taken = inspect.signature(validator).parameters
    return validator(**{name: one for name, one in {**_GOOD, **changed}.items() if name in taken})


def _cases() -> list[tuple[Callable[..., float], str, str]]:
    found = []
    for validator in _VALIDATORS:
        taken = inspect.signature(validator).parameters
        for name in (name for name in _GOOD if name in taken):
            found += [(validator, name, kind) for kind in ("not finite", "of another shape")]
            # Of the target some take features alone, or logits alone: any number of them.
            side = name.partition("_")[0]
            if sum(one.startswith(side) for one in taken) > 1:
                found.append((validator, name, "of another number"))
    return found


@pytest.mark.parametrize(("validator", "name", "kind"), _cases())
def test_what_does_not_fit_is_refused_by_each_validator(validator: Callable[..., float], name: str, kind: str) -> None:
    """Whatever it takes: values that are not finite, samples of another number, features of another width."""
    good = _GOOD[name].astype(np.float64)
    bad = {
        "not finite": np.where(np.arange(good.size).reshape(good.shape) == 3, np.nan, good),
        "of another number": good[:-3],
        "of another shape": good[:, :3] if name.endswith("features") else good.reshape(1, -1)[None],
    }[kind]
    with pytest.raises(InputError, match=r"expected .*found"):
        _judge(validator, {name: bad})


def test_one_sample_of_the_target_is_enough_where_no_neighbour_is_needed() -> None:
    """Who has a single sample is told something all the same."""
    one = {name: _GOOD[name][:1] for name in ("target_features", "target_logits")}
    for validator in (entropy, importance_weighted_risk, deep_embedded_risk, reverse_accuracy):
        assert np.isfinite(_judge(validator, one))


@pytest.mark.parametrize(
    "features",
    [
        lambda x: np.tile(x, 10),
        lambda x: np.c_[x, np.ones((len(x), 2))],
        lambda x: np.repeat(x[: len(x) // 5], 5, axis=0),
        lambda x: np.full_like(x, 0.1),
    ],
    ids=["fewer samples than features", "constant features", "duplicated rows", "all alike"],
)
@pytest.mark.parametrize("validator", _VALIDATORS)
def test_degenerate_features_are_judged(validator: Callable[..., float], features: Callable[[Any], Any]) -> None:
    """With a finite number from 0 on; where nothing tells the domains apart, the risk is that of the source."""
    changed = {name: features(_GOOD[name]) for name in ("source_features", "target_features")}
    found = _judge(validator, changed)
    assert np.isfinite(found)
    alike = len(np.unique(changed["source_features"])) == 1
    if alike and validator in (importance_weighted_risk, deep_embedded_risk):
        wrong = (_GOOD["source_logits"].argmax(axis=1) != _GOOD["source_labels"]).mean()
        assert found == pytest.approx(wrong, abs=1e-6)
