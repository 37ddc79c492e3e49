"""The commands of the device side on a bundle whose task is regression, as a user types them."""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Regressor

from ..edge.regression_world import regression_bundle, truth
from .conftest import Acclimate

pytest.importorskip("onnxruntime", reason="the commands need a runtime")

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()


@pytest.fixture(scope="module")
def made(tiny_bundle: Path, scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle that predicts two targets, and frames of a place where one of them has another zero."""
    folder = tmp_path_factory.mktemp("made")
    home, x = scenes.frames(150, 1)[0], scenes.frames(90, 2)[0]
    regression_bundle(tiny_bundle, folder / "depth.acc", home, truth(tiny_bundle, home))
    y = truth(tiny_bundle, x, 2) + np.array([0.0, 5.0])
    np.savez(folder / "local.npz", x=x[:60], y=y[:60])
    np.savez(folder / "test.npz", x=x[60:], y=y[60:])
    np.save(folder / "frames.npy", x[:20])
    np.save(folder / "targets.npy", np.where(np.arange(20)[:, None] < 15, y[:20], np.nan))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it in the folder where commands run."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def acclimate(here: Acclimate) -> Acclimate:
    """Run the command in this process; `test_device.py` starts real ones."""
    return here


def open_stored(folder: Path) -> Regressor:
    """Open the copy, to see what a command has done."""
    return Regressor.open(folder / "depth.acc", folder / "depth.db", threads=1)


def test_the_way_of_a_user(acclimate: Acclimate, folder: Path) -> None:
    """observe, estimate, adapt, predict, versions, export and rollback in turn, in JSON; rolling back undoes it."""
    before = acclimate("predict", "depth.acc", "test.npz", "--json").json()
    assert not (folder / "depth.db").exists()
    assert before["predictions"][0]["interval"] is None
    observed = acclimate("observe", "depth.acc", "local.npz", "--tag", "pier", "--json").json()
    assert (len(observed["ids"]), observed["stored"], observed["labelled"]) == (60, 60, 60)
    assert acclimate("estimate", "depth.acc", "--json").json()["samples"] == 60
    adapted = acclimate("adapt", "depth.acc", "--json")
    assert adapted.code == 0
    report = adapted.json()
    assert [target["name"] for target in report["targets"]] == ["angle", "depth"]
    after = acclimate("predict", "depth.acc", "test.npz", "--json").json()
    assert after["fit"]["frames"] == 30
    assert after["fit"]["rmse"]["depth"] < 0.5 * before["fit"]["rmse"]["depth"]
    assert after["fit"]["r2"]["depth"] > before["fit"]["r2"]["depth"]
    with open_stored(folder) as regressor, np.load(folder / "test.npz") as test:
        found, score = regressor.predict(test["x"]), regressor.score(test["x"], test["y"])
    assert found.interval is not None
    expected = [dict(zip(found.targets, row, strict=True)) for row in found.values.tolist()]
    assert [row["values"] for row in after["predictions"]] == expected
    assert after["predictions"][3]["interval"]["angle"] == found.interval[3, 0]
    assert np.mean(list(after["fit"]["r2"].values())) == pytest.approx(score)
    history = acclimate("versions", "depth.acc", "--json").json()
    assert [(version["number"], version["current"]) for version in history] == [(0, False), (1, True)]
    exported = acclimate("export", "depth.acc", "-o", "depth.onnx", "--json").json()
    assert (exported["version"], exported["bytes"]) == (1, (folder / "depth.onnx").stat().st_size)
    assert acclimate("rollback", "depth.acc", "--json").json() == {"version": 0}
    assert acclimate("predict", "depth.acc", "test.npz", "--json").json() == before


def test_without_json_people_can_read_it(acclimate: Acclimate, folder: Path) -> None:
    """Lines and tables: values with their interval, errors of each target before and after."""
    assert acclimate("observe", "depth.acc", "local.npz").output.startswith("observed 60 frames as 1 to 60; ")
    shipped = acclimate("predict", "depth.acc", "frames.npy").output.splitlines()
    assert shipped[0].count("\t") == 2
    assert "+-" not in "".join(shipped)
    assert shipped[-1] == "angle, depth of 20 frames"
    adapted = acclimate("adapt", "depth.acc")
    report = acclimate("adapt", "depth.acc", "--json").json()
    table = [line.split() for line in adapted.output.splitlines()]
    depth = next(line for line in table if line and line[0] == "depth")
    assert float(depth[2]) < 0.5 * float(depth[1])
    assert float(depth[2]) == pytest.approx(report["targets"][1]["rmse_after"], rel=1e-3)
    assert ["strength", "source", "weight", "prior", "loss"] in table
    said = acclimate("predict", "depth.acc", "test.npz").output.splitlines()
    with open_stored(folder) as regressor, np.load(folder / "test.npz") as test:
        found = regressor.predict(test["x"])
    assert found.interval is not None
    assert said[0] == "\t".join(
        ["test.npz[0]"]
        + [f"{v:.6g} +- {w:.3g}" for v, w in zip(found.values[0].tolist(), found.interval[0].tolist(), strict=True)]
    )
    assert said[-2].startswith("angle, depth of 30 frames; +- is the interval")
    assert said[-1].endswith("on 30 labelled frames")
    assert acclimate("inspect", "depth.acc").output.count("regression, 2 targets: angle, depth") == 1


def test_targets_in_a_file_of_their_own(acclimate: Acclimate, folder: Path) -> None:
    """A row of NaN is a frame without; a single frame takes one row; numbers in two places are refused."""
    observed = acclimate("observe", "depth.acc", "frames.npy", "--targets", "targets.npy", "--json").json()
    assert (observed["stored"], observed["labelled"]) == (20, 15)
    told = acclimate("predict", "depth.acc", "frames.npy", "--targets", "targets.npy", "--json").json()
    assert told["fit"]["frames"] == 15
    np.save(folder / "one.npy", np.load(folder / "frames.npy")[0] ^ 1)
    np.save(folder / "its.npy", [[1.0, 2.0]])
    assert acclimate("observe", "depth.acc", "one.npy", "--targets", "its.npy", "--json").json()["labelled"] == 16
    twice = acclimate("observe", "depth.acc", "local.npz", "--targets", "its.npy")
    assert (twice.code, twice.output) == (1, "")
    assert "found them in both" in twice.errors


def test_images_get_their_targets_by_order(acclimate: Acclimate, folder: Path, scenes: ModuleType) -> None:
    """A folder of images is read in the order of the names, and its rows are those of the file."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    (folder / "photos").mkdir()
    for i, frame in enumerate(scenes.frames(4, 9)[0]):
        image.fromarray(frame[..., 0]).save(folder / "photos" / f"{i}.png")
    np.save(folder / "four.npy", [[1.0, 2.0], [3.0, 4.0], [np.nan, np.nan], [5.0, 6.0]])
    observed = acclimate("observe", "depth.acc", "photos", "--targets", "four.npy", "--json").json()
    assert (observed["stored"], observed["labelled"]) == (4, 3)
    with open_stored(folder) as regressor:
        samples, y = regressor._session.store.measured(2)
        assert regressor.keys(samples.ids) == ["0.png", "1.png", "3.png"]
    np.testing.assert_array_equal(y[2], [5, 6])


def test_label_suggest_and_forget(acclimate: Acclimate, folder: Path) -> None:
    """What is suggested has no label; values are typed with commas, also negative ones; forgetting goes by tag."""
    acclimate("observe", "depth.acc", "frames.npy", "--targets", "targets.npy", "--tag", "pier")
    found = acclimate("suggest", "depth.acc", "-n", "2", "--json").json()
    assert all(row["id"] > 15 for row in found)
    labelled = acclimate("label", "depth.acc", "-3.5,4", found[0]["id"], "--json").json()
    assert labelled == {"ids": [found[0]["id"]], "values": {"angle": -3.5, "depth": 4.0}}
    with open_stored(folder) as regressor:
        samples, y = regressor._session.store.measured(2)
        assert y[samples.ids.tolist().index(found[0]["id"])].tolist() == [-3.5, 4.0]
    assert acclimate("label", "depth.acc", "1,2", 1, 2).output == "labelled 2 samples 1,2\n"
    gone = acclimate("forget", "depth.acc", "--tag", "pier", "--json").json()
    assert gone == {"samples": 20, "versions": 0, "erased": True}


def test_an_update_goes_to_another_device(acclimate: Acclimate, folder: Path) -> None:
    """Saved on one device, applied on another that has no store yet."""
    acclimate("observe", "depth.acc", "local.npz")
    acclimate("adapt", "depth.acc")
    assert acclimate("update", "save", "depth.acc", "-o", "a.accu", "--json").json()["signed"] is False
    there = ("--store", "there.db")
    assert acclimate("update", "apply", "depth.acc", "a.accu", *there, "--json").json() == {"version": 1}
    here, other = (acclimate("predict", "depth.acc", "test.npz", "--json", *s).json() for s in ((), there))
    assert other["fit"]["rmse"]["depth"] == pytest.approx(here["fit"]["rmse"]["depth"], rel=0.05)


def test_what_may_be_forgotten_is_in_points(acclimate: Acclimate, folder: Path) -> None:
    """Labels that contradict the source: no bound lets them pass, and a strict one keeps the shipped head."""
    with np.load(folder / "local.npz") as local:
        np.savez(folder / "turned.npz", x=local["x"], y=-local["y"])
    acclimate("observe", "depth.acc", "turned.npz")
    strict = acclimate("adapt", "depth.acc", "--max-forgetting", "5", "--json")
    assert (strict.code, strict.json()["applied"]) == (3, False)
    assert "forgets the source" in strict.json()["reason"]
    assert acclimate("adapt", "depth.acc", "--max-forgetting", "100", "--json").json()["applied"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classes", "list", "depth.acc"), "found one for regression. Its targets are fixed: see `acclimate inspect`"),
        (("classes", "add", "depth.acc", "moss"), "`acclimate label` corrects their values"),
        (("classes", "remove", "depth.acc", "moss"), "`acclimate inspect`"),
        (("suspects", "depth.acc"), "Use `acclimate predict` on labelled frames"),
        (("forget", "depth.acc", "--label", "moss"), "Use `acclimate forget` with ids or --tag."),
        (("suggest", "depth.acc", "--strategy", "margin"), "Use `acclimate suggest --strategy k-centre`."),
        (("observe", "depth.acc", "more.npy", "--new-classes", "refuse"), "`acclimate observe` without --new-classes"),
        (("label", "depth.acc", "moss", "1"), "expected a number for each of the targets angle, depth"),
        (("label", "depth.acc", "1.5", "1"), "found '1.5'"),
        (("label", "depth.acc", "nan,1", "1"), "rows with some of them"),
        (("observe", "depth.acc", "more.npy", "--targets", "none.npy"), "expected a .npy file of targets"),
        (("observe", "depth.acc", "more.npy", "--targets", "text.npy"), "expected a NumPy file"),
        (("observe", "depth.acc", "more.npy", "--targets", "few.npy"), "expected numbers for 4 frames, found float64"),
        (("observe", "depth.acc", "more.npy", "--targets", "wide.npy"), "expected a number for each sample"),
        (("observe", "depth.acc", "names.npz"), "names.npz: expected 'y' with numbers"),
        (("observe", "tiny.acc", "more.npy", "--targets", "few.npy"), "expected a bundle for regression"),
        (("predict", "tiny.acc", "more.npy", "--targets", "few.npy"), "expected a bundle for regression"),
        (("adapt", "depth.acc", "--max-memory-mb", "1"), "expected to need at most 1 MB"),
        (("adapt", "depth.acc", "--store", "none.db"), "expected a store at none.db, found none"),
    ],
)
def test_errors_are_one_line(
    acclimate: Acclimate, folder: Path, tiny_bundle: Path, scenes: ModuleType, arguments: tuple[str, ...], message: str
) -> None:
    """A refusal is one line on standard error with exit code 1, and nothing is stored."""
    shutil.copy(tiny_bundle, folder / "tiny.acc")
    acclimate("observe", "depth.acc", "frames.npy", "--targets", "targets.npy")
    more = scenes.frames(4, 9)[0]
    np.save(folder / "more.npy", more)
    np.savez(folder / "names.npz", x=more, y=["moss"] * 4)
    (folder / "text.npy").write_text("no array")
    np.save(folder / "few.npy", np.ones((3, 2)))
    np.save(folder / "wide.npy", np.ones((4, 3)))
    found = acclimate(*arguments)
    assert (found.code, found.output) == (1, "")
    assert found.errors.startswith("error: ")
    assert message in found.errors
    assert found.errors.count("\n") == 1
    assert not (folder / "tiny.db").exists()
    with open_stored(folder) as regressor:
        assert regressor.samples == (20, 15)


