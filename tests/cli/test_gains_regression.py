"""`acclimate gains` of a bundle for regression, as a user types it."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the commands need a runtime")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from ..edge.regression_world import regression_bundle, truth
from .conftest import Acclimate


def test_gains_of_a_regressor(here: Acclimate, tiny_bundle: Path, scenes: ModuleType, tmp_path: Path) -> None:
    """A table, a page and JSON with the errors of each target, range and group; frames without numbers are refused."""
    home, x = scenes.frames(150, 1)[0], scenes.frames(90, 2)[0]
    bundle = regression_bundle(tiny_bundle, tmp_path / "depth.acc", home, truth(tiny_bundle, home))
    y = truth(tiny_bundle, x, 2) + np.array([0.0, 5.0])
    np.savez(tmp_path / "local.npz", x=x[:40], y=y[:40])
    np.savez(tmp_path / "held.npz", x=x[40:], y=y[40:], group=np.arange(50) % 2 == 0)
    np.save(tmp_path / "frames.npy", x[40:])
    here("observe", bundle, "local.npz")
    here("adapt", bundle)
    done = here("gains", bundle, "--data", "held.npz", "--draws", 1, "--out", "gains.html")
    assert done.code == 0, done.errors
    # A table may wrap where it is printed for people.
    for text in ("root mean squared error", "depth, by group", "more than chance explains", "wrote gains.html"):
        assert text in " ".join((done.output + done.errors).split()), text
    assert "By the true depth" in (tmp_path / "gains.html").read_text()
    said = here("gains", bundle, "--data", "held.npz", "--draws", 0, "--json").output
    found = json.loads(said, parse_constant=pytest.fail)
    depth = found["targets"][1]
    assert depth["mae"]["after"] < 0.5 * depth["mae"]["before"]
    assert [part["name"] for part in depth["groups"]] == ["0", "1"]
    assert (found["samples"], found["curves"]) == (50, [])
    refused = here("gains", bundle, "--data", "frames.npy")
    assert refused.code == 1
    assert "expected numbers with the frames" in refused.errors
