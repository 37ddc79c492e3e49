"""Windows of time series: within one stretch of one person and label, standardised, varied."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.draws import drawn_from
from acclimate.server.data.series import SeriesTransform, warp_time

pytestmark = pytest.mark.needs_torch


def load(path: Path, **settings: Any) -> Any:
    return load_data(DataSettings(train=str(path), **settings), seed=0)


def recording(folder: Path) -> Path:
    """Write 60 moments: person p walks 20, runs 13, then person q walks 27; the one channel counts."""
    moments = [f"{i},{'run' if 20 <= i < 33 else 'walk'},{'q' if i >= 33 else 'p'}" for i in range(60)]
    path = folder / "a.csv"
    path.write_text("\n".join(["t,label,who", *moments]))
    return path


def test_windows_lie_within_one_label_and_group(tmp_path: Path) -> None:
    """Windows of 8 with a stride of 4, counted by hand: none reaches over a change."""
    data = load(recording(tmp_path), window=8, stride=4, group="who", standardise=False, validation_share=0)
    starts = [int(data.train.dataset[i][0][0, 0]) for i in range(len(data.train.dataset))]
    assert starts == [0, 4, 8, 12, 20, 24, 33, 37, 41, 45, 49]
    assert data.shape == (1, 8)
    assert [data.classes[i] for i in data.train.labels] == ["walk"] * 4 + ["run"] * 2 + ["walk"] * 5
    assert list(data.train.groups) == ["p"] * 6 + ["q"] * 5
    assert data.train.dataset[4][0].tolist() == [[20, 21, 22, 23, 24, 25, 26, 27]]


def test_windows_of_a_stretch_are_not_in_both_parts(tmp_path: Path) -> None:
    """Without groups the stretches of a recording are split as a whole: overlapping windows would leak."""
    values = np.arange(400.0)
    np.savez(tmp_path / "a.npz", x=values[:, None], y=np.arange(400) // 20 % 2)
    data = load(tmp_path / "a.npz", window=8, stride=2, standardise=False, validation_share=0.2)
    parts = [
        {int(value) for i in range(len(split.dataset)) for value in split.dataset[i][0][0]}
        for split in (data.train, data.validation)
    ]
    assert not parts[0] & parts[1]
    assert {value // 20 for value in parts[0]} | {value // 20 for value in parts[1]} == set(range(20))


def test_series_of_an_array_are_cut_and_stay_whole_in_a_part(tmp_path: Path) -> None:
    """Ten series of 30: each gives windows of its own, all of them in one part."""
    x = np.arange(600.0).reshape(10, 30, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(10) % 2)
    data = load(tmp_path / "a.npz", window=10, standardise=False, validation_share=0.2)
    assert data.shape == (2, 10)
    assert len(data.train.dataset) + len(data.validation.dataset) == 10 * 5
    first = data.train.dataset[1][0]
    assert np.array_equal(first.numpy(), x.reshape(300, 2)[int(first[0, 0]) // 2 :][:10].T)
    assert not set(data.train.groups) & set(data.validation.groups)
    assert data.train.names[0] == f"a.npz, window[{data.train.dataset.rows[0]}]"


def test_whole_series_need_no_window(tmp_path: Path) -> None:
    """(n, t, c) and, as series of one channel, (n, t); standardised per channel over all moments of training."""
    x = np.random.default_rng(0).normal([0, 50], [1, 9], (20, 30, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    data = load(tmp_path / "a.npz", validation_share=0.2)
    assert data.shape == (2, 30)
    got = torch.stack([data.train.dataset[i][0] for i in range(16)])
    assert torch.allclose(got.mean(dim=(0, 2)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(got.std(dim=(0, 2), correction=0), torch.ones(2), atol=1e-4)
    np.savez(tmp_path / "b.npz", x=x[..., 0], y=np.arange(20) % 2)
    assert load(tmp_path / "b.npz", kind="series").shape == (1, 30)


def test_what_is_too_short_is_told(tmp_path: Path) -> None:
    """No stretch holds a window; a .csv needs a window."""
    with pytest.raises(InputError, match=r"a.csv: expected stretches of one label and group with 28 .*at most 27"):
        load(recording(tmp_path), window=28, group="who")
    with pytest.raises(InputError, match=r"expected data.window for a series"):
        load(recording(tmp_path), kind="series")


@pytest.mark.parametrize("name", ["jitter", "scale", "time-warp"])
def test_each_augmentation_varies_and_keeps_shape(name: str) -> None:
    """Other draws give others of the same shape, the same draw the same; unvaried only standardised."""
    transform = SeriesTransform(
        DataSettings(train="x", augment=(name,)), torch.tensor([1.0, 2]), torch.tensor([2.0, 4])
    )
    raw = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)

    def draw(seed: int) -> Any:
        with drawn_from(seed):
            return transform(raw, vary=True)

    drawn = [draw(seed) for seed in range(5)]
    assert all(x.shape == (2, 50) for x in drawn)
    assert all(torch.equal(x, draw(seed)) for seed, x in enumerate(drawn))
    assert len({x.numpy().tobytes() for x in drawn}) == 5
    assert np.allclose(transform(raw, vary=False).numpy(), ((raw - [1, 2]) / [2, 4]).T, atol=1e-6)


def test_warped_time_keeps_its_ends_and_its_order() -> None:
    """Of a clock: first and last moment stay, time never runs backwards, and no faster or slower than allowed."""
    clock = torch.arange(100.0)[:, None]
    for seed in range(20):
        with drawn_from(seed):
            warped = warp_time(clock, 0.3)[:, 0]
        steps = warped.diff()
        assert float(warped[0]) == 0
        assert float(warped[-1]) == pytest.approx(99, abs=1e-4)
        # Ends are fixed, so that speeds are relative to their mean, which is within the same bounds.
        assert 0.7 / 1.3 - 1e-3 < float(steps.min()) <= float(steps.max()) < 1.3 / 0.7 + 1e-3
    with drawn_from(0):
        assert torch.allclose(warp_time(clock, 0.0), clock, atol=1e-4)
