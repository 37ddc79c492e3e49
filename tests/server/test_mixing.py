"""mixup, CutMix and the moving average, each against its definition."""

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.server.training.average import Average
from acclimate.server.training.mixing import mix

pytestmark = pytest.mark.needs_torch


def test_mixup_blends_inputs_and_targets_by_the_same_share() -> None:
    """With inputs that are their labels in one-hot form, blended inputs are blended targets."""
    torch.manual_seed(0)
    y = torch.arange(12) % 3
    x = torch.nn.functional.one_hot(y, 3).double()
    mixed, targets = mix(x, y, 3, mixup=0.5, cutmix=0.0)
    torch.testing.assert_close(mixed, targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(12, dtype=torch.float64))
    assert not torch.equal(mixed, x)


@pytest.mark.parametrize("shape", [(3, 10, 14), (40,), (2, 30)])
def test_cutmix_pastes_a_part_and_its_targets_have_its_share(shape: tuple[int, ...]) -> None:
    """Every value comes from the sample or its partner, and targets are the share of each, over images and series."""
    y = torch.arange(8)
    x = torch.arange(8).double().view(8, *[1] * len(shape)).expand(8, *shape).contiguous()
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, targets = mix(x, y, 8, mixup=0.0, cutmix=1.0)
        flat = mixed.view(8, -1)
        for row in range(8):
            values, counts = torch.unique(flat[row], return_counts=True)
            expected = torch.zeros(8, dtype=torch.float64)
            expected[values.long()] = counts.double() / flat.shape[1]
            torch.testing.assert_close(targets[row], expected)
            assert row in values.tolist() or len(values) == 1


def test_with_both_a_coin_decides() -> None:
    """Of 200 batches, each way gets about half."""
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    torch.manual_seed(0)
    cuts = 0
    for _ in range(200):
        mixed, _ = mix(x, y, 4, mixup=1.0, cutmix=1.0)
        cuts += bool(torch.isin(mixed, x).all())
    assert 70 < cuts < 130


def test_the_moving_average_follows_its_recursion() -> None:
    """Weights and statistics, with the warm-up of the decay; counts are copied; the module gets its own back."""
    torch.manual_seed(0)
    first = nn.Linear(2, 3)
    net = nn.Sequential(first, nn.BatchNorm1d(3)).double()
    average = Average(net, 0.5)
    expected = first.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            first.weight.add_(step + 1.0)
        net(torch.randn(4, 2, dtype=torch.float64))
        average.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * first.weight.detach()
    torch.testing.assert_close(average.state["0.weight"], expected)
    assert int(average.state["1.num_batches_tracked"]) == 6
    own = {name: value.clone() for name, value in net.state_dict().items()}
    with average.applied(net):
        torch.testing.assert_close(first.weight.detach(), expected)
    assert all(torch.equal(value, own[name]) for name, value in net.state_dict().items())
