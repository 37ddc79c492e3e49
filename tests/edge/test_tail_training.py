"""A tail is trained as numpy says, the same each time, no longer than held-out samples gain, and within its budget."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import Any, cast

import numpy as np
import pytest

from acclimate.edge.store.store import Store
from acclimate.edge.tail.courses import LEAST_ROUNDS, SHARES, courses
from acclimate.edge.tail.fit import BATCH, ROUNDS, Course, Diverged, Lesson, OutOfTime, balanced, fit_tail, train_on
from acclimate.edge.tail.forward import Forward
from acclimate.edge.tail.held_out import PATIENCE, HeldOut, hold_out, merged_folds, run_rows
from acclimate.edge.tail.maps import StoredMaps
from acclimate.edge.tail.order import batches
from acclimate.edge.tail.range_test import learning_rate
from acclimate.edge.tail.stepper import Stepper

from .tail_by_hand import SHAPE, SIZE, Shelf, by_hand

pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
K = 3


def zeros(k: int = K) -> dict[str, np.ndarray]:
    """Return parameters to begin with."""
    return {"fc.weight": np.zeros((k, SIZE), np.float32), "fc.bias": np.zeros(k, np.float32)}


def draw(n: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return maps of three classes with different means, and their classes."""
    means = np.random.default_rng(99).normal(size=(K, *SHAPE)) * 0.5
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    return np.clip(means[y] + rng.normal(size=(n, *SHAPE)) * noise, -4, 4).astype(np.float32), y


def lesson(n: int = 120, seed: int = 0, kept: int = 2**26, noise: float = 1.0, **more: Any) -> tuple[Lesson, Shelf]:
    """Return samples to train on, and the shelf that their maps are on."""
    maps, y = draw(n, seed, noise)
    code = by_hand().code
    shelf = Shelf(code.encode(maps))
    stored = StoredMaps(cast(Store, shelf), np.arange(1, n + 1), code, kept)
    return Lesson(stored, np.arange(n), y, balanced(y, K), zeros(), **more), shelf


@pytest.mark.parametrize("penalty", ["none", "l2sp", "ewc"])
def test_steps_are_those_of_numpy(penalty: str) -> None:
    """Five steps of momentum with weights and a penalty give what numpy gives in double precision."""
    rng, start = np.random.default_rng(0), zeros()
    start["fc.weight"] += rng.normal(size=(K, SIZE)).astype(np.float32)
    fisher = {name: rng.random(v.shape).astype(np.float32) for name, v in start.items()}
    stepper = Stepper(by_hand(penalty=penalty), K, 8, 1)
    # What was there before must leave no trace.
    stepper.begin(zeros(), fisher)
    stepper.step(0.1, 0.5)
    stepper.begin(start, fisher)
    weight, bias = (start[name].astype(np.float64) for name in ("fc.weight", "fc.bias"))
    moves = [np.zeros_like(weight), np.zeros_like(bias)]
    for _ in range(5):
        maps, y = rng.normal(size=(8, *SHAPE)), rng.integers(0, K, 8)
        counts = rng.random(8) + 0.1
        stepper.map[...], stepper.target[...], stepper.weight[...] = maps, np.eye(K)[y], counts
        found = stepper.step(0.1, 0.5)
        x, share = stepper.map.reshape(8, -1).astype(np.float64), counts / counts.sum()
        logs = x @ weight.T + bias
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        assert found == pytest.approx(-(logs[np.arange(8), y] * share).sum(), rel=1e-5)
        error = (np.exp(logs) - np.eye(K)[y]) * share[:, None]
        ones = {name: np.ones_like(values) for name, values in fisher.items()}
        force = {"none": None, "l2sp": ones, "ewc": fisher}[penalty]
        slopes = [error.T @ x, error.sum(axis=0)]
        for i, (now, name) in enumerate(((weight, "fc.weight"), (bias, "fc.bias"))):
            pull = 0 if force is None else 0.5 * force[name] * (now - start[name])
            moves[i] = 0.9 * moves[i] + slopes[i] + pull
            now -= 0.1 * moves[i]
    assert np.abs(stepper.parameters["fc.weight"] - weight).max() < 1e-5
    assert np.abs(stepper.parameters["fc.bias"] - bias).max() < 1e-5


def test_training_learns_and_is_the_same_each_time() -> None:
    """Equal samples and seed give equal weights, another seed others; and what was learnt holds for new samples."""
    content, course = by_hand(), Course(0.05, 6)
    stepper = Stepper(content, K, BATCH, 1)
    first, again, other = (
        fit_tail(stepper, lesson(seed=0, noise=0.5)[0], course),
        fit_tail(Stepper(content, K, BATCH, 1), lesson(noise=0.5)[0], course),
        fit_tail(stepper, replace(lesson(noise=0.5)[0], seed=1), course),
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["fc.weight"], other["fc.weight"])
    maps, y = draw(300, 5, 0.5)
    assert (Forward(content, 1).logits(maps, first).argmax(axis=1) == y).mean() > 0.9


