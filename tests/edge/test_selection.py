"""Cross-validation: fair folds, no leakage, the planted best found, no shipped class forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.edge.heads import ABSENT, HEADS, LDA, Problem, Prototype, Setting, Softmax, SourceTerm, Weights
from acclimate.edge.selection import FOLDS, assign_folds, best_temperature, cross_validate, eligible, fit

Blobs = Callable[..., Any]
labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@dataclass(frozen=True)
class Planted:
    """A head of known weights, whatever it is trained on."""

    name: str
    weights: tuple[Weights, ...]

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        return tuple(Setting(self.name, float(i)) for i in range(len(self.weights)))

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        return [self.weights[int(setting.regularisation)] for setting in settings]


@given(labels)
def test_folds_are_stratified(y: np.ndarray) -> None:
    """Every class is spread over the folds evenly, and folds differ by at most one sample."""
    fold = assign_folds(y)
    assert set(fold) <= set(range(FOLDS))
    for rows in [np.ones(len(y), bool), *(y == c for c in np.unique(y))]:
        sizes = np.bincount(fold[rows], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1


@given(labels, st.integers(0, 2**32), st.integers(0, 60))
def test_folds_do_not_depend_on_the_order_of_later_samples(y: np.ndarray, seed: int, cut: int) -> None:
    """Equal labels give equal folds, and shuffling the samples behind one changes neither its fold nor any before."""
    later = np.random.default_rng(seed).permutation(y[cut:])
    assert (assign_folds(np.append(y[:cut], later))[:cut] == assign_folds(y)[:cut]).all()


@pytest.mark.parametrize(("n", "m", "k"), [(40, 60, 2), (60, 20, 3)])
def test_random_labels_are_predicted_by_chance(n: int, m: int, k: int) -> None:
    """Over 50 draws of labels that mean nothing, what is predicted of a sample without it is right by chance only.

    A head that had seen the sample would be right nearly always, since there are about as many dimensions as samples.
    """
    shares = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        problem = Problem(rng.normal(size=(n, m)), rng.integers(0, k, n), k)
        found = cross_validate(problem)
        assert (found.predicted >= 0).all()
        shares.append(np.mean([(found.predicted == c)[problem.y == c].mean() for c in range(k)]))
    # The standard error of the mean is 0.014 at most.
    assert abs(float(np.mean(shares)) - 1 / k) < 0.045


def test_the_choice_is_made_without_the_fold_it_is_judged_on() -> None:
    """Of settings of which each is right on one fold alone, the one chosen for a fold is never right there.

    Taking the best of many settings on the very samples that it is judged on would make it look good by luck.
    """
    y = np.arange(50) % 2
    fold = assign_folds(y)
    # One coordinate per fold says the class there, and the opposite elsewhere.
    sign = np.where(y == 1, 1.0, -1.0)
    x = np.where(fold[:, None] == np.arange(FOLDS), sign[:, None], -sign[:, None])
    weights = tuple(Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(FOLDS))
    found = cross_validate(Problem(x, y, 2), (Planted("planted", weights),))
    assert found.best.accuracy == pytest.approx(1 / FOLDS)
    assert (found.predicted != y).all()


def test_predictions_are_those_of_a_direct_computation(blobs: Blobs) -> None:
    """Accuracy, loss and held-out predictions equal those of plain loops over folds and settings."""
    problem, head = blobs(apart=0.7).problem(60), LDA()
    found = cross_validate(problem, (head,))
    fold, settings = assign_folds(problem.y), head.settings(problem)
    correct, loss, said = np.zeros((len(settings), 60)), np.zeros((len(settings), 60)), np.zeros((len(settings), 60), int)
    for s, setting in enumerate(settings):
        logits = np.zeros((60, 3))
        for number in range(FOLDS):
            (weights,) = head.solve(problem.subset(fold != number), (setting,), draft=True)
            logits[fold == number] = problem.x[fold == number] @ weights.weight.T + weights.bias
        (trial,) = [trial for trial in found.trials if trial.setting == setting]
        share = np.exp(logits / trial.temperature)
        loss[s] = -np.log((share / share.sum(axis=1, keepdims=True))[np.arange(60), problem.y])
        said[s] = logits.argmax(axis=1)
        correct[s] = said[s] == problem.y
        # Twenty of each class: balanced is plain.
        assert trial.accuracy == pytest.approx(correct[s].mean())
        assert trial.loss == pytest.approx(loss[s].mean(), rel=1e-6)
    for number in range(FOLDS):
        others = fold != number
        share = correct[:, others].mean(axis=1)
        error = np.sqrt(share.max() * (1 - share.max()) / others.sum())
        level = share >= share.max() - error
        chosen = int(np.argmin(np.where(level, loss[:, others].mean(axis=1), np.inf)))
        assert (found.predicted[~others] == said[chosen, ~others]).all()


def test_accuracy_is_balanced_over_classes() -> None:
    """A setting that always says the class of the majority has an accuracy of one half."""
    y = np.array([0] * 45 + [1] * 5)
    always = Planted("always", (Weights(np.zeros((2, 1)), np.array([1.0, 0])),))
    assert cross_validate(Problem(np.zeros((50, 1)), y, 2), (always,)).best.accuracy == pytest.approx(0.5)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_the_planted_best_is_found(place: int) -> None:
    """Among useless settings the one that is right is chosen, wherever it stands, and comes first of the trials."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    x[:, 0] += 3 * (2 * y - 1)
    useless, right = Weights(np.array([[0, 1.0], [0, -1]]), np.zeros(2)), Weights(np.array([[-1.0, 0], [1, 0]]), np.zeros(2))
    weights = [useless] * 7
    weights[place] = right
    found = cross_validate(Problem(x, y, 2), (Planted("a", tuple(weights[:4])), Planted("b", tuple(weights[4:]))))
    assert found.best.setting == Setting("a" if place < 4 else "b", place % 4 if place < 4 else place - 4)
    assert found.trials[0] == found.best
    assert found.best.accuracy > 0.95
    assert [t.accuracy for t in found.trials[1:]] == sorted((t.accuracy for t in found.trials[1:]), reverse=True)
    assert len(found.trials) == 7


