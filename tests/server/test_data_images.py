"""Images in folders: read as torchvision reads them, varied by seeded draws, and refused by name where they are bad."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

import torch
from PIL import Image

from acclimate.errors import InputError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.draws import drawn_from
from acclimate.server.data.image_files import decode_image
from acclimate.server.data.image_transform import ImageTransform, erase_rectangle, shift_image

from .data_files import noise_image, png_bomb, png_bytes, write_image, write_image_folder

pytestmark = pytest.mark.needs_torch
PIXELS = 10_000


def test_a_folder_reads_as_torchvision_reads_it(tmp_path: Path) -> None:
    """Classes, order, labels and pixels are those of ImageFolder with the same transforms; names are paths."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    write_image_folder(tmp_path, {"zebra": 3, "ant": 2})
    write_image(tmp_path / "ant" / "deeper" / "x.jpg", noise_image(9, 12, 10))
    settings = DataSettings(
        train=str(tmp_path), size=(6, 7), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), validation_share=0
    )
    data = load_data(settings, seed=0)
    wanted = ImageFolder(
        str(tmp_path),
        v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((6, 7), antialias=True),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
            ]
        ),
    )
    assert data.classes == ("ant", "zebra")
    assert data.shape == (3, 6, 7)
    assert data.validation is None
    assert data.train.names is not None
    assert list(data.train.names) == [Path(path).relative_to(tmp_path).as_posix() for path, _ in wanted.samples]
    for i, (x, label) in enumerate(wanted):
        own, y, key = data.train.dataset[i]
        assert torch.allclose(own, x, atol=1e-6)
        assert (int(y), key) == (label, i)
        assert own.dtype == torch.float32
        assert y.dtype == torch.int64


def test_images_without_folders_are_unlabelled(tmp_path: Path) -> None:
    """They can be learnt from without labels: all are -1, and there is no class."""
    for i in range(4):
        write_image(tmp_path / f"{i}.png", noise_image(i, channels=1))
    data = load_data(DataSettings(train=str(tmp_path), validation_share=0), seed=0)
    assert data.classes == ()
    assert data.shape == (1, 8, 8)
    assert [int(data.train.dataset[i][1]) for i in range(4)] == [-1] * 4


