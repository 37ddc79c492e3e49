"""Relations between tasks: affinity of gradients, transfer matrix and grouping, by hand and by brute force."""

from itertools import product
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import numpy as np
import torch
from torch import Tensor, nn

from acclimate.errors import InputError
from acclimate.server.transfer.affinity import TaskLoss, gradient_affinity, lookahead_affinity
from acclimate.server.transfer.transfer_matrix import TransferMatrix, best_grouping, transfer_matrix

pytestmark = pytest.mark.needs_torch


def model() -> nn.ParameterDict:
    return nn.ParameterDict({"w": nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))})


def towards(*slope: float) -> TaskLoss:
    """Return a loss whose gradient is given."""
    direction = torch.tensor(slope, dtype=torch.float64)

    def loss(module: nn.Module) -> Tensor:
        return 10 + direction @ module.get_parameter("w")

    return loss


def test_gradients_that_are_equal_opposite_and_orthogonal() -> None:
    """1, -1 and 0, whatever their lengths; a gradient of 0 has no direction."""
    losses = [towards(3, 0), towards(0.1, 0), towards(-7, 0), towards(0, 2), towards(0, 0)]
    found = gradient_affinity(model(), losses)
    expected = [[1, 1, -1, 0, 0], [1, 1, -1, 0, 0], [-1, -1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)


def test_only_what_tasks_share_counts() -> None:
    """Heads of their own, which the other has no gradient of, are left out; so is what is not named."""
    net = nn.ModuleDict({"trunk": nn.Linear(3, 2), "a": nn.Linear(2, 1), "b": nn.Linear(2, 1)}).double()
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def loss_of(head: str) -> TaskLoss:
        return lambda module: module.get_submodule(head)(module.get_submodule("trunk")(x)).square().mean()

    losses = [loss_of("a"), loss_of("b")]
    trunk = list(net.get_submodule("trunk").parameters())
    flat = [torch.cat([g.flatten() for g in torch.autograd.grad(loss(net), trunk)]) for loss in losses]
    expected = float(nn.functional.cosine_similarity(flat[0], flat[1], 0))
    found = gradient_affinity(net, losses)
    assert float(found[0, 1]) == pytest.approx(expected)
    assert float(found[0, 0]) == pytest.approx(1)
    named = gradient_affinity(net, losses, ["trunk.bias"])
    bias = [torch.autograd.grad(loss(net), trunk[1])[0] for loss in losses]
    assert float(named[0, 1]) == pytest.approx(float(nn.functional.cosine_similarity(bias[0], bias[1], 0)))
    lookahead_affinity(net, losses)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_step_ahead_of_linear_losses_is_its_closed_form() -> None:
    """1 - L_j(θ - η g_i) / L_j(θ) = η g_i · g_j / L_j(θ)."""
    slopes = [(3.0, 0.5), (-1.0, 2.0), (0.0, -4.0)]
    found = lookahead_affinity(model(), [towards(*slope) for slope in slopes], rate=0.05)
    g = np.array(slopes)
    losses = 10 + g @ np.array([1.0, 2.0])
    np.testing.assert_allclose(found.numpy(), 0.05 * (g @ g.T) / losses, rtol=1e-12)


def test_affinity_of_what_is_no_task_is_refused() -> None:
    """One task, a name that is none, nothing in common, a loss of 0."""
    with pytest.raises(InputError, match="two tasks or more"):
        gradient_affinity(model(), [towards(1, 0)])
    with pytest.raises(InputError, match="found 2 tasks and v"):
        gradient_affinity(model(), [towards(1, 0), towards(1, 0)], ["v"])
    apart = nn.ParameterDict({"a": nn.Parameter(torch.ones(2)), "b": nn.Parameter(torch.ones(2))})
    with pytest.raises(InputError, match="that every task has a gradient of, found none"):
        gradient_affinity(apart, [lambda m: m.get_parameter("a").sum(), lambda m: m.get_parameter("b").sum()])
    with pytest.raises(InputError, match="losses above 0"):
        lookahead_affinity(model(), [towards(1, 0), lambda m: 0 * m.get_parameter("w").sum()])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda m: m.get_parameter("w").detach().sum(), "task 1, found values of shape \\(\\), detached from them"),
        (lambda m: m.get_parameter("w").sum() * float("inf"), "finite scalar .* attached to them: \\[inf\\]"),
        (lambda m: m.get_parameter("w") * 2, "found values of shape \\(2,\\)"),
        (lambda m: (m.get_parameter("w") - m.get_parameter("w").detach()).norm().sqrt(), "finite gradients"),
    ],
)
def test_a_loss_without_a_finite_gradient_is_refused(loss: TaskLoss, message: str) -> None:
    """Detached, infinite, no scalar, or with a slope that is infinite: their cosines would be NaN."""
    for affinity in (gradient_affinity, lookahead_affinity):
        with pytest.raises(InputError, match=message):
            affinity(model(), [towards(1, 0), loss])


