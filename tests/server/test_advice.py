"""Advice on arrays: what is accepted, what is refused, and that neither choice nor comparison is flattered."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch, which the server side needs, is not installed")

from acclimate.edge.adaptation.evidence import Evidence
from acclimate.server.advice import advise
from acclimate.server.advice.advise import wilson
from acclimate.server.advice.choose import choose, tempered
from acclimate.server.advice.head import Linear, fit_linear, softmax
from acclimate.server.advice.held_out import HeldOut, brier, deal_folds, hold_out
from acclimate.server.advice.judge import LEVEL, MARGIN, SHOWN, SLIGHT, Verdict, decide, judge
from acclimate.server.advice.method import BALANCED, POOL, SOURCE_ONLY, TARGET_ONLY, Predictor, TransferMethod
from acclimate.server.advice.methods import METHODS
from acclimate.server.advice.pair import Float64, Int64, Pair
from acclimate.server.advice.relation import RELATED, relation, source_labels_dealt, target_labels_dealt
from acclimate.server.advice.unlabelled import home_answers

pytestmark = pytest.mark.needs_torch

Side = tuple[Float64, Int64]


def draw(rng: np.random.Generator, n: int, *, shift: float = 0.0, world: int = 0) -> Side:
    """Draw samples of four Gaussian classes."""
    means = np.random.default_rng(world).normal(size=(4, 10)) * 1.2
    y = rng.integers(0, 4, n)
    return means[y] + rng.normal(size=(n, 10)) + shift, y


def labelled_in_part(side: Side, count: int) -> Side:
    """Hide all labels but the first."""
    return side[0], np.where(np.arange(len(side[1])) < count, side[1], -1)


@pytest.mark.parametrize("seed", range(3))
def test_a_source_of_the_same_domain_is_taken_and_one_with_dealt_out_labels_is_not(seed: int) -> None:
    """The same features: only what the source's labels say differs; pooling these is told to be harmful."""
    rng = np.random.default_rng(seed)
    source, target = draw(rng, 200), labelled_in_part(draw(rng, 100, shift=0.2), 24)
    honest = advise(*source, *target)
    assert honest.recommended not in (None, TARGET_ONLY)
    assert honest.basis == "labels"
    assert any(honest.recommended in line and "lost least elsewhere" in line for line in honest.why)
    assert honest.gain is not None
    assert honest.gain > 0
    planted = advise(source[0], rng.permutation(source[1]), *target)
    assert planted.recommended is None
    assert planted.harm == "shown"
    assert any("no better than noise" in line for line in planted.why)


def test_an_unrelated_source_is_refused() -> None:
    """Classes of another world under the same names."""
    rng = np.random.default_rng(5)
    assert advise(*draw(rng, 200, world=1), *labelled_in_part(draw(rng, 60), 24)).recommended is None