def test_an_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    """A photo taken upright with a camera on its side is read upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise_image(0, 4, 6)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(decode_image(tmp_path / "x.png", "x", 3, PIXELS), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_bomb(), "bad.png: expected an image"),
        (png_bomb(101, 100), "bad.png: expected an image of at most 10,000 pixels, found 101 x 100"),
        (b"no image at all", "bad.png: expected an image, found that"),
        (b"", "bad.png: expected an image, found that"),
        (png_bytes(noise_image(0, 50, 50))[:-1500], "bad.png: expected an image, found that"),
    ],
)
def test_a_bad_image_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    """Bombs (before any pixel is decoded), other files, empty and truncated ones."""
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=message):
        decode_image(tmp_path / "bad.png", "bad.png", 3, PIXELS)


def test_sixteen_bits_are_refused_by_name(tmp_path: Path) -> None:
    """They would be cut to white without a word."""
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x.png: expected 8 bits a channel, found mode 'I"):
        decode_image(tmp_path / "x.png", "x.png", 1, PIXELS)


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    """A missing folder, an empty one, and images beside folders of classes."""
    settings: dict[str, Any] = {"kind": "images"}
    with pytest.raises(InputError, match="found none at"):
        load_data(DataSettings(train=str(tmp_path / "none"), **settings), seed=0)
    with pytest.raises(InputError, match=r"found none. Check the path"):
        load_data(DataSettings(train=str(tmp_path), **settings), seed=0)
    write_image_folder(tmp_path, {"a": 1})
    write_image(tmp_path / "stray.png", noise_image(0))
    with pytest.raises(InputError, match=r"found stray.png beside them"):
        load_data(DataSettings(train=str(tmp_path), **settings), seed=0)


@pytest.mark.parametrize("name", ["crop", "shift", "flip", "rand-augment", "erase"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_augmentation_varies_and_keeps_shape(name: str, channels: int) -> None:
    """Other draws give other images of the same shape, the same draw the same; unvaried it does nothing."""
    settings = DataSettings(train="x", augment=(name,), erase=1.0, shift=0.3, size=(16, 16))
    transform = ImageTransform(settings)
    raw = noise_image(0, 16, 16, channels)

    def draw(seed: int) -> Any:
        with drawn_from(seed):
            return transform(raw, vary=True)

    plain = torch.from_numpy(raw).permute(2, 0, 1).float() / 255
    drawn = [draw(seed) for seed in range(8)]
    assert all(x.shape == (channels, 16, 16) and x.dtype == torch.float32 for x in drawn)
    assert all(torch.equal(x, draw(seed)) for seed, x in enumerate(drawn))
    assert any(not torch.equal(x, plain) for x in drawn)
    assert len({x.numpy().tobytes() for x in drawn}) > 1
    assert torch.equal(transform(raw, vary=False), plain)


def test_a_shift_moves_pixels_and_brings_in_black() -> None:
    """What stays in view is the same image, moved in each direction, never further than the share."""
    image = torch.arange(1, 101, dtype=torch.uint8).view(1, 10, 10)
    moves = set()
    for seed in range(60):
        with drawn_from(seed):
            moved = shift_image(image, 0.2)
        place = (moved == 45).nonzero()[0]
        down, right = int(place[1]) - 4, int(place[2]) - 4
        moves.add((down, right))
        wanted = torch.zeros_like(image)
        rows, columns = slice(max(0, down), min(10, 10 + down)), slice(max(0, right), min(10, 10 + right))
        from_rows, from_columns = slice(max(0, -down), min(10, 10 - down)), slice(max(0, -right), min(10, 10 - right))
        wanted[:, rows, columns] = image[:, from_rows, from_columns]
        assert torch.equal(moved, wanted)
    assert {abs(move) for pair in moves for move in pair} == {0, 1, 2}
    assert len(moves) > 15


def test_an_erased_rectangle_is_one_and_within_its_bounds() -> None:
    """What is 0 is a whole rectangle of 2 to 33 % of the area (and a row's rounding), anywhere; the rest stays."""
    tops = set()
    for seed in range(60):
        image = torch.ones(2, 40, 30)
        with drawn_from(seed):
            erase_rectangle(image)
        rows, columns = (image[0] == 0).any(1).nonzero()[:, 0], (image[0] == 0).any(0).nonzero()[:, 0]
        wanted = torch.ones(2, 40, 30)
        wanted[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0
        assert torch.equal(image, wanted)
        assert 0.015 < float((image == 0).float().mean()) < 0.35
        tops.add(int(rows[0]))
    assert len(tops) > 15


def test_the_folder_above_the_parts_is_told(tmp_path: Path) -> None:
    """Folders train and val are parts, not classes; test and good may well be classes."""
    write_image_folder(tmp_path / "a" / "train", {"x": 2, "y": 2})
    write_image_folder(tmp_path / "a" / "val", {"x": 2, "y": 2})
    with pytest.raises(InputError, match=r"found the parts train, val. Set data.train and data.validation"):
        load_data(DataSettings(train=str(tmp_path / "a")), seed=0)
    data = load_data(DataSettings(train=str(tmp_path / "a" / "train"), validation=str(tmp_path / "a" / "val")), seed=0)
    assert data.classes == ("x", "y")
    write_image_folder(tmp_path / "b", {"test": 2, "good": 2})
    assert load_data(DataSettings(train=str(tmp_path / "b"), validation_share=0), seed=0).classes == ("good", "test")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A path that a list names may be a pipe, which never ends: it is refused by name. So is one that is not there."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe.png: expected a file, found a folder, pipe or device"):
        decode_image(tmp_path / "pipe.png", "pipe.png", 3, PIXELS)
    with pytest.raises(InputError, match=r"none.png: expected a file, found that .*No such file"):
        decode_image(tmp_path / "none.png", "none.png", 3, PIXELS)


def test_an_augmentation_of_other_samples_is_refused(tmp_path: Path) -> None:
    """Jitter is for series; the message tells what images have."""
    write_image_folder(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(InputError, match=r"augmentation of image samples \(crop, shift, flip, .*found 'jitter'"):
        load_data(DataSettings(train=str(tmp_path), augment=("jitter",)), seed=0)


def test_the_number_of_means_is_checked(tmp_path: Path) -> None:
    """Three numbers do not fit grey images."""
    write_image(tmp_path / "a" / "x.png", noise_image(0, channels=1))
    with pytest.raises(InputError, match=r"expected 1 numbers in data.mean, one per channel, found 3"):
        load_data(DataSettings(train=str(tmp_path), mean=(0.1, 0.2, 0.3), validation_share=0), seed=0)
