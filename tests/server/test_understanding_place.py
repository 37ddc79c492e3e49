"""What transfer saved at a place: a planted one where it saves labels, and what is no held-out sample."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.edge import Learner
from acclimate.errors import InputError
from acclimate.server.report import render_report
from acclimate.server.understanding.gains_page import gains_page
from acclimate.server.understanding.place import place_gains
from acclimate.server.understanding.place_figures import PlaceGains

from .pages import read

pytestmark = pytest.mark.needs_torch


@pytest.fixture(scope="module")
def near(tiny_bundle: Path, scenes: ModuleType) -> PlaceGains:
    """A place that is a little darker than home: what the bundle knows is worth samples."""
    x, y = scenes.frames(80, 1, 0.4)
    tx, ty = scenes.frames(300, 2, 0.4)
    groups = np.array(["morning", "evening", "night"])[np.arange(300) % 3]
    with Learner.open(tiny_bundle, threads=1) as learner:
        learner.observe(x, y)
        learner.adapt(on_insufficient="apply")
        return place_gains(
            learner, tx, ty, groups=groups.tolist(), budgets=(2, 4, 10), draws=3, seconds_per_label=4.0, seed=1
        )


def test_transfer_saves_labels_where_the_place_is_near(near: PlaceGains) -> None:
    """With two labels a class the transferred head does what a head from scratch needs more than twice as many for."""
    assert near.curves is not None
    assert near.curves.transferred.labels == near.curves.scratch.labels == (8, 16, 40, 80)
    assert near.headline.labels == 8
    assert near.headline.factor > 2
    seconds, without = near.seconds(near.headline)
    assert seconds > 8 * 4.0
    assert without > 2 * seconds


def test_gains_are_those_of_the_learner(near: PlaceGains, tiny_bundle: Path, scenes: ModuleType) -> None:
    """Before is what the shipped head predicts, after what the version in use does."""
    x, y = scenes.frames(80, 1, 0.4)
    tx, ty = scenes.frames(300, 2, 0.4)
    with Learner.open(tiny_bundle, threads=1) as learner:
        before = learner.score(tx, ty)
        learner.observe(x, y)
        learner.adapt(on_insufficient="apply")
        after = learner.score(tx, ty)
    assert near.gains.accuracy.before == pytest.approx(before)
    assert near.gains.accuracy.after == pytest.approx(after)
    assert near.fairness is not None
    assert near.fairness[1].groups == ("evening", "morning", "night")
    shares = near.fairness[1].accuracy
    assert sum(share.hits for share in shares) == round(300 * after)


def test_the_page_shows_what_was_found(near: PlaceGains) -> None:
    """Classes, the curves, the saving and the groups stand on a page that loads nothing from elsewhere."""
    html = render_report(gains_page(near, "What adapting gained"))
    for text in ("gravel", "with transfer", "without transfer", "equal opportunity", "morning", "labels do what"):
        assert text in html, text
    page = read(html)
    assert all(link.startswith("#") for link in page.links)
    assert not page.tags & {"script", "img", "iframe", "link"}
    plain = near.to_dict()
    assert plain["savings"][0]["labels"] == 8
    assert len(plain["curves"]["with"]["accuracy"]) == 4


def test_stored_frames_are_not_held_out(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Frames that the store holds are left out and counted; where all are, that is an error."""
    x, y = scenes.frames(60, 1, 1.0)
    more, labels = scenes.frames(20, 5, 1.0)
    with Learner.open(tiny_bundle, threads=1) as learner:
        learner.observe(x, y)
        found = place_gains(learner, np.concatenate([x[:10], more]), [*y[:10], *labels], budgets=())
        assert found.left_out == 10
        assert found.gains.samples == 20
        assert found.curves is None
        assert found.gains.gained == found.gains.lost == 0
        assert "nothing was adapted yet" in " ".join(found.remarks)
        with pytest.raises(InputError, match="holds all of them"):
            place_gains(learner, x, y)


def test_classes_that_no_head_knows_count_as_wrong(tiny_bundle: Path, scenes: ModuleType) -> None:
    """They are named, and nobody is right about them; without stored samples there are no curves, and why is told."""
    x, y = scenes.frames(20, 6)
    y = np.where(y == "moss", "lichen", y)
    with Learner.open(tiny_bundle, threads=1) as learner:
        found = place_gains(learner, x, y)
    lichen = next(part for part in found.gains.classes if part.label == "lichen")
    assert lichen.samples == 5
    assert lichen.recall.after == 0
    assert any("No head knows lichen" in remark for remark in found.remarks)
    assert any("no learning curves" in remark for remark in found.remarks)


def test_what_does_not_fit_is_refused(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Groups of another number and times below 0 are errors that say so."""
    x, y = scenes.frames(8, 6)
    with Learner.open(tiny_bundle, threads=1) as learner:
        with pytest.raises(InputError, match="a group for each"):
            place_gains(learner, x, y, groups=["a"])
        with pytest.raises(InputError, match="0 seconds"):
            place_gains(learner, x, y, seconds_per_label=-1.0)
        learner.observe(*scenes.frames(24, 7))
        with pytest.raises(InputError, match="ascending budgets"):
            place_gains(learner, x, y, budgets=(5, 2))
