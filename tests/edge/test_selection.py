"""Cross-validation: fair folds, no leakage, the planted best found, no shipped class forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.folds import FOLDS, assign_folds
from acclimate.edge.adaptation.selection import cross_validate
from acclimate.edge.heads import AUTO, HEADS, LDA, Problem, Prototype, Setting, Softmax, SourceTerm, Weights

from .planted import Planted

Blobs = Callable[..., Any]


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
    correct, loss = np.zeros((len(settings), 60)), np.zeros((len(settings), 60))
    said = np.zeros((len(settings), 60), int)
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
    y = np.repeat([0, 1], [45, 5])
    always = Planted("always", (Weights(np.zeros((2, 1)), np.array([1.0, 0])),))
    assert cross_validate(Problem(np.zeros((50, 1)), y, 2), (always,)).best.accuracy == pytest.approx(0.5)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_the_planted_best_is_found(place: int) -> None:
    """Among useless settings the one that is right is chosen, wherever it stands, and comes first of the trials."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    x[:, 0] += 3 * (2 * y - 1)
    right, useless = (Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(2))
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
    sure = np.ones((100, 3))
    sure[np.arange(100) % 3 > 0, 0] = 0.001
    x = sure * np.where(y, 1.0, -1.0)[:, None]
    for column, wrong in enumerate((2, 3, 20)):
        x[:wrong, column] *= -1
    weights = tuple(Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(3))
    found = cross_validate(Problem(x, y, 2), (Planted("planted", weights),))
    assert found.best.setting.regularisation == 1.0
    assert [round(trial.accuracy, 2) for trial in found.trials] == [0.97, 0.98, 0.8]


@pytest.mark.parametrize("copies", [1, 2, 3, 9])
@pytest.mark.parametrize("n", [30, 37, 64])
def test_of_equal_settings_the_first_is_chosen(blobs: Blobs, n: int, copies: int) -> None:
    """Settings that predict the very same are a tie, which goes to the first of the first head, on any machine."""
    problem = blobs().problem(n)
    (weights,) = Prototype().solve(problem, (Setting("prototype", 0.0),))
    found = cross_validate(problem, (Planted("a", (weights,) * copies), Planted("b", (weights,))))
    assert found.best.setting == Setting("a", 0.0)


def correlated(n: int) -> Problem:
    """Return classes that differ along a direction of little variance, which a nearest mean cannot find."""
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
    """The callback hears of every fold of every head, once, in order; heads that are solved together count once."""
    heard: list[tuple[int, int]] = []
    found = cross_validate(blobs().problem(30), HEADS, lambda done, total: heard.append((done, total)))
    assert heard == [(i + 1, 3 * FOLDS) for i in range(3 * FOLDS)]
    assert found.folds == FOLDS


@dataclass
class Memory:
    """A head that knows its training samples by heart, and guesses the first class for all others."""

    name: str = "memory"
    width: int = 8

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        return (Setting(self.name, 1.0),)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        # Each group has an axis of its own, so the weights hold what was seen of each group and nothing else.
        weight = np.zeros((problem.k, self.width))
        np.add.at(weight, problem.y, problem.x)
        return [Weights(weight, np.append(0.1, np.zeros(problem.k - 1)))]


def scenes(count: int = 8, each: int = 6) -> tuple[Problem, np.ndarray]:
    """Return samples that tell nothing but their group, which tells the class of those seen with it."""
    groups = np.repeat(np.arange(count), each)
    return Problem(np.eye(count)[groups], groups % 2, 2), groups


def test_samples_of_a_group_are_never_on_both_sides() -> None:
    """A head that recognises groups is right on every sample without them, and at a loss where they are kept apart."""
    problem, groups = scenes()
    assert (cross_validate(problem, (Memory(),)).predicted == problem.y).all()
    apart = cross_validate(problem, (Memory(),), groups=groups)
    assert (apart.predicted == 0).all()
    assert all(len(np.unique(apart.fold[groups == group])) == 1 for group in range(8))