def test_the_guide_runs(
    acclimate: Acclimate, folder: Path, scenes: ModuleType, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python block of the guide's section runs as it is, then its commands, on other frames."""
    section = GUIDE.split("## Regression")[1].split("## ")[0]
    (code,), (commands,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "sh"))
    shutil.copy(folder / "depth.acc", folder / "gauge.acc")
    monkeypatch.chdir(folder)
    said: list[tuple[object, ...]] = []
    with np.load(folder / "local.npz") as local:
        days = ["monday", "tuesday", "friday"] * 20
        exec(  # noqa: S102
            compile(code, "guide.md", "exec"),
            {"frames": local["x"], "values": local["y"], "days": days, "print": lambda *what: said.append(what)},
        )
    assert str(said[0][0]).startswith("applied (ridge")
    assert [row[0] for row in said[1:3]] == ["angle", "depth"]
    x = scenes.frames(30, 9)[0]
    np.save(folder / "frames.npy", x)
    np.save(folder / "values.npy", np.where(np.arange(30)[:, None] < 20, truth(tiny_bundle, x, 9), np.nan))
    lines = [line.split() for line in commands.splitlines()]
    assert len(lines) == 7
    for words in lines:
        done = acclimate(*words[1:])
        # What is worth adapting to is not what is shown here.
        assert done.code in ((0, 3) if words[1] == "adapt" else (0,)), done.errors
    with Regressor.open(folder / "gauge.acc", folder / "gauge.db", threads=1) as gauge:
        assert gauge.samples[0] == 40 - 20
    assert (folder / "adapted.onnx").exists()


def test_json_is_one_document(acclimate: Acclimate, folder: Path) -> None:
    """Also where there is nothing to compare with: strict JSON, no NaN."""
    for arguments in (
        ("observe", "depth.acc", "local.npz"),
        ("adapt", "depth.acc"),
        ("predict", "depth.acc", "frames.npy"),
        ("versions", "depth.acc"),
        ("inspect", "depth.acc"),
    ):
        json.loads(acclimate(*arguments, "--json").output, parse_constant=pytest.fail)
