"""What adapting gained: figures against scikit-learn, intervals by their coverage, curves by hand."""

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.understanding.efficiency import LearningCurve, labels_needed, savings
from acclimate.server.understanding.gains import Gains, compare_models
from acclimate.server.understanding.gains_tables import labels_text

pytestmark = pytest.mark.needs_torch


def drawn(seed: int, n: int = 300, k: int = 4) -> tuple[Any, Any, Any]:
    """Draw labels, and predictions of two models that make some of their mistakes together."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, k, n)
    one = np.where(draw.random(n) < 0.7, y, draw.integers(0, k, n))
    two = np.where(draw.random(n) < 0.5, one, np.where(draw.random(n) < 0.85, y, draw.integers(0, k, n)))
    return y, one, two


def test_figures_are_those_of_scikit_learn() -> None:
    """Accuracy, recall, precision, F1, their means and both confusions equal scikit-learn's."""
    metrics = pytest.importorskip("sklearn.metrics")
    y, one, two = drawn(0)
    found = compare_models(y, one, two)
    for said, when, table in ((one, "before", found.confusion_before), (two, "after", found.confusion_after)):
        precision, recall, f1, support = metrics.precision_recall_fscore_support(y, said)
        for i, part in enumerate(found.classes):
            assert part.samples == support[i]
            values = [getattr(change, when) for change in (part.recall, part.precision, part.f1)]
            np.testing.assert_allclose(values, [recall[i], precision[i], f1[i]], rtol=1e-12)
        assert getattr(found.accuracy, when) == pytest.approx(metrics.accuracy_score(y, said))
        assert getattr(found.balanced, when) == pytest.approx(metrics.balanced_accuracy_score(y, said))
        assert getattr(found.macro_f1, when) == pytest.approx(metrics.f1_score(y, said, average="macro"))
        np.testing.assert_array_equal(table, metrics.confusion_matrix(y, said))
    assert found.gained - found.lost == round(len(y) * found.accuracy.difference)
    assert found.gained == int(((two == y) & (one != y)).sum())
    assert sum(part.gained for part in found.classes) == found.gained
    assert sum(part.lost for part in found.classes) == found.lost


