"""Samples read as a batch are those read one by one, and a thread that reads ahead changes nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from acclimate.errors import InputError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.draws import drawn_from
from acclimate.server.data.image_draws import draw_box
from acclimate.server.data.samples import Samples
from acclimate.server.training.batches import Batches
from acclimate.server.training.workers import ahead

from .data_files import noise_image, write_image

pytestmark = pytest.mark.needs_torch
_VARIATIONS = [
    (),
    ("crop",),
    ("shift",),
    ("flip",),
    ("erase",),
    ("crop", "shift", "flip", "erase"),
    ("flip", "rand-augment", "erase"),
]


def images(folder: Path, seed: int = 3, **settings: Any) -> Samples:
    draws = np.random.default_rng(0)
    path = folder / "images.npz"
    y = np.arange(30) % 3
    np.savez(path, x=draws.integers(0, 256, (30, 14, 11, 3), np.uint8), y=y, z=y[::-1])
    return samples_of(DataSettings(train=str(path), validation_share=0, mean=(0.4,), std=(0.3,), **settings), seed)


def samples_of(settings: DataSettings, seed: int = 3) -> Samples:
    dataset = load_data(settings, seed=seed).train.dataset
    assert isinstance(dataset, Samples)
    dataset.set_epoch(2)
    return dataset


def require_alike(dataset: Samples) -> None:
    """Compare a batch, and samples as torch's loaders ask for them, with each sample by itself, bit for bit."""
    places = [7, 3, 3, 21, 0]
    alone = [dataset[place] for place in places]
    x, y, keys = dataset.read_batch(places)
    assert keys == places
    assert x.is_contiguous()
    assert torch.equal(x, torch.stack([sample[0] for sample in alone]))
    for given, (x_alone, y_alone, place) in zip(dataset.__getitems__(places), alone, strict=True):
        assert torch.equal(given[0], x_alone)
        assert type(given[1]) is type(y_alone)
        assert np.array_equal(np.asarray(given[1]), np.asarray(y_alone))
        assert given[2] == place
    several = y if isinstance(y, tuple) else (y,)
    for task, labels in enumerate(several):
        wanted = [sample[1][task] if isinstance(sample[1], tuple) else sample[1] for sample in alone]
        assert torch.equal(labels, torch.stack(wanted))


@pytest.mark.parametrize("augment", _VARIATIONS, ids="+".join)
@pytest.mark.parametrize("size", [None, (9, 16)])
def test_a_batch_of_images_is_its_images(
    tmp_path: Path, augment: tuple[str, ...], size: tuple[int, int] | None
) -> None:
    """Whatever varies them, one view or two, resized or not."""
    dataset = images(tmp_path, augment=augment, size=size, erase=0.6)
    require_alike(dataset)
    require_alike(dataset.with_views(2))
    require_alike(dataset.plain())
    # What is drawn hangs on the row, not on the place.
    require_alike(dataset.take(range(29, 4, -1)))


def test_a_batch_of_several_tasks_is_its_samples(tmp_path: Path) -> None:
    """Labels come task by task."""
    require_alike(images(tmp_path, augment=("flip",), labels=("y", "z")))


def test_a_batch_of_files_of_several_sizes_is_its_files(tmp_path: Path) -> None:
    """Each is resized, or cropped, from its own size."""
    for i in range(22):
        write_image(tmp_path / "ab"[i % 2] / f"{i:02}.png", noise_image(i, 8 + i % 5, 9 + i % 3))
    for augment in ((), ("crop", "flip"), ("shift", "erase")):
        require_alike(samples_of(DataSettings(train=str(tmp_path), size=(10, 10), augment=augment, validation_share=0)))


