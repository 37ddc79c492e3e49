"""Factorised layers are the best of their rank on the data, and no wider than the error asks for."""

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn

from acclimate.errors import InputError
from acclimate.server.compress import hold_ranges, low_rank
from acclimate.server.compress.low_rank import best_rank

pytestmark = pytest.mark.needs_torch


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def skewed(rows: int, width: int, seed: int) -> Tensor:
    """Inputs whose directions differ much in size, and that are not centred."""
    sizes = torch.logspace(0, -2, width, dtype=torch.float64)
    turned: Tensor = torch.linalg.qr(normal(width, width, seed=seed + 1))[0]
    return normal(rows, width, seed=seed) * sizes @ turned + 3


def layer(inputs: int, outputs: int, seed: int) -> nn.Linear:
    made = nn.Linear(inputs, outputs).double()
    with torch.no_grad():
        made.weight.copy_(normal(outputs, inputs, seed=seed))
        made.bias.copy_(normal(outputs, seed=seed + 1))
    return made


def spread(y: Tensor) -> float:
    return float((y - y.mean(0)).square().sum())


@pytest.mark.parametrize("error", [0.3, 0.05, 0.01])
def test_the_error_is_the_bound_of_the_eigenvalues(error: float) -> None:
    """What remains is the sum of the squared singular values left out; with one rank less it would be too much."""
    x, model = skewed(400, 24, seed=0), nn.Sequential(layer(24, 20, seed=5))
    small, report = low_rank(model, torch.split(x, 64), error=error)
    with torch.no_grad():
        y, found = model(x), small(x)
        rest = torch.linalg.svdvals(y - y.mean(0)).square().flip(0).cumsum(0).flip(0) / spread(y)
    (one,) = report.layers
    if one.whole:
        assert rest[9] > error**2, "two factors would have been smaller"
        return
    made = float((found - y).square().sum()) / spread(y)
    assert made == pytest.approx(float(rest[one.rank]), rel=1e-6)
    assert one.error == pytest.approx(made**0.5, rel=1e-6)
    assert made**0.5 <= error < float(rest[one.rank - 1]) ** 0.5


def test_no_other_factors_of_the_rank_come_closer() -> None:
    """Not those of the weights alone, and not those that gradient descent finds from several starts."""
    x, model = skewed(300, 12, seed=1), nn.Sequential(layer(12, 16, seed=7))
    small, report = low_rank(model, [x], error=0.2)
    rank = report.layers[0].rank
    with torch.no_grad():
        y = model(x)
        best = float((small(x) - y).square().sum())
        u, s, v = torch.linalg.svd(model[0].weight)
        plain = (u[:, :rank] * s[:rank]) @ v[:rank]
        centred = (x - x.mean(0)) @ (plain - model[0].weight).T
        assert best < 0.9 * float(centred.square().sum())
    for seed in range(2):
        factors = [normal(16, rank, seed=seed).requires_grad_(), normal(rank, 12, seed=seed + 9).requires_grad_()]
        shift = y.mean(0).clone().requires_grad_()
        optimiser = torch.optim.LBFGS([*factors, shift], max_iter=150, line_search_fn="strong_wolfe")

        def close(parts: list[Tensor] = factors, shift: Tensor = shift, opt: torch.optim.LBFGS = optimiser) -> Tensor:
            opt.zero_grad()
            loss: Tensor = ((x - x.mean(0)) @ (parts[0] @ parts[1]).T + shift - y).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(close)  # type: ignore[no-untyped-call]
        found = float(close().detach())
        assert best <= found * (1 + 1e-9)
        assert found == pytest.approx(best, rel=0.05)


def test_a_layer_of_low_rank_is_found_exactly() -> None:
    """Weights of rank 3, or inputs in 3 directions: rank 3 at next to no error, and the same answers."""
    narrow = layer(20, 20, seed=11)
    with torch.no_grad():
        narrow.weight.copy_(normal(20, 3, seed=12) @ normal(3, 20, seed=13))
    flat = normal(200, 3, seed=14) @ normal(3, 20, seed=15) + 1
    for model, x in ((nn.Sequential(narrow), skewed(200, 20, seed=3)), (nn.Sequential(layer(20, 20, 16)), flat)):
        small, report = low_rank(model, torch.split(x, 50), error=1e-4)
        assert report.layers[0].rank == 3
        assert report.parameters == (420, 3 * 40 + 20)
        assert sum(parameter.numel() for parameter in small.parameters()) == 140
        with torch.no_grad():
            assert float((small(x) - model(x)).abs().max()) < 1e-5


def test_batches_add_up_and_several_layers_are_factorised() -> None:
    """Cut in other places the batches give the same factors; names, type and the original stay."""
    x = skewed(240, 16, seed=20).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 40, bias=False)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    results = [low_rank(model, torch.split(x, size), error=0.1, layers=("0", "2")) for size in (240, 31)]
    (a, first), (b, second) = results
    assert [one.rank for one in first.layers] == [one.rank for one in second.layers]
    with torch.no_grad():
        assert float((a(x) - b(x)).abs().max()) < 1e-4
    assert list(a.state_dict()) == ["0.0.weight", "0.1.weight", "0.1.bias", "2.0.weight", "2.1.weight", "2.1.bias"]
    assert a.state_dict()["0.0.weight"].dtype == torch.float32
    assert not a.training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in a.modules())


def test_a_layer_stays_where_factors_would_not_be_smaller() -> None:
    """Results without structure, and an error that allows nothing."""
    x, model = normal(500, 8, seed=21), nn.Sequential(layer(8, 8, seed=22))
    small, report = low_rank(model, [x], error=0.0)
    assert report.layers[0].whole
    assert report.layers[0].error == 0
    assert report.parameters == (72, 72)
    assert type(small[0]) is nn.Linear  # type: ignore[index]


def test_constant_results_need_one_direction() -> None:
    """Nothing varies: rank 1, no error, no division by zero."""
    basis, error = best_rank(torch.zeros(4, 4, dtype=torch.float64), 0.05)
    assert basis.shape == (4, 1)
    assert error == 0


def test_what_does_not_fit_is_refused() -> None:
    """Errors out of range, layers that are none or not reached, too few samples, ranges that were trained."""
    model, x = nn.Sequential(layer(4, 4, 0), nn.ReLU()), normal(8, 4, seed=0)
    with pytest.raises(InputError, match="error from 0 to below 1"):
        low_rank(model, [x], error=1)
    with pytest.raises(InputError, match=r"found '1'.*There are: 0"):
        low_rank(model, [x], layers=("1",))
    with pytest.raises(InputError, match="found none"):
        low_rank(nn.Sequential(nn.ReLU()), [x])
    with pytest.raises(InputError, match="found 0 rows"):
        low_rank(model, [])
    with pytest.raises(InputError, match="finite results of '0'"):
        low_rank(model, [x * torch.nan])
    hold_ranges(model, {"1": (0, 1)})
    with pytest.raises(InputError, match="without trained ranges to factorise it"):
        low_rank(model, [x])
