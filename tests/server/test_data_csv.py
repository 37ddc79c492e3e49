"""Tables, and files that a table lists: read strictly, with line and column in every message."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.csv_table import read_csv

from .data_files import noise_image, wav_bytes, write_image

pytestmark = pytest.mark.needs_torch


def load(path: Path, **settings: Any) -> Any:
    return load_data(DataSettings(train=str(path), **{"validation_share": 0, **settings}), seed=0)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding=encoding, newline="")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_reads_with_any_usual_separator(tmp_path: Path, separator: str, encoding: str) -> None:
    """Columns by name, spaces around cells, Windows line ends, empty lines, a byte-order mark, quoted cells."""
    rows = [["a", "b", "label", "who"], ["1", " 2.5 ", "x", "p"], ["-3e1", "4", '"y"', "q"]]
    text = "\r\n".join(separator.join(row) for row in rows) + "\r\n\r\n"
    data = load(write(tmp_path, text, encoding), group="who", standardise=False)
    assert data.shape == (2,)
    assert data.classes == ("x", "y")
    assert [data.train.dataset[i][0].tolist() for i in range(2)] == [[1, 2.5], [-30, 4]]
    assert data.train.labels.tolist() == [0, 1]
    assert list(data.train.groups) == ["p", "q"]
    assert list(data.train.names) == ["a.csv:2", "a.csv:3"]


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    """Features in their order, several tasks, and an empty label is unlabelled."""
    path = write(tmp_path, "a,b,c,kind,colour\n1,2,3,u,r\n4,5,6,,g\n")
    data = load(path, features=("c", "a"), labels=("kind", "colour"), standardise=False)
    assert data.train.dataset[0][0].tolist() == [3, 1]
    assert data.train.labels.tolist() == [[0, 1], [-1, 0]]


def test_validation_takes_the_columns_of_training_by_name(tmp_path: Path) -> None:
    """Another order of columns, and one more, give the same samples; one less is told by its name."""
    train = write(tmp_path, "a,b,label\n1,10,x\n2,20,y\n")
    other = tmp_path / "other.csv"
    other.write_text("b,more,label,a\n10,7,x,1\n20,7,y,2\n")
    data = load(train, validation=str(other), standardise=False)
    assert [data.validation.dataset[i][0].tolist() for i in range(2)] == [[1, 10], [2, 20]]
    other.write_text("a,label\n1,x\n2,y\n")
    with pytest.raises(InputError, match=r"other.csv: expected a column 'b'"):
        load(train, validation=str(other))


@pytest.mark.parametrize(("dims", "kind"), [(2, "auto"), (3, "auto"), (3, "arrays")])
def test_validation_of_another_shape_is_refused(tmp_path: Path, dims: int, kind: str) -> None:
    """Arrays with another number of columns or channels, or of another shape where they are taken as they are."""
    for name, width in (("train", 3), ("other", 4)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((4, 5, width) if dims == 3 else (4, width)), y=[0, 1, 0, 1])
    with pytest.raises(InputError, match="expected validation samples with the columns, channels or shape"):
        load(tmp_path / "train.npz", validation=str(tmp_path / "other.npz"), kind=kind)


def test_lines_are_counted_where_cells_have_several(tmp_path: Path) -> None:
    """A quoted cell with a line break in it moves the lines of the rows behind it."""
    table = read_csv(write(tmp_path, 'a,b\n"x\ny",1\nz,2\n'))
    assert table.columns["a"] == ["x\ny", "z"]
    assert [table.name(0), table.name(1)] == ["a.csv:3", "a.csv:4"]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("a,label\n1,x\n2,y,z\n", {}, "a.csv:3: expected 2 cells, as the first line has names, found 3"),
        ("a,label\n1,x\n,y\n", {}, "a.csv:3: expected a finite number in column 'a', found ''"),
        ("a,label\n1,x\nnan,y\n", {}, "a.csv:3: expected a finite number in column 'a', found 'nan'"),
        ("a,label\n1,x\n1e99,y\n", {}, "a.csv:3: expected a finite number in column 'a', found '1e99'"),
        ("a,label\n1_0,x\n", {}, "a.csv:2: expected a finite number in column 'a', found '1_0'"),
        ("a,t,label\n1,red,x\n", {}, "a.csv:2: expected a finite number in column 't', found 'red'"),
        ("a,label\n1,x\n", {"labels": ("kind",)}, r"expected a column 'kind' \(data.labels\), found a, label"),
        ("a,label\n1,x\n", {"group": "who"}, r"expected a column 'who' \(data.group\)"),
        ("a,label\n1,x\n", {"features": ("b",)}, r"expected a column 'b' \(data.features\)"),
        ("a,label\n1,x\n", {"path_column": "p"}, r"expected a column 'p' \(data.path_column\)"),
        ("label\nx\n", {}, "expected columns with numbers, found label"),
        ("a,a\n1,2\n", {}, "expected a name of its own for each column"),
        ("a,\n1,2\n", {}, "expected a name of its own for each column"),
        ("a,b\n", {}, "found 0 lines of values"),
        ("", {}, "found 0 lines of values"),
        ('a,b\n"1,2\n', {}, "a.csv: expected a .csv file in UTF-8"),
    ],
)
def test_a_wrong_table_is_told_by_line(tmp_path: Path, text: str, settings: Any, message: str) -> None:
    """Missing columns, cells and numbers."""
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, text), **settings)


def test_another_encoding_is_told(tmp_path: Path) -> None:
    """What is not UTF-8 is refused, rather than read with other letters."""
    with pytest.raises(InputError, match=r"a.csv: expected a .csv file in UTF-8"):
        load(write(tmp_path, "a,label\n1,ä\n", "latin-1"))


def test_listed_images_are_read_below_the_root(tmp_path: Path) -> None:
    """Paths begin at the folder of the list, or at the root that is set; classes come from the list."""
    for i in range(3):
        write_image(tmp_path / "pictures" / f"{i}.png", noise_image(i))
    path = write(tmp_path, "path,label\npictures/0.png,a\npictures/1.png,b\npictures/2.png,a\n")
    data = load(path, path_column="path")
    assert data.classes == ("a", "b")
    assert data.shape == (3, 8, 8)
    assert np.allclose(data.train.dataset[1][0].permute(1, 2, 0) * 255, noise_image(1), atol=1e-4)
    assert data.train.names[1] == "pictures/1.png"
    path = write(tmp_path, f"path,label\n0.png,a\n{tmp_path}/pictures/1.png,b\n")
    assert load(path, path_column="path", root=str(tmp_path / "pictures")).classes == ("a", "b")


@pytest.mark.parametrize("outside", ["../secret.png", "/etc/secret.png", "pictures/../../secret.png"])
def test_a_listed_path_that_leaves_the_root_is_refused(tmp_path: Path, outside: str) -> None:
    """A list may come from elsewhere: it names files below the root only; the message has the line."""
    write_image(tmp_path / "ok.png", noise_image(0))
    path = write(tmp_path, f"path,label\nok.png,a\n{outside},b\n")
    with pytest.raises(InputError, match=r"a.csv:3: expected a path below .*set data.root"):
        load(path, path_column="path")


def test_listed_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    """A text file is no sample; sounds and images do not mix; an empty cell is no path."""
    write_image(tmp_path / "ok.png", noise_image(0))
    (tmp_path / "s.wav").write_bytes(wav_bytes(np.zeros(16_000, np.int16)))
    for cell, message in (("x.txt", r"a.csv:3: .*found 'x.txt'"), ("s.wav", "found 's.wav'"), ("", "expected a path")):
        with pytest.raises(InputError, match=message):
            load(write(tmp_path, f"path,label\nok.png,a\n{cell},b\n"), path_column="path")
    assert load(write(tmp_path, "path,label\ns.wav,a\ns.wav,b\n"), path_column="path").shape == (1, 64, 98)