def test_maps_are_read_in_batches_where_they_are_many() -> None:
    """Without room in memory no more than a batch is read at a time, and the training is the same."""
    stepper, course = Stepper(by_hand(), K, BATCH, 1), Course(0.05, 2)
    held, shelf = lesson(), lesson(kept=0)
    found = [fit_tail(stepper, one[0], course) for one in (held, shelf)]
    assert np.array_equal(found[0]["fc.weight"], found[1]["fc.weight"])
    assert max(shelf[1].read) == BATCH
    assert sum(held[1].read) == 120 < sum(shelf[1].read)


def test_weights_of_classes_and_samples() -> None:
    """A class counts as much as another, but for the mean weight of its samples; the mean of all is 1."""
    y = np.array([0, 0, 0, 1, 2, 2])
    plain = balanced(y, 3)
    assert np.allclose(np.bincount(y, plain), 2)
    assert plain.mean() == pytest.approx(1)
    given = balanced(y, 3, np.array([1.0, 1, 1, 3, 1, 1]))
    assert np.allclose(np.bincount(y, given) / np.bincount(y, given)[0], [1, 3, 1])


def test_batches_take_each_sample_once_and_mix_the_classes() -> None:
    """A pass takes every sample once, the next one in another order; no stretch of it lacks a large class."""
    y = np.array([0] * 60 + [1] * 30 + [2] * 6)
    passes = list(islice(batches(y, 96, (0,)), 2))
    assert all(sorted(one.tolist()) == list(range(96)) for one in passes)
    assert passes[0].tolist() != passes[1].tolist()
    for one in islice(batches(y, 16, (3,)), 12):
        assert abs(np.bincount(y[one], minlength=3) - [10, 5, 1]).max() <= 2


def test_rates_rise_and_fall_along_half_a_cosine() -> None:
    """A course rises from 0, is at half of its rate in the middle, and ends at a hundredth."""
    course = Course(0.2, 10)
    assert course.at(0) == 0
    rising = [course.at(done) for done in (0.01, 0.05, 0.1, 0.15)]
    assert rising == sorted(rising)
    assert rising[1] == pytest.approx(0.2 / 3, rel=0.01)
    assert 0.18 < max(course.at(done / 100) for done in range(101)) <= 0.2
    assert course.at(0.5) == pytest.approx(0.101)
    assert course.at(1) == course.at(7) == pytest.approx(0.002)


def test_targets_are_smoothed() -> None:
    """A share of each target is spread evenly over the classes; without one it is the class alone."""
    stepper, one = Stepper(by_hand(), K, 4, 1), lesson()[0]
    stepper.begin(zeros())
    rows = np.arange(4)
    train_on(stepper, one, rows, 0.0, smoothing=0.3)
    assert np.allclose(stepper.target, np.where(np.eye(K)[one.y[rows]] == 1, 0.8, 0.1))
    train_on(stepper, one, rows, 0.0)
    assert np.array_equal(stepper.target, np.eye(K)[one.y[rows]])


def test_smoothing_keeps_a_tail_from_sureness() -> None:
    """A few samples learnt for long leave logits small with smoothing, and let them grow without."""
    found = []
    for smoothing in (0.1, 0.0):
        one = lesson(30, noise=0.2)[0]
        rows = fit_tail(Stepper(by_hand(), K, BATCH, 1), one, Course(0.2, 20, 0.0, smoothing))
        maps = one.maps.read(np.arange(30))
        found.append(np.ptp(Forward(by_hand(), 1).logits(maps, rows), axis=1).mean())
    assert found[0] < 0.8 * found[1]


def test_a_course_goes_beyond_what_a_start_bears() -> None:
    """The rate of the first course is higher than what the range test gives, and rises to it slowly."""
    first, second = courses(0.1, 1e-3, 10, 3, None)
    assert first.rate > 0.1 == second.rate
    assert first.smoothing == second.smoothing > 0
    # Logits of classes that nothing trains stay as large as they are.
    assert all(course.smoothing == 0 for course in courses(0.1, 1e-3, 10, 3, None, everything=False))
    assert first.at(1 / (ROUNDS * 16)) < 0.1