@pytest.mark.parametrize("augment", [(), ("scale", "jitter", "time-warp")])
def test_a_batch_of_series_and_of_rows_is_its_samples(tmp_path: Path, augment: tuple[str, ...]) -> None:
    """Standardised at once; where varied, one by one."""
    draws = np.random.default_rng(1)
    path = tmp_path / "x.npz"
    np.savez(path, x=draws.normal(size=(30, 12, 2)).astype(np.float32), y=np.arange(30) % 2)
    require_alike(samples_of(DataSettings(train=str(path), kind="series", augment=augment, validation_share=0)))
    require_alike(samples_of(DataSettings(train=str(path), kind="series", window=6, validation_share=0)))
    np.savez(path, x=draws.normal(size=(30, 5)), y=np.arange(30) % 2)
    require_alike(samples_of(DataSettings(train=str(path), augment=augment[1:2], validation_share=0)))


def test_boxes_are_those_of_torchvision() -> None:
    """The same numbers give the same parts, also where ten draws do not fit and the middle is taken."""
    for height, width in ((28, 28), (31, 17), (12, 60), (60, 12), (2, 90)):
        for scale in ((0.35, 1.0), (0.95, 1.0)):
            crop = v2.RandomResizedCrop((8, 8), scale)
            for seed in range(60):
                with drawn_from(seed):
                    wanted = crop.make_params([torch.zeros(3, height, width)])
                found = draw_box(height, width, scale, torch.Generator().manual_seed(seed))
                assert found == tuple(wanted[key] for key in ("top", "left", "height", "width"))


def test_reading_a_batch_leaves_the_generator_of_the_process_alone(tmp_path: Path) -> None:
    """Also while it reads: a thread may do it beside dropout. What torchvision draws for cannot say so."""
    dataset = images(tmp_path, augment=("crop", "shift", "flip", "erase"))
    assert dataset.draws_alone
    assert not images(tmp_path, augment=("rand-augment",)).draws_alone
    torch.manual_seed(5)
    state = torch.default_generator.get_state()
    done = threading.Event()
    moved: list[bool] = []

    def look() -> None:
        while not done.is_set():
            moved.append(not torch.equal(torch.default_generator.get_state(), state))

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(20):
        dataset.read_batch(list(range(30)))
    done.set()
    watcher.join()
    assert moved
    assert not any(moved)


@pytest.mark.parametrize("augment", [("crop", "flip"), ("rand-augment",)])
def test_an_epoch_is_what_torchs_loader_gives_of_the_same_rows(tmp_path: Path, augment: tuple[str, ...]) -> None:
    """Read ahead in a thread where that is possible, or by a process: the samples of each step, varied for it."""
    dataset = images(tmp_path, augment=augment)
    for epoch in range(2):
        parts = [[part for step in Batches(dataset, 30, 8, workers=n).epoch(epoch) for part in step] for n in (0, 1)]
        keys = [list(part[2]) for part in parts[0]]
        for (x, y, _), alone, other in zip(DataLoader(dataset, batch_sampler=keys), parts[0], parts[1], strict=True):
            assert torch.equal(x, alone[0])
            assert isinstance(alone[1], torch.Tensor)
            assert torch.equal(y, alone[1])
            assert torch.equal(x, other[0])
            assert other[2] == alone[2]


def test_a_thread_reads_one_batch_ahead_and_ends() -> None:
    """While a batch is worked on the next is read, no more; nothing is left when the block is left early."""
    read: list[int] = []
    ready = threading.Event()

    def numbers() -> Iterator[int]:
        for i in range(10):
            read.append(i)
            if i == 2:
                ready.set()
            yield i

    with ahead(numbers()) as batches:
        assert [next(batches), next(batches)] == [0, 1]
        assert ready.wait(10)
        names = [thread.name for thread in threading.enumerate()]
    assert read == [0, 1, 2]
    assert any(name.startswith("batches") for name in names)
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_an_error_comes_with_its_batch() -> None:
    """What was read before is given first; then the error of the thread, as it is."""

    def failing() -> Iterator[int]:
        yield 0
        yield 1
        raise InputError("a.png: expected an image, found none.")

    found: list[int] = []
    with pytest.raises(InputError, match=r"a\.png"), ahead(failing()) as batches:
        found.extend(batches)
    assert found == [0, 1]
