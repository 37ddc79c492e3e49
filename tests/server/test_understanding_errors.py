"""What adapting a regressor gained, against scikit-learn, by coverage, and at a place with another zero."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the regressor needs a runtime")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.edge import Regressor
from acclimate.errors import InputError, LabelError
from acclimate.server.report import render_report
from acclimate.server.understanding.error_gains import compare_values, tail_of
from acclimate.server.understanding.error_page import error_page, error_text
from acclimate.server.understanding.error_place import ErrorPlaceGains, place_errors

from ..edge.regression_world import regression_bundle, truth
from .pages import read


def drawn(seed: int, n: int = 200, t: int = 2) -> tuple[Any, Any, Any]:
    """Draw values of an uneven spread, and two models of which the second errs less."""
    draw = np.random.default_rng(seed)
    y = draw.gamma(2.0, 3.0, (n, t))
    return y, y + draw.normal(size=(n, t)) + 0.5, y + 0.7 * draw.normal(size=(n, t))


def test_figures_are_those_of_scikit_learn() -> None:
    """MAE, RMSE and R2 of both models, and the quantile ranges with their errors and counts."""
    metrics = pytest.importorskip("sklearn.metrics")
    binned = pytest.importorskip("sklearn.preprocessing").KBinsDiscretizer(
        4, encode="ordinal", strategy="quantile", quantile_method="linear"
    )
    # Of so many the quantiles are samples themselves, which belong to one side.
    y, one, two = drawn(0, 201)
    found = compare_values(y, one, two, names=("a", "b"))
    assert found.samples == 201
    for i, target in enumerate(found.targets):
        for when, said in (("before", one[:, i]), ("after", two[:, i])):
            assert getattr(target.mae, when) == pytest.approx(metrics.mean_absolute_error(y[:, i], said))
            assert getattr(target.rmse, when) == pytest.approx(metrics.root_mean_squared_error(y[:, i], said))
            assert getattr(target.r2, when) == pytest.approx(metrics.r2_score(y[:, i], said))
        place = binned.fit_transform(y[:, i : i + 1]).ravel()
        old, new = np.abs(one - y)[:, i], np.abs(two - y)[:, i]
        assert [part.samples for part in target.ranges] == [int((place == j).sum()) for j in range(4)]
        for j, part in enumerate(target.ranges):
            assert (part.mae.before, part.mae.after) == pytest.approx((old[place == j].mean(), new[place == j].mean()))
            assert (part.nearer, part.farther) == ((new < old)[place == j].sum(), (new > old)[place == j].sum())
        assert target.mae.high < 0 < target.r2.low
        assert target.nearer == sum(part.nearer for part in target.ranges)


def test_the_interval_of_the_mean_error_is_that_of_a_paired_t_test() -> None:
    """Of many samples the bootstrap's ends are Student's, and its quantile that of scipy nearly."""
    stats = pytest.importorskip("scipy.stats")
    y, one, two = drawn(1, 400, 1)
    change = compare_values(y, one, two, draws=20_000).targets[0].mae
    gone = (np.abs(two - y) - np.abs(one - y)).ravel()
    low, high = stats.t.interval(0.95, 399, gone.mean(), stats.sem(gone))
    assert (change.low, change.high) == pytest.approx((low, high), abs=0.03 * (high - low))
    for n in (8, 20, 100):
        expected = stats.norm.sf(math.sqrt((n + 1) / (n - 1)) * stats.t.isf(0.025, n - 1))
        assert tail_of(n) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("n", [12, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(n: int) -> None:
    """Of errors whose mean is known, nine of ten or more, also where samples are few."""
    held = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        y = np.zeros(n)
        change = compare_values(y, draw.normal(size=n), 0.5 * draw.normal(size=n), draws=300).targets[0].mae
        held += change.low <= -0.5 * math.sqrt(2 / math.pi) <= change.high
    assert 0.9 < held / 300 < 0.99


def test_ties_flat_truth_and_few_samples_are_told_as_what_they_are() -> None:
    """Tied truth makes fewer ranges, flat truth has no R2, and of four samples there is no interval."""
    y = np.array([1.0] * 30 + [2.0] * 5)
    target = compare_values(y, y + 1, y).targets[0]
    assert sum(part.samples for part in target.ranges) == 35
    flat = compare_values(np.ones(6), np.zeros(6), np.ones(6)).targets[0]
    assert math.isnan(flat.r2.after)
    assert [part.name for part in flat.ranges] == ["1"]
    few = compare_values(np.arange(4.0), np.zeros(4), np.arange(4.0)).targets[0]
    assert math.isnan(few.mae.low)
    assert not few.mae.told
    with pytest.raises(InputError, match="NaN or infinity"):
        compare_values(np.array([np.nan]), np.zeros(1), np.zeros(1))
    with pytest.raises(InputError, match="as many values"):
        compare_values(np.zeros(3), np.zeros(2), np.zeros(3))


def test_a_difference_without_an_interval_is_not_said_to_be_chance() -> None:
    """Below eight samples nothing tells whether chance explains it; where there are many and none differs, it does."""
    y = np.arange(5.0)
    few = error_text(compare_values(y, y + 1, y + 0.5).targets[0])
    assert few.endswith("-0.5 (too few to tell)")
    truth, before, after = drawn(0)
    assert error_text(compare_values(truth, before, before).targets[0]).endswith("within what chance explains")
    assert "chance explains" in error_text(compare_values(truth, before, after).targets[0])


@pytest.fixture(scope="module")
def depth(tiny_bundle: Path, scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two targets."""
    home = scenes.frames(150, 1)[0]
    return regression_bundle(
        tiny_bundle, tmp_path_factory.mktemp("depth") / "depth.acc", home, truth(tiny_bundle, home)
    )


