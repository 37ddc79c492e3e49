"""`acclimate align`: what it says and leaves behind, with and without frames, and what it refuses."""

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ..edge.regression_world import regression_bundle, truth
from .conftest import Acclimate

pytest.importorskip("onnxruntime", reason="the commands need a runtime")


@pytest.fixture
def place(tiny_bundle: Path, scenes: ModuleType, tmp_path: Path) -> Path:
    """A folder with a bundle, and frames of a darker place and of home."""
    shutil.copy(tiny_bundle, tmp_path / "tiny.acc")
    x, _ = scenes.frames(240, 2)
    np.save(tmp_path / "dark.npy", np.clip((x.astype(np.float64) - 128) * 0.8 + 113, 0, 255).astype(np.uint8))
    np.save(tmp_path / "home.npy", x[:100])
    return tmp_path


def test_check_align_and_roll_back(here: Acclimate, place: Path) -> None:
    """--check only tests; align observes the frames without labels, makes a version and tells why."""
    checked = here("align", "tiny.acc", "dark.npy", "--check")
    assert checked.code == 0
    assert "differ from the source" in checked.output
    assert [v["number"] for v in here("versions", "tiny.acc", "--json").json()] == [0]
    done = here("align", "tiny.acc", "dark.npy", "--json")
    assert done.code == 0
    found = done.json()
    assert (found["applied"], found["version"], found["samples"]) == (True, 1, 240)
    assert found["evidence"]["agreement"] > 0.8
    history = here("versions", "tiny.acc", "--json").json()
    assert "without labels" in history[1]["summary"]
    assert here("rollback", "tiny.acc", "--json").json() == {"version": 0}


def test_people_can_read_it(here: Acclimate, place: Path) -> None:
    """Without --json there are lines and a table of the mix of classes."""
    here("observe", "tiny.acc", "dark.npy")
    said = here("align", "tiny.acc", "--method", "coral")
    assert said.code == 0
    for part in ("aligned (coral)", "differ from the source", "nats likelier", "share here", "version 1 is in use"):
        assert part in said.output.replace("\n", " ")


def test_at_home_it_is_not_applied(here: Acclimate, place: Path) -> None:
    """Exit code 3, and the shipped head stays; --check is no failure, and its JSON is plain."""
    left = here("align", "tiny.acc", "home.npy")
    assert left.code == 3
    assert "nothing to align" in left.output.replace("\n", " ")
    checked = here("align", "tiny.acc", "--check", "--json")
    assert checked.code == 0
    assert checked.json()["shifted"] is False


def test_what_is_refused(here: Acclimate, place: Path, tiny_bundle: Path) -> None:
    """No store, another method, a bundle for regression: told before anything is made."""
    missing = here("align", "tiny.acc")
    assert missing.code == 1
    assert "Observe samples first" in missing.errors
    assert here("align", "tiny.acc", "dark.npy", "--method", "best").code == 2
    home = np.load(place / "home.npy")
    regression_bundle(tiny_bundle, place / "gauge.acc", home, truth(tiny_bundle, home))
    np.save(place / "narrow.npy", home[:, :4])
    for frames, said in (("gone.npy", "found nothing at gone.npy"), ("narrow.npy", "found shape (100, 4, 8, 1)")):
        refused = here("align", "tiny.acc", frames)
        assert (refused.code, said in refused.errors) == (1, True), refused.errors
    other = here("align", "gauge.acc", "dark.npy")
    assert other.code == 1
    assert "for regression" in other.errors
    assert not list(place.glob("*.db"))