def test_the_same_arguments_give_the_same_advice_and_it_is_json() -> None:
    """All figures, not the method alone; and what is counted is what was given."""
    rng = np.random.default_rng(2)
    source, target = draw(rng, 120), labelled_in_part(draw(rng, 60), 20)
    first, again = (advise(*source, *target, seed=3).to_dict() for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert sum(first["target_counts"]) == 20
    assert first["unlabelled"] == 40
    assert sum(first["source_counts"]) == 120
    assert [one["name"] for one in first["candidates"] if one["why_not"]] == []
    assert len(first["candidates"]) == len(METHODS)


@dataclass
class Spy:
    """A method that notes which samples it is given, and predicts class 0."""

    name: str = "spy"
    family: str = "none"
    seen: list[set[bytes]] = field(default_factory=list)
    asked: list[set[bytes]] = field(default_factory=list)

    def why_not(self, pair: Pair) -> str | None:
        """Nothing."""
        return None

    def fit(self, pair: Pair) -> Predictor:
        """Note all of the target, with and without labels."""
        self.seen.append({row.tobytes() for row in pair.target})

        def predict(x: Float64) -> Float64:
            self.asked.append({row.tobytes() for row in x})
            return np.eye(pair.k)[np.zeros(len(x), int)]

        return predict


def test_no_method_sees_a_sample_that_it_is_judged_on_nor_its_group() -> None:
    """Neither as a labelled sample nor without its label; and every sample is judged once."""
    rng = np.random.default_rng(0)
    (x, y), (here, own) = draw(rng, 40), draw(rng, 30)
    groups = np.arange(30) // 2
    spy = Spy()
    hold_out(Pair(x, y, here, own, here[:0], 4), (spy,), groups)
    of = {row.tobytes(): int(group) for row, group in zip(here, groups, strict=True)}
    assert sum(map(len, spy.asked)) == 30
    for seen, asked in zip(spy.seen, spy.asked, strict=True):
        assert not seen & asked
        assert not {of[row] for row in seen} & {of[row] for row in asked}


def test_a_class_with_one_sample_is_learnt_from_and_never_judged() -> None:
    """Held out, nothing of its class would be left."""
    rng = np.random.default_rng(0)
    here = rng.normal(size=(9, 3))
    spy = Spy()
    held = hold_out(
        Pair(here, np.arange(9) % 2, here, np.array([0] * 4 + [1] * 4 + [2]), here[:0], 3), (spy,), np.arange(9)
    )
    assert held.rows.tolist() == list(range(8))
    assert all(here[8].tobytes() in seen for seen in spy.seen)


def _noise(rng: np.random.Generator, n: int, k: int) -> Float64:
    return rng.dirichlet(np.ones(k), n)


def _held(answers: dict[str, Float64], y: Int64) -> HeldOut:
    n = len(y)
    return HeldOut(np.arange(n), np.arange(n) % 5, np.arange(n), y, answers, {})


def test_the_best_of_many_useless_methods_is_not_flattered() -> None:
    """Of forty that guess, as both pools and the target alone do, one often seems to gain; the test knows better."""
    rng, n, false, naive = np.random.default_rng(0), 30, 0, 0
    for _ in range(100):
        y, guess = rng.integers(0, 3, n), _noise(rng, n, 3)
        others = {str(i): _noise(rng, n, 3) for i in range(40)}
        found = judge(_held({TARGET_ONLY: guess, SOURCE_ONLY: guess, POOL: guess, BALANCED: guess} | others, y), 0.0)
        naive += found.chosen != BALANCED
        false += found.gain.better <= LEVEL
    assert naive > 12
    # 5 % of 100, and chance.
    assert false <= 8


def test_the_balanced_pool_stays_unless_another_is_better_by_two_errors_of_the_paired_difference() -> None:
    """By hand: a steady small gain replaces it, a greater one that rests on few samples does not, nor the target."""
    names, n = [TARGET_ONLY, BALANCED, "steady", "lucky", "worse"], 16
    own = np.random.default_rng(0).uniform(0.2, 0.8, n)
    lucky = np.zeros(n)
    # A mean of 0.05 with an error of 0.034.
    lucky[:2] = 0.4
    steady = 0.01 + 0.01 * np.sin(np.arange(n))
    loss = np.stack([own - 0.3, own, own - steady, own - lucky, own + 0.1])
    assert lucky.mean() > steady.mean()
    assert names[choose(loss, names, np.arange(n))] == "steady"
    assert names[choose(np.delete(loss, 2, axis=0), np.delete(names, 2).tolist(), np.arange(n))] == BALANCED
    # The same samples as two groups that contradict are no evidence.
    swayed = np.stack([own, own - np.repeat([0.35, -0.1], n // 2)])
    assert choose(swayed, [BALANCED, "swayed"], np.arange(n)) == 1
    assert choose(swayed, [BALANCED, "swayed"], np.arange(n) // (n // 2)) == 0


def test_how_sure_a_method_is_does_not_decide() -> None:
    """Answers as right, but too even, are not worse at their temperature; the judged samples do not tell it."""
    rng, n = np.random.default_rng(0), 400
    logits = 2 * rng.normal(size=(n, 3))
    y = (softmax(logits).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    both = np.stack([logits, logits / 4])
    raw = [float(brier(softmax(one), y).mean()) for one in both]
    known, judged = tempered(both[:, :200], y[:200], both[:, 200:], y[200:])
    assert raw[1] > raw[0] + 0.04
    assert np.ptp(known.mean(axis=1)) < 0.01
    assert np.ptp(judged.mean(axis=1)) < 0.01
    other = tempered(both[:, :200], y[:200], both[:, 200:], (y[200:] + 1) % 3)[0]
    np.testing.assert_array_equal(known, other)


def _gain(mean: float, low: float, better: float) -> Evidence:
    return Evidence(mean, low, 1.0, better=better, worse=1 - better)


@pytest.mark.parametrize(
    ("mean", "low", "better", "accuracy", "stands", "decided"),
    [
        (0.1, 0.01, SHOWN, 0.0, False, True),
        (0.1, 0.01, SHOWN, -0.01, False, False),
        (0.1, -0.01, 1.01 * SHOWN, 0.1, False, False),
        (0.1, -0.01, 1.01 * SHOWN, -0.1, True, True),
        (0.1, 1.01 * -MARGIN, 0.5, 0.1, True, False),
        (-0.99 * SLIGHT, -MARGIN, 0.5, 0.1, True, True),
        (-1.01 * SLIGHT, -0.03, 0.5, 0.1, True, False),
    ],
)
def test_a_gain_is_shown_or_harm_excluded_of_a_source_that_stands_by_itself(
    mean: float, low: float, better: float, accuracy: float, stands: bool, decided: bool
) -> None:
    """Each condition by itself changes the decision."""
    assert decide(_gain(mean, low, better), accuracy, stands=stands) is decided


def test_a_gain_that_owes_nothing_to_the_sources_labels_is_no_reason_to_transfer() -> None:
    """A method is right throughout and the target alone guesses: whether labels are related decides."""
    rng, n = np.random.default_rng(0), 30
    y = rng.integers(0, 3, n)
    truth, noise = np.eye(3)[y], _noise(rng, n, 3)
    answers = {TARGET_ONLY: noise[::-1], SOURCE_ONLY: noise, POOL: noise, BALANCED: noise, "other": truth}
    found: list[Verdict] = [judge(_held(answers, y), p) for p in (RELATED, 1.01 * RELATED)]
    assert all(one.gain.low > 0 and one.chosen == "other" for one in found)
    assert [one.transfer for one in found] == [True, False]


def test_a_related_source_that_is_no_better_is_taken_where_it_stands_by_itself() -> None:
    """All ways are as good: no gain and no harm. A source that is right on few samples must show a gain instead."""
    rng, n = np.random.default_rng(0), 40
    y = rng.integers(0, 3, n)
    fair, pool = (0.6 * np.eye(3)[y] + 0.4 * _noise(rng, n, 3) for _ in range(2))
    for source, taken in ((fair, True), (np.roll(fair, 1, axis=1), False)):
        found = judge(_held({TARGET_ONLY: fair, SOURCE_ONLY: source, POOL: pool, BALANCED: pool}, y), 0.0)
        assert found.gain.better > SHOWN
        assert (found.stands, found.transfer) == (taken, taken)


@pytest.mark.parametrize("of_each", [1, 3])
def test_labels_that_are_noise_look_related_as_often_as_the_level_says(of_each: int) -> None:
    """Single samples, and groups of three alike."""
    rng = np.random.default_rng(1)
    found = []
    for seed in range(200):
        answers = np.repeat(_noise(rng, 24 // of_each, 3), of_each, axis=0)
        y = np.repeat(rng.integers(0, 3, 24 // of_each), of_each)
        found.append(target_labels_dealt(answers, y, np.arange(24) // of_each, seed) <= LEVEL)
    assert np.sum(found) <= 20


def test_a_source_whose_labels_are_noise_is_unrelated_however_far_the_targets_classes_lie_apart() -> None:
    """Along one wide direction noise often points as the classes do: dealing the target's labels alone is deceived."""
    rng, deceived, related = np.random.default_rng(0), 0, 0
    for seed in range(100):
        x = rng.normal(size=(60, 5))
        here_y = np.arange(24) % 2
        here = rng.normal(size=(24, 5)) + 6 * np.where(here_y, 1, -1)[:, None] * np.eye(5)[0]
        x[:, 0] *= 6
        y = rng.integers(0, 2, 60)
        pair = Pair(x, y, here, here_y, here[:0], 2)
        answers = {SOURCE_ONLY: fit_linear(x, y, 2)(here)}
        deceived += target_labels_dealt(answers[SOURCE_ONLY], here_y, np.arange(24)) <= LEVEL
        related += relation(pair, _held(answers, here_y), seed) <= LEVEL
    assert deceived > 30
    # 5 % of 100, and chance.
    assert related <= 10


def test_a_source_that_knows_the_classes_is_related_whichever_labels_are_dealt_out() -> None:
    """The least p-values that so many deals give; with the target's labels turned round, none."""
    rng = np.random.default_rng(0)
    (x, y), (here, own) = draw(rng, 150), draw(rng, 30)
    assert source_labels_dealt(x, y, here, own) == pytest.approx(0.001)
    assert source_labels_dealt(x, y, here, (own + 1) % 4) > 0.5
    pair = Pair(x, y, here, own, here[:0], 4)
    answers = fit_linear(x, y, 4)(here)
    assert relation(pair, _held({SOURCE_ONLY: answers}, own)) == pytest.approx(0.001)
    # Both must say so.
    assert relation(pair, _held({SOURCE_ONLY: answers[::-1]}, own)) > RELATED


def test_folds_hold_few_samples_out_and_keep_groups_together() -> None:
    """Ten folds, in which a class of ten lacks one sample at a time; no more folds than groups."""
    y = np.repeat(np.arange(3), 10)
    fold = deal_folds(y, np.arange(30))
    assert all(sorted(fold[y == c].tolist()) == list(range(10)) for c in range(3))
    groups = np.arange(30) // 5
    fold = deal_folds(y, groups)
    assert len(np.unique(fold)) == 6
    assert all(len(np.unique(fold[groups == one])) == 1 for one in range(6))


def test_the_classifier_is_scikit_learns() -> None:
    """Weighted multinomial logistic regression: the same probabilities where the penalty is the same."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = draw(np.random.default_rng(0), 80)
    weight = np.random.default_rng(1).uniform(0.2, 2, 80)
    found = fit_linear(x, y, 4, weight)
    size = weight.sum() ** 2 / (weight @ weight)
    penalty = 0.3 / size * (weight @ (x * x).sum(axis=1)) / weight.sum()
    model = linear_model.LogisticRegression(C=1 / (penalty * weight.sum()), tol=1e-10, max_iter=10_000)
    np.testing.assert_allclose(found(x), model.fit(x, y, weight).predict_proba(x), atol=2e-3)


def test_a_strong_pull_leaves_the_sources_classifier_and_absent_classes_get_nothing() -> None:
    """The two ends of L2-SP."""
    rng = np.random.default_rng(0)
    x, y = draw(rng, 60)
    home = Linear(rng.normal(size=(4, 10)), rng.normal(size=4))
    drawn = fit_linear(x, y, 4, towards=home, strength=1e9)
    np.testing.assert_allclose(drawn(x), home(x), atol=1e-4)
    kept = y != 2
    assert fit_linear(x[kept], y[kept], 4)(x)[:, 2].max() == 0


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("case", ["plain", "wide", "a class each", "one label", "no label"])
def test_every_method_gives_probabilities_or_says_why_not(method: TransferMethod, case: str) -> None:
    """More features than samples, classes that one side alone has, hardly any label."""
    rng = np.random.default_rng(0)
    d = 40 if case == "wide" else 5
    x, y, here, own = rng.normal(size=(30, d)), np.arange(30) % 3, rng.normal(size=(12, d)), np.arange(12) % 3
    if case == "a class each":
        y, own = y % 2, 1 + own % 2
    if case in ("one label", "no label"):
        here, own = here[: case == "one label"], own[: case == "one label"]
    pair = Pair(x, y, here, own, rng.normal(size=(20, d)), 3)
    if said := method.why_not(pair):
        assert said.startswith("needs")
        assert case in ("one label", "no label")
        return
    answers = method.fit(pair)(rng.normal(size=(7, d)))
    assert answers.shape == (7, 3)
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert answers.min() >= 0


def test_without_labels_validators_rank_and_the_advice_says_how_little_that_is() -> None:
    """A good source is taken with a warning, one whose labels are noise is not; the target alone cannot be judged."""
    rng = np.random.default_rng(0)
    (x, y), (here, own) = draw(rng, 200), draw(rng, 80, shift=0.2)
    found = advise(x, y, here)
    assert found.recommended is not None
    assert (found.basis, found.harm, found.gain, found.related) == ("validators", "unknown", None, None)
    assert any("This is little to go by" in line for line in found.why)
    alone = next(one for one in found.candidates if one.name == TARGET_ONLY)
    assert alone.why_not
    assert advise(x, rng.permutation(y), here).recommended is None
    one_label = np.where(np.arange(80) < 1, own, -1)
    assert advise(x, y, here, one_label).basis == "validators"


def test_the_source_is_measured_at_home_on_samples_that_it_did_not_see() -> None:
    """Of labels that are noise, held-out accuracy is chance, however well they are learnt by heart."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 100)), rng.integers(0, 2, 60)
    pair = Pair(x, y, x[:0], y[:0], x[:0], 2)
    assert (fit_linear(x, y, 2)(x).argmax(axis=1) == y).mean() > 0.9
    assert (home_answers(pair).argmax(axis=1) == y).mean() < 0.7


def test_scores_by_hand() -> None:
    """Brier: 0 for certainty, half the squared distance else; Wilson's interval of 8 of 10."""
    found = brier(np.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]), np.array([0, 0, 0]))
    np.testing.assert_allclose(found, [0, 0.5625, 1])
    np.testing.assert_allclose(wilson(0.8, 10), (0.4902, 0.9433), atol=1e-4)
