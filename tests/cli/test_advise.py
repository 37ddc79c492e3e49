"""`acclimate advise`, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest

from .conftest import Acclimate, Place

pytest.importorskip("torch", reason="torch, which the server side needs, is not installed")

pytestmark = pytest.mark.needs_torch


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Write features of three classes: a source, a target of which 24 samples are labelled, and a useless source."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 5)) * 1.5
    y = rng.integers(0, 3, 150)
    x = means[y] + rng.normal(size=(150, 5))
    np.savez(tmp_path / "source.npz", x=x[:90], y=y[:90])
    np.savez(tmp_path / "target.npz", x=x[90:], y=np.where(np.arange(60) < 24, y[90:], -1))
    np.save(tmp_path / "bare.npy", x[90:])
    np.savez(tmp_path / "dealt.npz", x=x[:90], y=rng.permutation(y[:90]))
    return tmp_path


def test_the_table_says_what_the_json_does_and_why(here: Acclimate, features: Path) -> None:
    """A method with its accuracy and interval, shift, sizes and balance in words; the same twice; never overwritten."""
    options = ("--json", "advice.json", "--report", "advice.html")
    found = here("advise", "--source", "source.npz", "--target", "target.npz", *options)
    assert found.code == 0, found.errors
    told = json.loads((features / "advice.json").read_text())
    method = told["recommended"]
    assert method is not None
    assert f"Transfer: '{method}'." in found.output
    best = next(one for one in told["candidates"] if one["name"] == method)
    row = next(line for line in found.output.splitlines() if line.strip().startswith(f"{method} *"))
    assert f"{best['accuracy']:.1%}" in row
    assert f"{best['low']:.1%} to {best['high']:.1%}" in row
    assert "Source: 90 labelled samples of 3 classes, 5 features" in found.output
    assert "Target: 24 labelled samples of 3 classes, 36 without a label" in found.output
    assert all(line in found.output for line in told["why"])
    assert f"fit({method!r}, source_x" in next(line for line in found.output.splitlines()[::-1] if "next: " in line)
    assert f"{method} *" in (features / "advice.html").read_text()
    again = here("advise", "--source", "source.npz", "--target", "target.npz", "--json", "twice.json")
    assert again.code == 0
    assert (features / "twice.json").read_text() == (features / "advice.json").read_text()
    for option, name in (("--json", "advice.json"), ("--report", "advice.html")):
        before = (features / name).read_bytes()
        refused = here("advise", "--source", "source.npz", "--target", "target.npz", option, name)
        assert refused.code == 1
        assert name in refused.errors
        assert (features / name).read_bytes() == before
        assert "or give --overwrite" in refused.errors
    replaced = here("advise", "--source", "source.npz", "--target", "bare.npy", *options, "--overwrite")
    assert replaced.code == 0, replaced.errors
    assert json.loads((features / "advice.json").read_text())["basis"] == "validators"
    kept = here("advise", "--source", "source.npz", "--target", "bare.npy", "--json", "source.npz", "--overwrite")
    assert "expected --json to be another file than --source" in kept.errors


def test_a_useless_source_is_refused_and_no_labels_are_told(here: Acclimate, features: Path) -> None:
    """Exit code 0 all the same: advice was given."""
    found = here("advise", "--source", "dealt.npz", "--target", "target.npz")
    assert found.code == 0, found.errors
    assert "Do not transfer, train on the target's samples alone" in found.output
    bare = here("advise", "--source", "source.npz", "--target", "bare.npy")
    assert bare.code == 0, bare.errors
    assert "This is little to go by: 0 labelled target samples" in bare.output
    assert "not compared: target only" in bare.output


def test_frames_are_embedded_by_a_bundle(here: Acclimate, tiny_bundle: Path, place: Place) -> None:
    """The same frames without one are no features."""
    options = ("--source", place.test, "--target", place.local)
    found = here("advise", *options, "--model", tiny_bundle, "--json", "advice.json")
    assert found.code == 0, found.errors
    told = json.loads((place.local.parent / "advice.json").read_text())
    assert told["classes"] == ["bark", "brick", "gravel", "moss"]
    assert told["basis"] == "labels"
    plain = here("advise", *options)
    assert plain.code == 1
    assert "Name a bundle that embeds them: --model BUNDLE" in plain.errors


def test_what_is_wrong_is_said_in_a_line(here: Acclimate, features: Path) -> None:
    """A source without labels, widths that differ, groups that do not fit, files that are missing."""
    with np.load(features / "source.npz") as source:
        np.savez(features / "plain.npz", x=source["x"])
        np.savez(features / "narrow.npz", x=source["x"][:, :4], y=source["y"])
    np.save(features / "groups.npy", np.arange(4))
    cases = [
        (("plain.npz", "target.npz"), (), 1, "expected labelled samples in plain.npz"),
        (("narrow.npz", "target.npz"), (), 1, "found 4 and 5 features"),
        (("source.npz", "gone.npz"), (), 1, "found nothing at gone.npz"),
        (("source.npz", "target.npz"), ("--groups", "groups.npy"), 1, "for each of 60 target samples in groups.npy"),
        (("source.npz", "target.npz"), ("--groups", "no.npy"), 1, "expected a .npy file of groups, found nothing at"),
        (("source.npz", "target.npz"), ("--groups", "target.npz"), 1, "expected a .npy file of groups, found target"),
    ]
    for (source, target), more, code, said in cases:
        found = here("advise", "--source", source, "--target", target, *more)
        assert (found.code, said in " ".join(found.errors.split())) == (code, True), found.errors


def test_groups_are_held_out_together(here: Acclimate, features: Path) -> None:
    """Fewer than six groups of labelled samples are too few to tell."""
    np.save(features / "groups.npy", np.arange(60) // 6)
    found = here("advise", "--source", "source.npz", "--target", "target.npz", "--groups", "groups.npy")
    assert found.code == 0, found.errors
    assert "This is little to go by: 24 labelled target samples" in found.output