def test_of_level_settings_the_surer_is_chosen() -> None:
    """Within one standard error of the best accuracy, the setting with the least cross-entropy wins."""
    y = np.arange(100) % 2
    # The first coordinate is wrong twice and mostly hardly sure, the second thrice and always sure, the third 20 times.
    x = np.stack([np.where(np.arange(100) % 3, 0.001, 1.0), np.ones(100), np.ones(100)], axis=1) * (2 * y - 1)[:, None]
    for column, wrong in enumerate((2, 3, 20)):
        x[:wrong, column] *= -1
    weights = tuple(Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(3))
    found = cross_validate(Problem(x, y, 2), (Planted("planted", weights),))
    assert found.best.setting.regularisation == 1.0
    assert [round(trial.accuracy, 2) for trial in found.trials] == [0.97, 0.98, 0.8]


def test_of_equal_settings_the_first_is_chosen(blobs: Blobs) -> None:
    """Settings that predict the very same are a tie, which goes to the first of the first head."""
    problem = blobs().problem(30)
    (weights,) = Prototype().solve(problem, (Setting("prototype", 0.0),))
    found = cross_validate(problem, (Planted("a", (weights, weights)), Planted("b", (weights,))))
    assert found.best.setting == Setting("a", 0.0)


def correlated(n: int) -> Problem:
    """Return classes that differ along a direction of little variance: no nearest mean, but a discriminant finds them."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    common = rng.normal(size=n) * 3
    x = np.stack([common + 0.7 * (2 * y - 1), common], axis=1) + rng.normal(size=(n, 2)) * 0.2
    return Problem(x - x.mean(axis=0), y, 2)


def test_the_head_that_fits_is_chosen() -> None:
    """Where only the covariance tells the classes apart, the prototype head loses by far."""
    found = cross_validate(correlated(80))
    assert found.best.setting.head != "prototype"
    accuracy = {head: max(t.accuracy for t in found.trials if t.setting.head == head) for head in ("prototype", "lda")}
    assert accuracy["lda"] > 0.9
    assert accuracy["prototype"] < 0.7


def test_a_source_that_helps_is_used_and_one_that_harms_is_not(blobs: Blobs) -> None:
    """With few samples a source of the same world gets weight; one with its classes permuted gets none."""
    world = blobs(k=4, m=20, apart=0.6)
    alone = world.problem(16)
    source: SourceTerm = world.source(2_000)
    helping = cross_validate(replace(alone, source=source))
    assert helping.best.setting.source_weight > 0
    wrong = SourceTerm(source.count, np.roll(source.mean, 1, axis=0), source.scatter)
    harmed = cross_validate(replace(world.problem(80), source=wrong))
    assert harmed.best.setting.source_weight == 0
    assert helping.best.accuracy > cross_validate(alone).best.accuracy


def test_a_right_prior_is_used(blobs: Blobs) -> None:
    """With a handful of samples and a shipped head that is right, settings that are drawn to it come out ahead."""
    world = blobs(k=4, m=30, apart=0.5)
    (right,) = LDA().solve(world.problem(4_000), (Setting("lda", 0.1),))
    found = cross_validate(replace(world.problem(16), prior=right), (Softmax(),))
    assert found.best.setting.prior == "shipped"


def test_the_temperature_is_folded_into_the_fit(blobs: Blobs) -> None:
    """The fitted head is the chosen setting's, its logits divided by the temperature found; absent classes stay so."""
    problem = replace(blobs().problem(60), k=4)
    found = cross_validate(problem)
    head = next(head for head in HEADS if head.name == found.best.setting.head)
    (plain,) = head.solve(problem, (found.best.setting,))
    scaled = fit(problem, found.best)
    np.testing.assert_allclose(scaled.weight * found.best.temperature, plain.weight, rtol=1e-12)
    np.testing.assert_allclose(scaled.bias[:3] * found.best.temperature, plain.bias[:3], rtol=1e-12)
    assert scaled.bias[3] == ABSENT


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_temperature_is_the_brute_force_minimum(seed: int, scale: float) -> None:
    """No temperature on a fine grid gives a lower weighted cross-entropy, whatever the scale of the logits."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 80)
    logits = rng.normal(size=(80, 3))
    logits[np.arange(80), y] += 1.5
    weight = rng.uniform(0.5, 1.5, 80) / 80
    temperature, each = best_temperature(logits * scale, y, weight)

    def loss(t: float) -> float:
        share = np.exp(logits * scale / t - (logits * scale / t).max(axis=1, keepdims=True))
        return float(-np.log((share / share.sum(axis=1, keepdims=True))[np.arange(80), y]) @ weight)

    grid = scale * np.exp(np.linspace(-4, 4, 2_001))
    values = [loss(t) for t in grid]
    assert each @ weight == pytest.approx(loss(temperature), rel=1e-9)
    assert each @ weight <= min(values) + 1e-5
    assert temperature == pytest.approx(grid[int(np.argmin(values))], rel=0.02)


def test_a_class_that_training_lacked_costs_ten_nats_and_moves_no_temperature() -> None:
    """Samples that cannot be predicted cost a fixed amount, whatever the temperature of the others."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 50)
    logits = np.hstack([rng.normal(size=(50, 2)), np.full((50, 1), ABSENT)])
    logits[np.arange(50), y] += 1
    alone, _ = best_temperature(logits, y, np.full(50, 1 / 50))
    more = np.vstack([logits, logits[:5]])
    together, each = best_temperature(more, np.append(y, [2] * 5), np.full(55, 1 / 55))
    assert together == pytest.approx(alone, rel=0.02)
    assert (each[50:] == 10).all()


