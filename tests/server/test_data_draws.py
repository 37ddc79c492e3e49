"""Augmentation depends on seed, epoch and sample alone: workers, order and resumption change nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")

import torch
from torch.utils.data import DataLoader

from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.draws import drawn_from, seed_of
from acclimate.server.data.samples import Samples

pytestmark = pytest.mark.needs_torch


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x=rng.integers(0, 256, (40, 12, 12, 3), np.uint8), y=np.arange(40) % 4)
    return path


def samples(npz: Path, seed: int = 0, **changes: Any) -> Samples:
    settings = DataSettings(train=str(npz), augment=("crop", "flip", "rand-augment", "erase"), **changes)
    dataset = load_data(settings, seed=seed).train.dataset
    assert isinstance(dataset, Samples)
    return dataset


def epoch_of(dataset: Samples, **options: Any) -> Any:
    return torch.cat([x for x, _, _ in DataLoader(dataset, batch_size=6, **options)])


def test_workers_change_nothing_and_outlive_an_epoch(npz: Path) -> None:
    """Two workers, kept over three epochs, give what the process itself gives; epochs differ from each other."""
    dataset = samples(npz)
    alone = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        alone.append(epoch_of(dataset))
    loader = DataLoader(dataset, batch_size=6, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        assert torch.equal(torch.cat([x for x, _, _ in loader]), alone[epoch]), epoch
    assert not torch.equal(alone[0], alone[1])
    dataset.set_epoch(1)
    # As after a resumption: from the middle, in another order, without what came before.
    assert torch.equal(dataset[30][0], alone[1][30])
    assert torch.equal(dataset[3][0], alone[1][3])


def test_the_seed_changes_the_draws(npz: Path) -> None:
    """Another seed varies the same sample otherwise (validation apart, so that the split is the same)."""
    first, other = (samples(npz, seed, validation_share=0) for seed in (0, 1))
    assert not torch.equal(first[0][0], other[0][0])
    assert torch.equal(first[0][0], samples(npz, 0, validation_share=0)[0][0])


def test_the_generator_of_the_training_is_left_alone(npz: Path) -> None:
    """Reading a sample does not move the generator that dropout draws from."""
    dataset = samples(npz)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    dataset[0]
    assert torch.equal(torch.rand(3), wanted)


def test_the_generator_is_put_back_after_an_error() -> None:
    """A transform that fails leaves the generator as it was."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(KeyError), drawn_from(1):
        raise KeyError
    assert torch.equal(torch.rand(3), wanted)


def test_views_of_a_sample_differ_and_the_first_is_the_sample(npz: Path) -> None:
    """Two views are drawn apart; validation samples and plain ones are not varied at all."""
    dataset = samples(npz)
    views = dataset.with_views(2)[3][0]
    assert views.shape == (2, 3, 12, 12)
    assert torch.equal(views[0], dataset[3][0])
    assert not torch.equal(views[0], views[1])
    plain = dataset.plain()
    plain.set_epoch(7)
    assert torch.equal(plain[3][0], dataset.plain()[3][0])


def test_a_sample_is_varied_alike_in_any_part(npz: Path) -> None:
    """What is taken out of a part keeps the draws of its row."""
    dataset = samples(npz)
    assert torch.equal(dataset.take([5, 2])[1][0], dataset[2][0])
    assert dataset.take([5, 2])[1][2] == 1


def test_seeds_do_not_collide() -> None:
    """A hundred thousand looks have seeds of their own, which torch takes."""
    seeds = {seed_of(s, e, i, v) for s in range(5) for e in range(10) for i in range(1000) for v in range(2)}
    assert len(seeds) == 100_000
    assert all(0 <= seed < 2**63 for seed in seeds)
