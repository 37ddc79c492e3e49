"""`acclimate explain` and `acclimate gains` from end to end."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("captum", reason="acclimate[explain] is not installed")

import torch

from acclimate.cli.groups import read_groups
from acclimate.errors import InputError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.models import architecture_of, build_model

from .conftest import Acclimate, Place

pytestmark = pytest.mark.needs_torch

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a network for the scenes, not trained."""
    (tmp_path / "net.py").write_text(NET)
    settings = ModelSettings(name=f"{tmp_path}/net.py:make")
    torch.manual_seed(0)
    model = build_model(settings, 4, (1, 8, 8))
    notes: Any = {
        "shape": [1, 8, 8], "mean": [0.5], "std": [0.5], "classes": ["bark", "brick", "gravel", "moss"],
        "tasks": [{"name": "class", "classes": ["bark", "brick", "gravel", "moss"]}], "form": "image",
    }  # fmt: skip
    save_checkpoint(tmp_path / "model", model, architecture=architecture_of(settings, 4, (1, 8, 8)), notes=notes)
    return tmp_path / "model"


def test_a_bundle_is_explained_on_a_page(here: Acclimate, tiny_bundle: Path, place: Place, tmp_path: Path) -> None:
    """The page is written once, and never over another; JSON has the heat of each place."""
    done = here("explain", tiny_bundle, "--data", place.test, "--out", "page.html", "--count", 3)
    assert done.code == 0, done.errors
    assert "wrote page.html" in done.output
    assert "data:image/png" in (tmp_path / "page.html").read_text()
    again = ("explain", tiny_bundle, "--data", place.test, "--out", "page.html", "--count", 1)
    refused = here(*again)
    assert refused.code == 1
    assert "--overwrite" in refused.errors
    assert here(*again, "--overwrite").code == 0
    found = here("explain", tiny_bundle, "--data", place.test, "--json", "--method", "occlusion", "--count", 2).json()
    assert np.shape([one["heat"] for one in found["frames"]]) == (2, 8, 8)


def test_a_checkpoint_is_explained(here: Acclimate, checkpoint: Path, place: Place, tmp_path: Path) -> None:
    """By its gradients, on raw frames; the completeness of integrated gradients is told."""
    code = f"{tmp_path}/net.py:make"
    options = ("--data", place.test, "--code", code, "--count", 2, "--json")
    found = here("explain", checkpoint, *options).json()
    assert found["method"] == "grad-cam"
    assert found["remarks"] == ["Of the layer 0."]
    found = here("explain", checkpoint, *options, "--method", "integrated-gradients").json()
    assert max(abs(one["gap"]) for one in found["frames"]) < 0.05
    assert here("explain", checkpoint, *options, "--layer", "0").json()["method"] == "grad-cam"
    told = here("explain", checkpoint, *options, "--layer", "stem").errors
    assert "found 'stem'. Its convolutions are 0." in told
    assert "RawModel" not in told
    assert "found ''" in here("explain", checkpoint, *options, "--layer", "").errors
    told = here("explain", checkpoint, *options, "--layer", "0", "--method", "occlusion").errors
    assert "a layer with grad-cam alone" in told
    assert here("explain", checkpoint, *options, "--patch", 2).json()["method"] == "occlusion"


def test_mistakes_are_what_is_predicted_wrong(here: Acclimate, tiny_bundle: Path, place: Place) -> None:
    """Every frame shown has another label than was predicted; at home there may be none, and that is told."""
    found = here("explain", tiny_bundle, "--data", place.test, "--json", "--mistakes", "--count", 4).json()
    assert len(found["frames"]) == 4
    assert all(one["predicted"] != one["label"] for one in found["frames"])


