"""What follows from advice: its page, the next step, and the classifier that it recommends."""

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch, which the server side needs, is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.errors import InputError, NotEnoughSamplesError
from acclimate.server.advice import Advice, advise, fit, next_steps
from acclimate.server.advice.given import check_given
from acclimate.server.advice.method import SOURCE_ONLY, TARGET_ONLY, TransferMethod
from acclimate.server.advice.methods import METHODS
from acclimate.server.advice.next_step import step_of
from acclimate.server.advice.page import advice_page
from acclimate.server.plots import Interval, IntervalPlot, draw, legend
from acclimate.server.report import render_report

from .pages import read

pytestmark = pytest.mark.needs_torch

NAMES = np.array(["ash & <b>", "elm", "oak"])


def sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw 90 samples of a source, and 60 of a target."""
    rng = np.random.default_rng(seed)
    means = 1.5 * rng.normal(size=(3, 5))
    y = rng.integers(0, 3, 150)
    x = means[y] + rng.normal(size=(150, 5))
    return x[:90], NAMES[y[:90]], x[90:], NAMES[y[90:]]


@pytest.fixture(scope="module")
def by_labels() -> Advice:
    """Advice to transfer, with one feature that is constant."""
    x, y, here, own = sides()
    x, here = (np.column_stack([rows, np.ones(len(rows))]) for rows in (x, here))
    return advise(x, y, here, np.where(np.arange(60) < 24, own, ""))


def test_the_page_tells_verdict_figures_mix_and_what_was_left_out(by_labels: Advice) -> None:
    """Names of classes are text, not markup; nothing is loaded; a method that was not compared is told with why."""
    html = render_report(advice_page(by_labels))
    page = read(html)
    shown = " ".join(page.texts)
    assert all(link.startswith("#") for link in page.links)
    assert "script" not in page.tags
    assert by_labels.recommended is not None
    assert all(line in shown for line in by_labels.why)
    best = next(one for one in by_labels.candidates if one.name == by_labels.recommended)
    assert f"{best.name} *" in page.texts
    assert f"{best.accuracy:.1%}" in page.texts
    assert all(step[1:] in shown for step in next_steps(by_labels))
    assert by_labels.shift is not None
    assert f"{by_labels.shift.p_value:.2g} at a level of 0.05" in page.texts
    assert by_labels.mix is not None
    assert all(f"{share:.1%}" in page.texts for share in by_labels.mix)
    assert "ash & <b>" in page.texts
    assert "1 of 6 features are constant within both sides: left out" in page.texts
    assert re.search(r'aria-label="Accuracy, held out: .*target only \d', html)


def test_pages_without_a_method_and_without_labels(by_labels: Advice) -> None:
    """Not to transfer marks the target alone; without labels the way back is drawn, and what was not compared told."""
    refused = replace(by_labels, recommended=None)
    shown = " ".join(read(render_report(advice_page(refused))).texts)
    assert "do not transfer" in shown
    assert step_of(TARGET_ONLY)[1:] in shown
    x, y, here, _ = sides()
    unknown = advise(x, y, here)
    html = render_report(advice_page(unknown))
    shown = " ".join(read(html).texts)
    assert 'aria-label="The way back' in html
    assert "Before it is relied on, label samples of the target" in shown
    assert not any("relied on" in step for step in next_steps(by_labels))
    assert f"{TARGET_ONLY}: not compared nothing tells how good it is" in shown
    dealt = advise(x, np.random.default_rng(0).permutation(y), here)
    assert dealt.recommended is None
    assert "label samples of the target, and ask again" in " ".join(next_steps(dealt))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_a_next_step_whose_names_exist(method: TransferMethod) -> None:
    """What it says to import can be imported."""
    step = step_of(method.name)
    assert step[0].islower()
    assert not step.endswith(".")
    for line in re.findall(r"from acclimate[\w.]* import [\w, ]+", step):
        exec(line, {})  # noqa: S102  our own words
    for command in re.findall(r"`acclimate (\w+)", step):
        assert command in {"predict", "observe", "adapt", "align", "pretrain"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_fitted_method_answers_as_the_one_that_was_compared(method: TransferMethod) -> None:
    """The same probabilities, of named classes, on features as they were given."""
    x, y, here, own = sides()
    some = np.where(np.arange(60) < 24, own, "")
    found = fit(method.name, x, y, here, some, seed=3)
    given = check_given(x, y, here, some, seed=3)
    answers = found(here)
    np.testing.assert_array_equal(answers, method.fit(given.pair)(given.space.apply(here)))
    assert found.classes == tuple(NAMES)
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert (np.array(found.classes)[answers.argmax(axis=1)] == own)[24:].mean() > 0.6


def test_what_cannot_be_fitted_or_asked_is_told() -> None:
    """A name that is none, labels that a method lacks, samples of another width or not finite."""
    x, y, here, own = sides()
    with pytest.raises(InputError, match=r"'balanced pool'.*found 'best'.*'target only'"):
        fit("best", x, y, here, own)
    with pytest.raises(NotEnoughSamplesError, match=r"'pool' needs labelled target samples, found none. Label more"):
        fit("pool", x, y, here)
    found = fit(SOURCE_ONLY, x, y, here)
    with pytest.raises(InputError, match="expected samples of 5 features, found 4"):
        found(here[:, :4])
    with pytest.raises(InputError, match="finite"):
        found(np.full((1, 5), np.nan))


def test_intervals_stand_where_their_numbers_are() -> None:
    """The line of what is compared with, its keys, and numbers that are no shares."""
    rows = (Interval("a", 0.5, 0.25, 0.75), Interval("b", 0.75, 0.5, 1.0), Interval("c", 0.5, 0.5, 0.5))
    plot = IntervalPlot("t", rows, "x", base="a", chosen="b")
    (drawing,) = draw(plot, prefix="p-")
    assert [key.name for key in legend(plot)] == ["b, to be taken", "a", "others"]
    found = {}
    for kind in ("base", "series-2"):
        line = re.search(
            rf'<path d="M (\S+) \S+ \s*L (\S+) [^"]*"[^>]*style="fill: none; stroke: var\(--{kind}\)', drawing.svg
        )
        assert line
        found[kind] = [float(value) for value in line.groups()]
    # Half of the other's lower end on is their middle.
    assert found["series-2"][0] == pytest.approx(sum(found["base"]) / 2, abs=0.1)
    for bad in (Interval("a", 0.5, 0.6, 0.7), Interval("a", 1.5, 0.6, 1.7), Interval("a", float("nan"), 0.0, 1.0)):
        with pytest.raises(InputError, match="a share from 0 to 1 within its interval"):
            draw(IntervalPlot("t", (bad,), "x"), prefix="p-")
    with pytest.raises(InputError, match="one row or more"):
        draw(IntervalPlot("t", (), "x"), prefix="p-")
