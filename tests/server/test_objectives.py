"""Objectives against closed forms, and against other code."""

import math
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import numpy as np
import torch
from torch import nn

from acclimate.errors import InputError
from acclimate.server.objectives import barlow_loss, fit_linear, make_objective, nt_xent, project_conflicts, weighted
from acclimate.server.objectives.linear_probe import probe_rows
from acclimate.server.objectives.multi_task import MultiTask
from acclimate.server.training.probe import linear_probe
from acclimate.server.training.settings import ObjectiveSettings

from .small_runs import InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_of_identical_and_of_orthogonal_pairs(temperature: float) -> None:
    """All views alike: ln(2 b - 1). Pairs alike and samples orthogonal: ln(1 + (2 b - 2) e^(-1/t))."""
    count = 8
    same = torch.ones(count, 16, dtype=torch.float64)
    assert float(nt_xent(same, 3 * same, temperature)) == pytest.approx(math.log(2 * count - 1))
    apart = torch.eye(count, 16, dtype=torch.float64)
    expected = math.log(1 + (2 * count - 2) * math.exp(-1 / temperature))
    assert float(nt_xent(apart, 5 * apart, temperature)) == pytest.approx(expected)


def test_nt_xent_is_its_definition() -> None:
    """Every view against its partner and all others, term by term."""
    z = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    views = nn.functional.normalize(torch.cat([z[0], z[1]]), dim=1)
    total = 0.0
    for i in range(10):
        others = [math.exp(float(views[i] @ views[k]) / 0.3) for k in range(10) if k != i]
        total -= math.log(math.exp(float(views[i] @ views[(i + 5) % 10]) / 0.3) / sum(others))
    assert float(nt_xent(z[0], z[1], 0.3)) == pytest.approx(total / 10)


def test_barlow_loss_is_zero_at_identity() -> None:
    """Uncorrelated dimensions seen twice cost nothing; opposite views cost 4 a dimension; copies cost the rest."""
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(barlow_loss(signs * 3 + 5, signs, 0.005)) == pytest.approx(0, abs=1e-18)
    assert float(barlow_loss(signs, -signs, 0.005)) == pytest.approx(8)
    copied = signs[:, :1].expand(4, 3)
    assert float(barlow_loss(copied, copied, 0.005)) == pytest.approx(0.005 * 6)


def test_uncertainty_is_least_where_variance_is_the_loss() -> None:
    """The derivative by ln σ² vanishes at σ² = L, and is not 0 beside it."""
    losses = torch.tensor([0.3, 2.0, 7.5], dtype=torch.float64)
    log_variances = losses.log().requires_grad_()
    (slope,) = torch.autograd.grad(weighted(losses, log_variances).sum(), log_variances)
    torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64), atol=1e-15, rtol=0)
    for shift in (-0.1, 0.1):
        assert (weighted(losses, losses.log() + shift) > weighted(losses, losses.log())).all()