@pytest.fixture(scope="module")
def local(tiny_bundle: Path, scenes: ModuleType) -> tuple[Any, Any]:
    """Frames of a place where one of the targets has another zero."""
    x = scenes.frames(160, 2)[0]
    return x, truth(tiny_bundle, x, 2) + np.array([0.0, 5.0])


@pytest.fixture(scope="module")
def gained(depth: Path, local: tuple[Any, Any]) -> ErrorPlaceGains:
    """What adapting there to 60 samples gained, ten of the frames asked about being stored."""
    x, y = local
    with Regressor.open(depth, threads=1) as regressor:
        regressor.observe(x[:60], y[:60])
        regressor.adapt(on_insufficient="apply")
        given = y[50:].copy()
        given[-1] = np.nan
        groups = ["odd" if i % 2 else "even" for i in range(110)]
        return place_errors(regressor, x[50:], given, groups=groups, budgets=(2, 5, 15), draws=2, seconds_per_label=9)


def test_gains_are_those_of_the_regressor(gained: ErrorPlaceGains, depth: Path, local: tuple[Any, Any]) -> None:
    """Before is what the shipped head predicts, after what the version in use does, of frames not stored alone."""
    x, y = local
    with Regressor.open(depth, threads=1) as regressor:
        before = regressor.predict(x[60:-1]).values
        regressor.observe(x[:60], y[:60])
        regressor.adapt(on_insufficient="apply")
        after = regressor.predict(x[60:-1]).values
    assert (gained.left_out, gained.gains.samples, gained.version) == (10, 99, 1)
    for i, target in enumerate(gained.gains.targets):
        assert target.mae.before == pytest.approx(np.abs(before - y[60:-1])[:, i].mean())
        assert target.mae.after == pytest.approx(np.abs(after - y[60:-1])[:, i].mean())
        assert [part.samples for part in target.groups] == [50, 49]
    assert [target.name for target in gained.gains.targets] == ["angle", "depth"]
    assert gained.gains.targets[1].mae.high < -4
    assert any("no value" in remark for remark in gained.remarks)


def test_transfer_saves_labels_where_only_the_zero_differs(gained: ErrorPlaceGains) -> None:
    """With five labels the transferred head does what one from scratch needs far more for; all labels come last."""
    _, curves = gained.curves
    assert curves.transferred.labels == curves.scratch.labels == (5, 15, 60)
    assert curves.shipped == pytest.approx(gained.gains.targets[1].mae.before)
    # With all labels the curve ends at what is in use.
    assert -curves.transferred.accuracy[-1][0] == pytest.approx(gained.gains.targets[1].mae.after, rel=1e-6)
    first = gained.savings[1][0]
    assert first.factor > 2
    seconds, without = gained.seconds(curves, first)
    assert 45 < seconds < without
    plain = gained.to_dict()
    assert plain["curves"][1]["with"]["mae"][0][0] > 0
    assert plain["curves"][1]["savings"][0]["mae"] == pytest.approx(-first.accuracy)


def test_the_page_shows_what_was_found(gained: ErrorPlaceGains) -> None:
    """Targets, ranges, curves and groups stand on a page that loads nothing from elsewhere."""
    html = render_report(error_page(gained, "What adapting gained"))
    for text in ("By the true depth", "without transfer", "labels do what", "depth, by group", "mean absolute error"):
        assert text in html, text
    # Its zero is five off: drawn with the curves it would leave them flat.
    assert f"The shipped head's error is {gained.curves[1].shipped:.4g}." in html.replace("&#39;", "'")
    assert html.count("as shipped") > 2
    page = read(html)
    assert all(link.startswith("#") for link in page.links)
    assert not page.tags & {"script", "img", "iframe", "link"}


def test_what_does_not_fit_is_refused(depth: Path, local: tuple[Any, Any]) -> None:
    """Values of other targets, groups of another number, frames without a value; no stored sample means no curves."""
    x, y = local
    with Regressor.open(depth, threads=1) as regressor:
        with pytest.raises(LabelError, match="each of the targets"):
            place_errors(regressor, x[:5], y[:5, 0])
        with pytest.raises(InputError, match="a group for each"):
            place_errors(regressor, x[:5], y[:5], groups=["a"])
        with pytest.raises(InputError, match="have no value"):
            place_errors(regressor, x[:5], np.full((5, 2), np.nan))
        found = place_errors(regressor, x[:5], y[:5])
    assert found.curves == ()
    assert any("no learning curves" in remark for remark in found.remarks)
    assert any("nothing was adapted yet" in remark for remark in found.remarks)