def test_the_interval_of_accuracy_is_that_of_a_paired_comparison() -> None:
    """It is nearly the interval of Agresti and Min in closed form, and narrower than one of unpaired samples."""
    y, one, two = drawn(1, n=400)
    found = compare_models(y, one, two, draws=20_000).accuracy
    b, c, n = int(((two == y) & (one != y)).sum()) + 0.5, int(((one == y) & (two != y)).sum()) + 0.5, len(y) + 2
    middle, half = (b - c) / n, 1.96 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    np.testing.assert_allclose([found.low, found.high], [middle - half, middle + half], atol=0.004)
    shares = [found.before, found.after]
    unpaired = 1.96 * math.sqrt(sum(p * (1 - p) / len(y) for p in shares))
    assert (found.high - found.low) / 2 < unpaired


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 300 draws of 60 samples the intervals of accuracy, recall, precision and F1 hold the truth in 92 %."""
    truth = [_figures(*drawn(10_000 + i, n=20_000, k=3)) for i in range(8)]
    wanted = np.mean(truth, axis=0)
    held = np.zeros(4)
    for seed in range(300):
        found = compare_models(*drawn(seed, n=60, k=3), draws=400, seed=seed)
        part = found.classes[0]
        for i, change in enumerate((found.accuracy, part.recall, part.precision, part.f1)):
            held[i] += change.low <= wanted[i] <= change.high
    assert (held / 300 > 0.92).all(), held / 300


def _figures(y: Any, one: Any, two: Any) -> list[float]:
    found = compare_models(y, one, two, draws=100)
    part = found.classes[0]
    return [change.difference for change in (found.accuracy, part.recall, part.precision, part.f1)]


def test_no_mistake_is_not_taken_for_certain() -> None:
    """Where both models are right throughout, the interval is not of width 0, and narrows with more samples."""
    widths = []
    for n in (10, 1_000):
        found = compare_models(["a", "b"] * n, ["a", "b"] * n, ["a", "b"] * n)
        assert not found.accuracy.told
        widths.append(found.accuracy.high - found.accuracy.low)
    assert widths[0] > 0.1
    assert 0 < widths[1] < 0.01


def test_models_that_do_not_differ_seldom_seem_to() -> None:
    """Two models of the same accuracy are told apart in at most 5 % of 200 draws, but for what these vary by."""
    seen = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        y = draw.integers(0, 2, 80)
        one, two = (np.where(draw.random(80) < 0.8, y, 1 - y) for _ in range(2))
        seen += compare_models(y, one, two, draws=400, seed=seed).accuracy.told
    assert seen <= 17


def test_a_class_that_is_new_has_no_precision_before() -> None:
    """What is never predicted has no precision: not known, and its recall is 0."""
    found = compare_models(["a", "b", "c", "c"], ["a", "b", "a", "b"], ["a", "b", "c", "c"])
    part = found.classes[2]
    assert part.label == "c"
    assert part.recall.before == 0
    assert math.isnan(part.precision.before)
    assert math.isnan(part.precision.low)
    assert part.recall.after == part.precision.after == 1
    assert found.to_dict()["classes"][2]["precision"]["before"] is None


def test_equal_arguments_give_equal_gains() -> None:
    """Draws are fixed by their seed."""
    first, again = (compare_models(*drawn(2), seed=3) for _ in range(2))
    assert isinstance(first, Gains)
    assert first == again
    assert first != compare_models(*drawn(2), seed=4)


@pytest.mark.parametrize(("y", "one", "two"), [([], [], []), ([1], [1], []), ([1, 2], [1, 2], [1])])
def test_other_lengths_are_refused(y: Any, one: Any, two: Any) -> None:
    """Nothing is compared with nothing."""
    with pytest.raises(InputError, match="as many labels"):
        compare_models(y, one, two)


def test_labels_needed_are_read_off_the_curve() -> None:
    """By hand: at a point, between two on a scale of logarithms, below the first, above the last, and where it dips."""
    labels, accuracy = (10, 40, 160), (0.6, 0.8, 0.9)
    assert labels_needed(labels, accuracy, 0.8) == pytest.approx(40)
    assert labels_needed(labels, accuracy, 0.7) == pytest.approx(20)
    assert labels_needed(labels, accuracy, 0.85) == pytest.approx(80)
    assert labels_needed(labels, accuracy, 0.5) == 10
    assert labels_needed(labels, accuracy, 0.91) == math.inf
    assert labels_needed((10, 20, 40), (0.8, 0.7, 0.9), 0.75) == 10
    assert labels_needed((10, 20, 40), (0.8, 0.9, 0.85), 0.88) == pytest.approx(10 * 2**0.8)
    with pytest.raises(InputError, match="ascending"):
        labels_needed((10, 10), (0.1, 0.2), 0.1)


def test_savings_of_a_curve_that_is_shifted_are_the_shift() -> None:
    """A model that needs a quarter of the labels at every accuracy saves four times, in every draw."""

    def accuracy(labels: float, ease: float) -> float:
        return min(0.99, 0.3 + 0.1 * math.log2(labels * ease))

    sizes = (8, 16, 32, 64)
    scratch = LearningCurve(sizes, tuple((accuracy(n, 1), accuracy(n, 0.9)) for n in sizes))
    transferred = LearningCurve(sizes, tuple((accuracy(n, 4), accuracy(n, 3.6)) for n in sizes))
    found = savings(transferred, scratch)
    assert [one.needed[0] for one in found] == [pytest.approx(32), pytest.approx(64), math.inf, math.inf]
    assert found[0].factor == pytest.approx(4)
    np.testing.assert_allclose(found[0].spread, (4, 4))
    assert str(found[0]) == "8 labels do what 32 do without transfer: 4.0 times (4.0 to 4.0)"
    assert str(found[2]) == "32 labels do what 64 do not without transfer"
    assert all(one.factor == pytest.approx(1) for one in savings(scratch, scratch))
    # What the fewest labels without transfer do already may take fewer still.
    floor = savings(scratch, transferred)[1]
    assert str(floor) == "16 labels do what at most 8 do without transfer: at most 0.5 times (0.5 to 0.5)"
    assert labels_text(floor.typical, floor.most, floor.least) == "at most 8"
    assert labels_text(9.0, floor.most, floor.least) == "9"
    with pytest.raises(InputError, match="as many draws"):
        savings(transferred, LearningCurve(sizes, tuple((0.5,) for _ in sizes)))


def test_an_interval_holds_the_figure_that_it_is_of() -> None:
    """Of one sample too, where the posterior is far from what was counted."""
    found = compare_models(np.array([1]), np.array([1]), np.array([0])).accuracy
    assert found.low <= found.after - found.before == -1
    assert found.high > 0