def test_pcgrad_in_the_plane() -> None:
    """Conflicting gradients lose their part against each other; others are added up as they are."""
    opposed = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    # (1, 0) against (-1, 1) leaves (1/2, 1/2); (-1, 1) against (1, 0) leaves (0, 1).
    torch.testing.assert_close(project_conflicts(opposed), torch.tensor([0.5, 1.5], dtype=torch.float64))
    agreeing = torch.tensor([[1.0, 0.2], [0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(project_conflicts(agreeing), agreeing.sum(0))
    generator = torch.Generator().manual_seed(0)
    three = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    assert torch.equal(
        project_conflicts(three, torch.Generator().manual_seed(1)),
        project_conflicts(three, torch.Generator().manual_seed(1)),
    )


def test_pcgrad_of_tasks_that_agree_is_the_run_without_it(tmp_path: Path) -> None:
    """Two tasks of the same labels never conflict: the weights are those of equal losses, to rounding."""
    found = []
    for combine in ("equal", "pcgrad"):
        data = make_data(tasks=2, dtype=torch.float64)
        dataset = data.train.dataset
        assert isinstance(dataset, InMemory)
        dataset.y[:, 1] = dataset.y[:, 0]
        net = make_net(plain=True, outputs=6).double()
        heads = net[2]
        assert isinstance(heads, nn.Linear)
        with torch.no_grad():
            heads.weight[3:] = heads.weight[:3]
            heads.bias[3:] = heads.bias[:3]
        config = make_config(objective={"name": "multi-task", "combine": combine}, accumulation=2)
        found.append(weights(run_small(tmp_path / combine, config, net=net, data=data).model))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("combine", ["equal", "uncertainty", "pcgrad"])
def test_multi_task_learns_both_tasks(tmp_path: Path, combine: str) -> None:
    """Every way of adding up losses ends well above chance on each task, and scores each of them."""
    config = make_config(objective={"name": "multi-task", "combine": combine}, epochs=4)
    run = run_small(tmp_path / "run", config, net=make_net(outputs=6), data=make_data(tasks=2))
    assert [one.accuracy > 0.8 for one in run.metrics] == [True, True]


def test_a_task_without_labels_in_a_batch_has_no_gradient() -> None:
    """Its loss is 0, not NaN; the loss of a task that is labelled in part is the mean over those labels."""
    net = make_net(plain=True, outputs=6)
    objective = MultiTask(net, (3, 3), "equal")
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    y = (torch.tensor([0, 1, -1, -1]), torch.full((4,), -1))
    losses = objective(x, y)
    assert isinstance(losses, torch.Tensor)
    expected = nn.functional.cross_entropy(net(x[:2])[:, :3], y[0][:2])
    torch.testing.assert_close(losses, torch.stack([expected, torch.zeros(())]))


def test_the_probe_is_the_logistic_regression_of_scikit_learn() -> None:
    """On standardised features with the same penalty, the same probabilities; a constant feature is harmless."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    x = torch.randn(120, 5, generator=generator) * torch.tensor([1.0, 10, 0.1, 3, 1]) + labels[:, None]
    x[:, 4] = 7.0
    weight, bias = fit_linear(x, labels, 3, penalty=0.01)
    scaled = ((x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)).double().numpy()
    # scikit-learn adds losses up, and weighs them by C against half the squared weights.
    oracle = linear_model.LogisticRegression(C=1 / (0.01 * 120), tol=1e-10, max_iter=5000).fit(scaled, labels)
    found = torch.softmax(x.double() @ weight.T + bias, 1)
    np.testing.assert_allclose(found.numpy(), oracle.predict_proba(scaled), atol=2e-5)


def test_probe_rows_are_a_share_of_each_class() -> None:
    """One per cent of 300 and of 5 is three and one; unlabelled rows are never chosen."""
    labels = np.r_[np.zeros(300), np.ones(5), -np.ones(20)].astype(np.int64)
    rows = probe_rows(labels, 0.01, seed=0)
    assert np.bincount(labels[rows]).tolist() == [3, 1]
    assert (probe_rows(labels, 1.0, seed=0) == np.arange(305)).all()


def _images(count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples whose class is a direction hidden under noise that is another one in each look at them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    means = torch.randn(3, 6, generator=torch.Generator().manual_seed(9))
    return means[labels] * 1.5 + 0.5 * torch.randn(count, 6, generator=generator), labels


@pytest.mark.parametrize("name", ["simclr", "barlow-twins"])
def test_self_supervised_runs_end_in_a_classifier(tmp_path: Path, name: str) -> None:
    """The loss falls, the head comes from the probe, and its scores are those of the model that is kept."""
    objective = {"name": name, "hidden": 32, "projection": 16}
    data = make_data(vary=0.5)
    run = run_small(tmp_path / "run", make_config(objective=objective, epochs=4), data=data, net=make_net(plain=True))
    assert run.epochs[-1]["loss"] < run.epochs[0]["loss"]
    assert data.validation is not None
    dataset = data.validation.dataset
    assert isinstance(dataset, InMemory)
    with torch.no_grad():
        right = (run.model(dataset.x).argmax(1) == dataset.y).double().mean()
    assert run.metrics[0].accuracy == pytest.approx(float(right))
    assert run.metrics[0].accuracy > 0.8


def test_the_probe_leaves_the_model_as_it_is() -> None:
    """Weights and mode stay, and features are taken in evaluation mode."""
    net = make_net().train()
    before = weights(net)
    x, y = _images(60, seed=0)
    dataset = InMemory(x, y)
    found = linear_probe(net, "4", (dataset, y.numpy()), dataset, 3)
    assert torch.equal(weights(net), before)
    assert net.training
    assert found.metrics is not None
    assert (found.samples, found.metrics.samples) == (60, 60)


def test_a_head_that_is_none_is_refused() -> None:
    """A name that is not there, a layer that is not linear, a model without any."""
    settings = ObjectiveSettings(name="simclr")
    for net, head, message in (
        (make_net(), "9", "found none"),
        (make_net(), "2", "linear layer as model.head, found ReLU"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), "auto", "no linear layer"),
    ):
        with pytest.raises(InputError, match=message):
            make_objective(net, settings, (3,), head=head)
