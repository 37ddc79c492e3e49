"""`acclimate explain` of a bundle for regression, as a user types it."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the commands need a runtime")
pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from ..edge.regression_world import regression_bundle, truth
from .conftest import Acclimate


def test_values_are_explained(here: Acclimate, tiny_bundle: Path, scenes: ModuleType, tmp_path: Path) -> None:
    """A page and JSON in the target's unit, beside the true values; what is of classes alone is refused."""
    x = scenes.frames(150, 1)[0]
    y = truth(tiny_bundle, x)
    bundle = regression_bundle(tiny_bundle, tmp_path / "depth.acc", x, y)
    np.savez(tmp_path / "some.npz", x=x[:5], y=y[:5])
    np.savez(tmp_path / "one.npz", x=x[:5], y=y[:5, 0])
    np.savez(tmp_path / "far.npz", x=x[:5], y=np.where(np.arange(10).reshape(5, 2) == 9, -np.inf, y[:5]))
    np.save(tmp_path / "frames.npy", x[:5])
    done = here("explain", bundle, "--data", "some.npz", "--target", "depth", "--count", 3, "--out", "depth.html")
    assert done.code == 0, done.errors
    assert f"{y[0, 1]:.6g}" in done.output
    page = (tmp_path / "depth.html").read_text()
    for text in ("How far depth falls", "raises the value", "mean absolute error"):
        assert text in page, text
    assert "speaks for the class" not in page
    found = json.loads(here("explain", bundle, "--data", "frames.npy", "--json").output, parse_constant=pytest.fail)
    assert [row["explained"] for row in found["frames"]] == ["angle"] * 5
    assert found["frames"][0]["label"] is None
    for arguments, told in (
        (("--data", "some.npz", "--mistakes"), "--mistakes with a model of classes"),
        (("--data", "some.npz", "--method", "cam"), "expected occlusion for a regressor, found cam"),
        (("--data", "some.npz", "--target", "width"), "expected one of the targets 'angle', 'depth'"),
        (("--data", "one.npz"), "expected 2 numbers a frame in 'y', of angle, depth; found 1"),
        (("--data", "far.npz", "--target", "depth"), "or NaN for a frame without, found infinity"),
    ):
        refused = here("explain", bundle, *arguments, "--json")
        assert refused.code == 1
        assert told in refused.errors
    refused = here("explain", tiny_bundle, "--data", "frames.npy", "--target", "depth", "--json")
    assert "expected --target with a regressor" in refused.errors