def test_the_range_test_finds_a_rate_that_goes_well() -> None:
    """With maps of ten times the size a hundredth of the rate is found, and a training at the rate stays finite."""
    stepper, (small, _) = Stepper(by_hand(), K, BATCH, 1), lesson()
    large = replace(small, maps=_Scaled(small.maps, 10.0))
    rates = [learning_rate(stepper, one) for one in (small, large)]
    assert 20 < rates[0] / rates[1] < 500
    for one, rate in zip((small, large), rates, strict=True):
        fit_tail(stepper, one, Course(rate, 3))
    with pytest.raises(Diverged):
        fit_tail(stepper, large, Course(1e30, 3))


class _Scaled(StoredMaps):
    """Maps times a number."""

    def __init__(self, maps: StoredMaps, by: float) -> None:
        self._maps, self._by = maps, by

    def read(self, rows: Any) -> np.ndarray:
        return self._maps.read(rows) * np.float32(self._by)


def held(
    n: int, noise: float, course: Course, told: list[int] | None = None, wrong: int = 3
) -> tuple[HeldOut, np.ndarray]:
    """Hold three folds out, one of which may be labelled wrong, and return what was found with the classes."""
    content = by_hand()
    whole, _ = lesson(n, noise=noise)
    whole.y[np.arange(n) % 3 == wrong] = 0
    forward, fold = Forward(content, 1), np.arange(n) % 3

    def without(rows: np.ndarray) -> Lesson:
        return replace(whole, rows=rows, y=whole.y[rows], weight=whole.weight[rows])

    def logits(parameters: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        return run_rows(forward, whole.maps, parameters, rows)

    seen: list[int] = [] if told is None else told
    stepper = Stepper(content, K, BATCH, 1)
    return hold_out(stepper, without, logits, whole.y, fold, np.ones(n), (course,), seen.append), whole.y


def test_held_out_samples_end_the_training() -> None:
    """Where maps are noise, folds end in the second half of a schedule, and nothing is sure; else classes are told."""
    told: list[int] = []
    noise, y = held(60, 4.0, Course(0.05, ROUNDS), told)
    # Each fold's rounds count as done when it ends, wherever that is.
    assert 3 * (ROUNDS // 2 + PATIENCE) <= len(told) < 3 * ROUNDS
    assert told[-1] == 3 * ROUNDS
    clear, y = held(90, 0.5, Course(0.05, 8))
    assert (clear.predicted == y).mean() > 0.85
    assert noise.temperature > clear.temperature


def test_a_fold_does_not_tell_what_is_predicted_for_it() -> None:
    """Whatever the labels of a fold, the predictions for it are the same, where all folds are trained alike."""
    plain, wrong = (held(90, 1.0, Course(0.02, 1), wrong=fold)[0].predicted for fold in (3, 0))
    own = np.arange(90) % 3 == 0
    assert np.array_equal(plain[own], wrong[own])
    assert not np.array_equal(plain[~own], wrong[~own])


def test_folds_are_put_together() -> None:
    """Five folds become three, and what could not be held out still cannot."""
    assert merged_folds(np.array([0, 1, 2, 3, 4, -1])).tolist() == [0, 0, 1, 1, 2, -1]


def test_what_raises_ends_the_training() -> None:
    """What the caller raises after a round comes out; returning False ends the training there."""
    stepper, one = Stepper(by_hand(), K, BATCH, 1), lesson()[0]

    def cancel(done: int, _: object) -> bool:
        if done == 2:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        fit_tail(stepper, one, Course(0.01, 5), after=cancel)
    ended = fit_tail(stepper, one, Course(0.01, 5), after=lambda done, _: done < 2)
    assert np.array_equal(ended["fc.weight"], fit_tail(stepper, one, Course(0.01, 5), 2)["fc.weight"])


def test_no_step_is_taken_after_the_deadline() -> None:
    """A training whose time is over ends at the next step."""
    stepper = Stepper(by_hand(), K, BATCH, 1)
    with pytest.raises(OutOfTime):
        fit_tail(stepper, lesson(deadline=perf_counter())[0], Course(0.01, 5))


def test_less_is_tried_where_there_is_less_time() -> None:
    """All courses with time, then one, then fewer rounds, then none."""
    now = perf_counter()
    everything = courses(0.1, 1e-3, 10, 3, None)
    assert [(c.rate, c.rounds) for c in everything] == [(0.1 * share, ROUNDS) for share in SHARES]
    assert courses(0.1, 1e-3, 10, 3, now + 3600) == everything
    some = courses(0.1, 1.0, 10, 3, now + 700)
    assert len(some) == 1
    assert LEAST_ROUNDS <= some[0].rounds < ROUNDS
    with pytest.raises(OutOfTime):
        courses(0.1, 1.0, 10, 3, now + 60)