def test_a_model_that_is_frozen_and_rates_that_are_none_are_refused() -> None:
    """Nothing trains; a step is of finite length and forward."""
    with pytest.raises(InputError, match="parameters that train, found none"):
        gradient_affinity(model().requires_grad_(False), [towards(1, 0), towards(1, 0)])
    for rate in (float("nan"), -0.1, 0.0):
        with pytest.raises(InputError, match="finite rate above 0"):
            lookahead_affinity(model(), [towards(1, 0), towards(1, 0)], rate=rate)


def test_statistics_of_normalisation_stay_as_they_are() -> None:
    """In training mode each loss moves BatchNorm's statistics; they are put back, also where a loss is refused."""
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).double().train()
    x = 5 + torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def loss(module: nn.Module) -> Tensor:
        value: Tensor = module(x).square().mean()
        return value

    gradient_affinity(net, [loss, loss])
    lookahead_affinity(net, [loss, loss])
    with pytest.raises(InputError, match="finite scalar"):
        gradient_affinity(net, [loss, lambda m: loss(m).detach()])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training


def ridge(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], start: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    solved: np.ndarray[Any, Any] = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y + start)
    return solved


def test_the_transfer_matrix_finds_related_tasks_and_says_when_none_helps() -> None:
    """Linear tasks in two families, and one apart: few samples gain from a source of the family, and from no other."""
    draws = np.random.default_rng(0)
    first, second = draws.normal(size=(2, 12))
    truths = {"a": first, "b": first + 0.1 * draws.normal(size=12), "c": second, "d": -3 * first}

    def samples(name: str, count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        x = np.random.default_rng(seed).normal(size=(count, 12))
        return x, x @ truths[name]

    def score(weights: np.ndarray[Any, Any], name: str) -> float:
        x, y = samples(name, 500, 9)
        return float(1 - ((x @ weights - y) ** 2).sum() / (y**2).sum())

    seen: list[tuple[int, int]] = []
    names = list(truths)
    found = transfer_matrix(
        names,
        names,
        train=lambda name: ridge(*samples(name, 400, 1), np.zeros(12)),
        transfer=lambda weights, name: score(ridge(*samples(name, 4, 2), weights), name),
        alone=lambda name: score(ridge(*samples(name, 4, 2), np.zeros(12)), name),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found.best_source("a") == "b"
    assert found.best_source("b") == "a"
    assert found.best_source("d") is None
    assert found.gains.diagonal().tolist() == [0, 0, 0, 0]
    assert seen[-1] == (20, 20)
    with pytest.raises(InputError, match="one of the tasks a, b, c, d, found 'e'"):
        found.best_source("e")
    assert best_grouping(found.gains, groups=3) == ((0, 1), (2,), (3,))


def test_grouping_is_that_of_all_assignments() -> None:
    """Every assignment of five tasks to as many groups, written out: none is worth more."""
    for seed in range(5):
        gains = np.random.default_rng(seed).normal(size=(5, 5))
        for groups in (1, 2, 3, 5):
            best = -np.inf
            for choice in product(range(groups), repeat=5):
                total = 0.0
                for task in range(5):
                    others = [i for i in range(5) if i != task and choice[i] == choice[task]]
                    total += float(np.mean([gains[i, task] for i in others])) if others else 0.0
                best = max(best, total)
            found = best_grouping(gains, groups=groups)
            assert sorted(task for group in found for task in group) == [0, 1, 2, 3, 4]
            worth = sum(
                float(np.mean([gains[i, task] for i in group if i != task]))
                for group in found
                for task in group
                if len(group) > 1
            )
            assert len(found) <= groups
            assert worth == pytest.approx(best)


def test_tasks_that_do_each_other_no_good_are_learnt_alone() -> None:
    """Negative gains: each by itself where there may be as many groups; without any gain all go together."""
    assert best_grouping(np.full((3, 3), -1.0), groups=3) == ((0,), (1,), (2,))
    assert best_grouping(np.zeros((3, 3)), groups=3) == ((0, 1, 2),)


@pytest.mark.parametrize(
    ("gains", "groups", "message"),
    [
        (np.zeros((2, 3)), 1, "found \\(2, 3\\) and 1"),
        (np.zeros((11, 11)), 2, "1 to 10 tasks"),
        (np.zeros((2, 2)), 0, "and 0"),
        (np.full((2, 2), np.nan), 1, "finite gains"),
    ],
)
def test_gains_that_are_none_are_refused(gains: np.ndarray[Any, Any], groups: int, message: str) -> None:
    """Not square, too many to try, no group, not finite."""
    with pytest.raises(InputError, match=message):
        best_grouping(gains, groups=groups)


def test_a_matrix_of_what_cannot_be_compared_is_refused() -> None:
    """One task, a name twice, a score that is none."""

    def made(names: list[str], value: float = 0.0) -> TransferMatrix:
        return transfer_matrix(names, names, train=str, transfer=lambda *_: value, alone=lambda _: 0.0)

    with pytest.raises(InputError, match="two tasks or more"):
        made(["a"])
    with pytest.raises(InputError, match="a name of its own"):
        made(["a", "a"])
    with pytest.raises(InputError, match="finite scores, found nan from a to b"):
        made(["a", "b"], float("nan"))
