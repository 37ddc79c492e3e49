"""Where `acclimate convert` may write, and what else it refuses before a model is loaded."""

import os
from pathlib import Path

import numpy as np
import pytest

from acclimate.cli.convert_paths import check_paths
from acclimate.errors import InputError, OutputExistsError

from .conftest import Acclimate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with what a conversion reads."""
    monkeypatch.chdir(tmp_path)
    for name in ("two.npz", "model.onnx", "model.py", "w.h5", "config.json"):
        (tmp_path / name).write_text("mine")
    os.link("two.npz", "linked.npz")
    (tmp_path / "other").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told_before_the_work(folder: Path) -> None:
    """Not after minutes, by the name of a hidden part."""
    shut = folder / "shut"
    shut.mkdir(mode=0o555)
    with pytest.raises(InputError, match="shut may not be written"):
        check_paths({"--out": shut / "m.acc"}, {}, overwrite=False)


@pytest.mark.parametrize(
    ("out", "report", "source", "message"),
    [
        ("two.npz", None, "model.onnx", "--out to be another file than --data"),
        ("other/two.npz", None, "model.onnx", "--out to be another file than --data"),
        ("linked.npz", None, "model.onnx", "--out to be another file than --data"),
        ("model.onnx", None, "model.onnx", "--out to be another file than SOURCE"),
        ("model.py", None, "model.py:build", "--out to be another file than SOURCE"),
        ("config.json", None, "hf-config:config.json", "--out to be another file than SOURCE"),
        ("w.h5", None, "keras:MobileNetV2", "--out to be another file than --weights"),
        ("m.acc", "two.npz", "model.onnx", "--report to be another file than --data"),
        ("m.acc", "other/m.acc", "model.onnx", "--report to be another file than --out"),
    ],
)
def test_what_is_read_is_never_written(folder: Path, out: str, report: str | None, source: str, message: str) -> None:
    """Whether it may be replaced or not, under any name, and where neither is there yet."""
    written = {"--out": Path(out), "--report": None if report is None else Path(report)}
    read: dict[str, str | Path | None] = {"SOURCE": source, "--data": Path("two.npz"), "--weights": Path("w.h5")}
    for overwrite in (True, False):
        with pytest.raises(InputError, match=message):
            check_paths(written, read, overwrite=overwrite)


def test_a_place_that_cannot_be_written_is_refused(folder: Path) -> None:
    """A missing folder, a folder, and a file that is there and may not be replaced; other places will do."""
    check_paths({"--out": Path("m.acc"), "--report": None}, {"SOURCE": "model.onnx"}, overwrite=False)
    check_paths({"--out": Path("two.npz")}, {"SOURCE": "model.onnx", "--weights": None}, overwrite=True)
    with pytest.raises(InputError, match=r"expected a folder to write r\.html into, found none at nodir"):
        check_paths({"--out": Path("m.acc"), "--report": Path("nodir/r.html")}, {}, overwrite=False)
    with pytest.raises(OutputExistsError, match=r"found a folder: other"):
        check_paths({"--report": Path("other")}, {}, overwrite=True)
    with pytest.raises(OutputExistsError, match=r"two\.npz is there already"):
        check_paths({"--report": Path("two.npz")}, {}, overwrite=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "home.npz", "--overwrite"), "expected --out to be another file than --data"),
        (("--out", "m.acc", "--report", "nodir/r.html"), "found none at nodir"),
        (
            ("--out", "m.acc", "--head", "fit"),
            "at least two classes in the source to fit a head on, found one",
        ),
        (("--out", "m.acc", "--licence", "MIT\nor not"), "expected the licence as text"),
    ],
)
def test_no_model_is_loaded_for_what_is_refused(
    acclimate: Acclimate, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """In one line, although there is no such model, and the data is what it was."""
    pytest.importorskip("torch", reason="torch, which converting needs, is not installed")
    np.savez(tmp_path / "home.npz", x=np.zeros((9, 8, 8, 1), np.uint8), y=np.array(["moss"] * 9))
    before = (tmp_path / "home.npz").read_bytes()
    found = acclimate("convert", "none.py:build", "--data", "home.npz", *arguments)
    assert found.code == 1
    assert message in found.errors
    assert (tmp_path / "home.npz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["home.npz"]