def test_logits_without_information_have_a_temperature() -> None:
    """Logits that are all equal give a finite temperature and the loss of a blind guess."""
    temperature, each = best_temperature(np.zeros((9, 3)), np.arange(9) % 3, np.full(9, 1 / 9))
    assert np.isfinite(temperature)
    np.testing.assert_allclose(each, np.log(3))


def shipped_without(lost: int, problem: Problem) -> Problem:
    """Return the problem without the samples of a class."""
    return problem.subset(problem.y != lost)


def test_no_setting_that_forgets_a_shipped_class_is_tried(blobs: Blobs) -> None:
    """With a shipped class that has no local sample, every fit of every eligible setting still predicts it."""
    world = blobs(k=4, apart=4.0)
    whole = world.full(60, 300)
    right = LDA().solve(whole, (Setting("lda", 0.1),))[0]
    problem = shipped_without(2, replace(whole, prior=right))
    x, y = world.draw(100, 5)
    for head in HEADS:
        some = eligible(head, problem)
        assert some
        assert set(some) < set(head.settings(problem)) or head.name == "none"
        for weights in head.solve(problem, some):
            assert weights.bias[2] > ABSENT / 2
            assert (weights.logits(x)[y == 2].argmax(axis=1) == 2).mean() > 0.5


def test_settings_that_know_every_shipped_class_are_the_only_ones(blobs: Blobs) -> None:
    """A class that the source lacks lives in the shipped head alone, and the other way round: only that one counts."""
    whole = blobs(k=4).full(60, 300)
    count = whole.source.count * np.array([1, 1, 0, 1])
    source_lacks = shipped_without(2, replace(whole, source=replace(whole.source, count=count)))
    assert not eligible(LDA(), source_lacks)
    assert {s.prior for s in eligible(Softmax(), source_lacks)} == {"shipped"}
    prior_lacks = shipped_without(2, replace(whole, prior=Weights(whole.prior.weight, np.array([0, 0, ABSENT, 0]))))
    assert {s.source_weight > 0 for s in eligible(LDA(), prior_lacks)} == {True}
    assert not eligible(Softmax(), prior_lacks)
    both = replace(source_lacks, prior=prior_lacks.prior)
    assert eligible(LDA(), both) == LDA().settings(both)