def test_options_of_another_source_are_refused(here: Acclimate, tiny_bundle: Path, place: Place) -> None:
    """A method, a store or code that does not go with the source, and neither page nor JSON."""
    data = ("--data", place.test)
    assert here("explain", tiny_bundle, *data).code == 2
    assert "no gradients" in here("explain", tiny_bundle, *data, "--json", "--method", "grad-cam").errors
    assert "only with a checkpoint" in here("explain", tiny_bundle, *data, "--json", "--code", "a.py:b").errors
    assert "--layer with the network" in here("explain", tiny_bundle, *data, "--json", "--layer", "0").errors
    patched = (*data, "--json", "--patch", 2, "--count", 1)
    assert "with occlusion alone" in here("explain", tiny_bundle, *patched, "--method", "cam").errors
    assert here("explain", tiny_bundle, *patched).json()["method"] == "occlusion"
    assert "only with a bundle" in here("explain", "torchvision:resnet18", *data, "--json", "--store", "x.db").errors
    assert "Convert it" in here("explain", "model.onnx", *data, "--json").errors


def test_gains_are_told_and_drawn(
    here: Acclimate, tiny_bundle: Path, place: Place, tmp_path: Path, scenes: ModuleType
) -> None:
    """What adapting gained at a place: as a table, as JSON and on a page, with the groups that the file names."""
    bundle = tmp_path / "tiny.acc"
    bundle.write_bytes(tiny_bundle.read_bytes())
    assert here("gains", bundle, "--data", place.test).code == 1
    here("observe", bundle, place.local)
    here("adapt", bundle)
    x, y = scenes.frames(120, 9, 1.0)
    np.savez(tmp_path / "held.npz", x=x, y=y, group=np.arange(120) % 2)
    found = here("gains", bundle, "--data", "held.npz", "--json", "--draws", 1, "--out", "gains.html").json()
    assert found["accuracy"]["after"] > found["accuracy"]["before"] + 0.2
    assert found["fairness"]["after"]["groups"] == ["0", "1"]
    assert found["savings"]
    assert "Accuracy against labels" in (tmp_path / "gains.html").read_text()
    assert here("gains", bundle, "--data", "held.npz", "--draws", 0, "--out", "gains.html").code == 1
    told = here("gains", bundle, "--data", "held.npz", "--draws", 0, "--out", "gains.html", "--overwrite")
    assert told.code == 0
    assert "points on 120 held-out samples" in told.output
    assert "equalized odds" in told.output


def test_groups_are_read_from_a_file(tmp_path: Path, place: Place) -> None:
    """A line or an entry for each frame; others are refused, and no file means no groups."""
    lines, array = tmp_path / "groups.txt", tmp_path / "groups.npy"
    lines.write_text("a\nb\na\n")
    np.save(array, np.array([1, 2, 1]))
    assert read_groups(lines, place.test, 3) == ["a", "b", "a"]
    assert read_groups(array, place.test, 3) == ["1", "2", "1"]
    np.save(array, np.array([True, False, True]))
    assert read_groups(array, place.test, 3) == ["1", "0", "1"]
    assert read_groups(None, place.test, 200) is None
    for path in (lines, array):
        with pytest.raises(InputError, match="each of"):
            read_groups(path, place.test, 4)


def test_files_of_groups_that_say_nothing_are_refused(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark of the encoding is no part of a name, an empty line is no group, and no more is read than is allowed."""
    lines = tmp_path / "groups.txt"
    lines.write_text("\ufeffa\nb\n", encoding="utf-8")
    assert read_groups(lines, place.test, 2) == ["a", "b"]
    with pytest.raises(InputError, match="found 2\\. Name"):
        read_groups(lines, place.test, 3)
    lines.write_text("a\n\nb\n")
    with pytest.raises(InputError, match="none in line 2"):
        read_groups(lines, place.test, 3)
    monkeypatch.setattr("acclimate.cli.groups._MOST_BYTES", 2**20)
    with pytest.raises(InputError, match="at most 1 MB"):
        read_groups(Path("/dev/zero"), place.test, 3)