def test_probabilities_are_those_of_the_predictions(blobs: Blobs) -> None:
    """They add up to 1, name the predicted class, and are as sure as they are right; NaN where nothing is known."""
    problem = blobs(k=3, apart=0.5).problem(300)
    lone = problem.subset((problem.y != 1) | (np.cumsum(problem.y == 1) == 1))
    found = cross_validate(lone)
    known = found.predicted >= 0
    assert (known == (found.fold >= 0)).all()
    assert (known == (lone.y != 1)).all()
    assert np.isnan(found.probabilities[~known]).all()
    np.testing.assert_allclose(found.probabilities[known].sum(axis=1), 1)
    assert (found.probabilities[known].argmax(axis=1) == found.predicted[known]).all()
    sure, right = found.probabilities[known].max(axis=1).mean(), (found.predicted == lone.y)[known].mean()
    assert abs(sure - right) < 0.05


def test_probabilities_do_not_depend_on_the_labels_of_their_fold() -> None:
    """Swapping the labels within a fold changes nothing of what is said of it: no fit, choice or temperature saw them.

    With heads that look at no labels and two settings of which one is better by far, what could change is how sure the
    probabilities are.
    """
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    x = rng.normal(size=(100, 2)) + (2 * y - 1)[:, None] * [1.0, 0.2]
    head = Planted("planted", tuple(Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(2)))
    fold = assign_folds(y)
    swapped = np.where(fold == 2, 1 - y, y)
    before, after = (cross_validate(Problem(x, labels, 2), (head,)) for labels in (y, swapped))
    assert (before.fold == fold).all()
    assert (after.fold == fold).all()
    np.testing.assert_allclose(after.probabilities[fold == 2], before.probabilities[fold == 2], rtol=1e-6)
    assert not np.allclose(after.probabilities[fold != 2], before.probabilities[fold != 2], rtol=1e-3)


def test_after_the_deadline_only_the_first_head_is_tried(blobs: Blobs) -> None:
    """Out of time from the start, the cheapest head is still tried at every setting, and nothing else."""
    problem = blobs().full(40)
    found = cross_validate(problem, deadline=perf_counter())
    assert {trial.setting.head for trial in found.trials} == {"prototype"}
    assert len(found.trials) == len(Prototype().settings(problem))
    assert found.best.accuracy == cross_validate(problem, (Prototype(),)).best.accuracy
    later = cross_validate(problem, deadline=perf_counter() + 1e6)
    assert {trial.setting.head for trial in later.trials} == {head.name for head in AUTO}


def test_a_head_that_is_late_is_left_out_and_nothing_after_it_is_begun(blobs: Blobs) -> None:
    """Time that runs out between two folds ends the search there: what is not through is not among the trials."""
    problem, begun = blobs().problem(40), []
    (weights,) = Prototype().solve(problem, (Setting("prototype", 0.0),))

    def slow(done: int, total: int) -> None:
        begun.append(done)
        while done == FOLDS + 2 and perf_counter() < deadline:
            pass

    heads = tuple(Planted(name, (weights,)) for name in "abc")
    deadline = perf_counter() + 0.5
    found = cross_validate(problem, heads, slow, deadline=deadline)
    assert [trial.setting.head for trial in found.trials] == ["a"]
    assert begun == list(range(1, FOLDS + 3))


def test_heavier_samples_decide(blobs: Blobs) -> None:
    """Accuracy is weighted: a setting that is right on the heavy samples alone is taken for right."""
    y = np.arange(60) % 2
    heavy = np.arange(60) % 4 < 2
    x = np.stack([np.where(heavy, 1, -1), np.where(heavy, -1, 1)], axis=1) * (2.0 * y - 1)[:, None]
    head = Planted("planted", tuple(Weights(np.stack([-axis, axis]), np.zeros(2)) for axis in np.eye(2)))
    found = cross_validate(Problem(x, y, 2, weight=np.where(heavy, 99.0, 1.0)), (head,))
    assert found.best.setting.regularisation == 0
    assert found.best.accuracy == pytest.approx(0.99)