def test_every_setting_is_tried_where_nothing_can_be_forgotten(blobs: Blobs) -> None:
    """With local samples of every shipped class nothing is left out."""
    problem = blobs().full(40)
    for head in HEADS:
        assert eligible(head, problem) == head.settings(problem)


def test_a_lone_sample_is_not_judged(blobs: Blobs) -> None:
    """The only sample of a class that no source knows cannot be held out; the others are."""
    problem = blobs(k=3).problem(20)
    rows = (problem.y != 1) | (np.cumsum(problem.y == 1) == 1)
    lone = problem.subset(rows)
    found = cross_validate(lone)
    assert (found.predicted[lone.y == 1] == -1).all()
    assert (found.predicted[lone.y != 1] >= 0).all()
    with_source = cross_validate(replace(lone, source=blobs(k=3).source(60)))
    assert (with_source.predicted >= 0).all()


def test_nothing_to_hold_out_is_said(blobs: Blobs) -> None:
    """With one sample a class and no source there is no judgement: the first setting, no folds, no figures."""
    found = cross_validate(Problem(np.eye(3), np.arange(3), 3))
    assert found.best.setting == Prototype().settings(Problem(np.eye(3), np.arange(3), 3))[0]
    assert found.folds == 0
    assert np.isnan(found.best.accuracy)
    assert (found.predicted == -1).all()


def test_progress_counts_folds(blobs: Blobs) -> None:
    """The callback hears of every fold, once, in order."""
    heard: list[tuple[int, int]] = []
    found = cross_validate(blobs().problem(30), HEADS, lambda done, total: heard.append((done, total)))
    assert heard == [(i + 1, FOLDS) for i in range(FOLDS)]
    assert found.folds == FOLDS
