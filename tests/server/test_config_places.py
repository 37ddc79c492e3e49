"""Paths in settings begin at the working directory; where they seem to begin at the file, that is said."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.config.places import check_places
from acclimate.server.config.read import read_config
from acclimate.server.pretrain import pretrain

pytestmark = pytest.mark.needs_torch


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings with data and code beside them, and another one that is worked in."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("images", "val", "r0"):
        (tmp_path / "conf" / name).mkdir(parents=True)
    for name in ("net.py", "w.pth", "rows.npz"):
        (tmp_path / "conf" / name).touch()
    return tmp_path / "conf"


def write(project: Path, model: str, data: str) -> Path:
    path = project / "run.toml"
    path.write_text(f"[model]\n{model}\n[data]\n{data}\n")
    return path


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ('name = "net.py:make"', 'train = "x"', "model.name = 'net.py:make'"),
        ('name = "r0"', 'train = "x"', "model.name = 'r0'"),
        ('name = "timm:x"\nweights = "w.pth"', 'train = "x"', "model.weights = 'w.pth'"),
        ('name = "x"\ncode = "net.py:make"', 'train = "x"', "model.code = 'net.py:make'"),
        ('name = "x"', 'train = "images"', "data.train = 'images'"),
        ('name = "x"', 'train = "rows.npz"', "data.train = 'rows.npz'"),
        ('name = "x"', 'train = "x"\nvalidation = "val"', "data.validation = 'val'"),
        ('name = "x"', 'train = "x"\nroot = "images"', "data.root = 'images'"),
    ],
)
def test_a_path_that_begins_at_the_file_is_told(project: Path, model: str, data: str, name: str) -> None:
    """By its setting, with what to write; before anything is loaded."""
    path = write(project, model, data)
    with pytest.raises(
        InputError, match=f"expected {name} in the working directory .*work, .* one beside run.toml"
    ) as told:
        pretrain(path, out="run", device="cpu")
    assert f"start in {project}" in str(told.value)


def test_paths_that_are_there_or_nowhere_are_left_alone(project: Path) -> None:
    """What is in the working directory is what is meant; what is nowhere is told by whoever opens it."""
    Path("images").mkdir()
    path = write(project, 'name = "torchvision:resnet18@random"', 'train = "images"\nvalidation = "nowhere"')
    check_places(read_config(path), path)
    with pytest.raises(InputError, match="expected images"):
        pretrain(path, out="run", device="cpu")
