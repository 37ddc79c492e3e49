"""Images in folders: what is read, what is passed over, and what is refused before anything is decoded."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.cli.frames import read_frames
from acclimate.errors import InputError

from .conftest import Acclimate

image: Any = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images of 6 x 5 pixels in grey for each of the classes a and b."""
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        _save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def _save(path: Path, mode: str = "L", size: tuple[int, int] = (5, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new(mode, size).save(path)


def test_images_are_named_below_the_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same file name in two classes is told apart; nothing is said where nothing is passed over."""
    (photos / "a" / ".hidden").write_text("a system's own")
    frames, labels, names = read_frames(photos)
    assert frames.shape == (4, 6, 5, 1)
    assert labels == ["a", "a", "b", "b"]
    assert names == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert capsys.readouterr().err == ""


def test_what_is_passed_over_is_told(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other formats, subfolders, and pipes, which nobody may write to, are counted and not read."""
    (photos / "a" / "IMG_1.HEIC").write_bytes(b"other")
    (photos / "b" / "x.tif").write_bytes(b"other")
    _save(photos / "b" / "deeper" / "2.png")
    os.mkfifo(photos / "b" / "pipe.png")
    assert len(read_frames(photos)[0]) == 4
    said = capsys.readouterr().err
    assert f"{photos}: passed over 3 files (.heic, .tif, a pipe, or a link to nothing) and 1 folder" in said
    assert said.count("\n") == 1


def test_a_class_without_images_is_refused(photos: Path) -> None:
    """It would be missing from the model without a word."""
    (photos / "c").mkdir()
    with pytest.raises(InputError, match=r"in the folder of each class, found nothing in c\."):
        read_frames(photos)
    (photos / "c" / "IMG_1.HEIC").write_bytes(b"other")
    with pytest.raises(InputError, match=r"found 1 file \(\.heic\) in c\."):
        read_frames(photos)


@pytest.mark.parametrize(
    ("name", "mode", "size", "message"),
    [
        ("b/1.png", "RGB", (5, 6), r"^b/1\.png: .*all in colour, found colour after grey \(a/0\.png\)"),
        ("b/1.png", "L", (7, 6), r"^b/1\.png: .*one size, found 6 x 7 pixels in grey after 6 x 5 pixels"),
        ("b/1.png", "I;16", (5, 6), r"^b/1\.png: expected 8 bits a channel"),
    ],
)
def test_unlike_images_are_told_apart(photos: Path, name: str, mode: str, size: tuple[int, int], message: str) -> None:
    """Another size is not another number of channels, and the file is named with its folder."""
    _save(photos / name, mode, size)
    with pytest.raises(InputError, match=message):
        read_frames(photos)


def test_shapes_are_checked_before_pixels_are_read(
    photos: Path, here: Acclimate, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of large photos is refused by their headers; what cannot be read is named."""

    def refuse(*_: object) -> None:
        pytest.fail("an image was decoded")

    with monkeypatch.context() as patched:
        patched.setattr(image.Image, "convert", refuse)
        told = here("observe", tiny_bundle, photos)
    assert told.code == 1
    assert "a/0.png: expected an image of 8 x 8 pixels in grey, which the model takes, found 6 x 5" in told.errors
    assert not Path("tiny.db").exists()
    (photos / "b" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^b/0\.png: expected an image"):
        read_frames(photos)


def test_duplicates_are_named(here: Acclimate, tiny_bundle: Path, tmp_path: Path) -> None:
    """By file, and with the option that skips them."""
    for i in range(2):
        _save(tmp_path / "same" / f"{i}.png", size=(8, 8))
    told = here("observe", tiny_bundle, "same", "--store", "x.db")
    assert "found 1.png again: it equals 0.png. Nothing was stored" in told.errors
    assert "--skip-duplicates" in told.errors


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.encode().ljust(117) + b"\n" + bytes(100)


@pytest.mark.parametrize(
    "text",
    [
        "((((((((((((((((((((((((((((",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,-2), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 5, }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999,9999999), }",
        "{'descr': [('a','<i4'),('b','O')], 'fortran_order': False, 'shape': (2,2), }",
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, text: str) -> None:
    """Whatever the parser makes of them."""
    (tmp_path / "x.npy").write_bytes(_header(text))
    with pytest.raises(InputError, match=r"^x\.npy: expected"):
        read_frames(tmp_path / "x.npy")


@pytest.mark.parametrize("damage", ["deflate", "encrypted", "method"])
def test_damaged_archives_are_refused(tmp_path: Path, damage: str) -> None:
    """Damaged data, the flag of encryption, a method that nobody knows."""
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    central = content.find(b"PK\x01\x02")
    if damage == "deflate":
        content[1000:1400] = bytes(byte ^ 0x55 for byte in content[1000:1400])
    elif damage == "encrypted":
        content[central + 8] |= 1
        content[6] |= 1
    else:
        content[central + 10] = content[8] = 99
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"^x\.npz: expected a NumPy file .* or damaged"):
        read_frames(tmp_path / "x.npz")
