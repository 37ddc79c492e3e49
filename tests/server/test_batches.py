"""What each step of a run takes: which samples, at which rate."""

from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from acclimate.errors import InputError, TrainingError
from acclimate.server.training.batches import Batches, step_size
from acclimate.server.training.order import epoch_rows
from acclimate.server.training.schedule import make_schedule

from .small_runs import InMemory

pytestmark = pytest.mark.needs_torch


def make_batches(count: int = 26, **options: Any) -> Batches:
    dataset = InMemory(torch.arange(count).float().view(-1, 1), torch.zeros(count, dtype=torch.int64))
    return Batches(dataset, count, **({"batch_size": 8} | options))


def keys_of(batches: Batches, epoch: int, begin: int = 0) -> list[list[int]]:
    return [[key for part in parts for key in part[2]] for parts in batches.epoch(epoch, begin)]


def test_an_epoch_takes_each_sample_once_in_an_order_of_its_own() -> None:
    """A last smaller batch is left out; another epoch and another seed give another order, the same the same."""
    first, second = keys_of(make_batches(), 0), keys_of(make_batches(), 1)
    assert [len(step) for step in first] == [8, 8, 8]
    assert len({key for step in first for key in step}) == 24
    assert first != second
    assert first == keys_of(make_batches(), 0)
    assert first != keys_of(make_batches(seed=1), 0)


def test_an_epoch_can_begin_at_any_step() -> None:
    """What comes then is what would have come without the beginning."""
    assert keys_of(make_batches(), 3, begin=2) == keys_of(make_batches(), 3)[2:]


@pytest.mark.parametrize(("processes", "parts"), [(2, 1), (4, 1), (2, 2)])
def test_processes_share_out_each_step(processes: int, parts: int) -> None:
    """Together they take what one process takes, step by step, and no sample twice."""
    alone = keys_of(make_batches(), 0)
    shares = [keys_of(make_batches(rank=r, processes=processes, parts=parts), 0) for r in range(processes)]
    for step, whole in enumerate(alone):
        assert sorted(key for share in shares for key in share[step]) == sorted(whole)


def test_balanced_order_draws_every_class_equally_often() -> None:
    """Of 10 % and 90 %, both come half of the time; what has no label never comes."""
    labels = np.r_[np.zeros(100), np.ones(900), -np.ones(50)].astype(np.int64)
    rows = epoch_rows(1050, 50, seed=0, epoch=0, labels=labels).flatten().numpy()
    assert labels[rows].min() == 0
    # Four standard deviations of 1050 fair draws.
    assert abs(labels[rows].mean() - 0.5) < 4 * 0.5 / 1050**0.5


class _Stream(IterableDataset[Any]):
    def __init__(self, count: int, told: int) -> None:
        self.count, self.samples = count, told

    def __iter__(self) -> Any:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for i in range(worker, self.count, workers):
            yield torch.tensor([float(i)]), torch.tensor(0), f"key {i}"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_as_many_steps_as_were_told(workers: int) -> None:
    """Whether or not workers share it, no step is missing, and one can begin in the middle."""
    batches = Batches(_Stream(53, 53), 53, 8, workers=workers)
    steps = keys_of(batches, 0)
    assert len(steps) == batches.steps >= 5
    assert keys_of(batches, 0, begin=2) == steps[2:]


def test_a_stream_that_ends_early_is_told() -> None:
    """More samples were announced than came."""
    with pytest.raises(TrainingError, match=r"12 steps of data in an epoch, found 6. Set data.samples"):
        keys_of(Batches(_Stream(53, 100), 100, 8), 0)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    """Fewer samples than a batch are one batch; what does not divide is told with what would."""
    assert step_size(128, 9, parts=1, processes=1) == 9
    assert step_size(128, 9, parts=2, processes=2) == 8
    with pytest.raises(InputError, match=r"multiple of 3 .*Choose 129"):
        step_size(128, 500, parts=1, processes=3)


def test_schedules_rise_and_fall() -> None:
    """A straight rise over a tenth, then a cosine to 0 or the peak; never above the peak, never 0 at the first step."""
    cosine = [make_schedule("cosine", 100, 0.1)(step) for step in range(101)]
    np.testing.assert_allclose(cosine[:11], np.r_[np.arange(1, 11) / 11, 1.0])
    np.testing.assert_allclose(cosine[10:], (1 + np.cos(np.pi * np.arange(91) / 90)) / 2, atol=1e-12)
    constant = [make_schedule("constant", 100, 0.1)(step) for step in range(100)]
    assert constant[:10] == cosine[:10]
    assert set(constant[10:]) == {1.0}
    assert make_schedule("cosine", 100, 0.0)(0) == 1.0


def test_rows_are_those_of_the_data() -> None:
    """Every row is within the data, of the type that torch indexes with."""
    rows: Tensor = epoch_rows(10, 3, seed=2, epoch=5)
    assert rows.shape == (3, 3)
    assert (int(rows.min()) >= 0, int(rows.max()) < 10, rows.dtype) == (True, True, torch.int64)
