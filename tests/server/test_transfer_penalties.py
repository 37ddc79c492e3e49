"""Penalties on parameters: L2-SP and EWC against closed forms, in the loop and by themselves."""

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from acclimate.errors import InputError, TrainingError
from acclimate.server.config.model import ModelSettings
from acclimate.server.pretrain import pretrain
from acclimate.server.transfer import fisher as fisher_module
from acclimate.server.transfer.ewc import ewc, without_information
from acclimate.server.transfer.fisher import fisher_diagonal
from acclimate.server.transfer.l2_sp import l2_sp
from acclimate.server.transfer.penalty import Anchored, Penalty, Pull

from .small_runs import InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(inputs: int, outputs: int, *, seed: int, bias: bool = True) -> nn.Linear:
    """Return a layer in float64 with weights drawn by a seed."""
    layer = nn.Linear(inputs, outputs, bias=bias).double()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed + number))
    return layer


def minimised(module: nn.Module, loss: Any, penalty: Penalty) -> Tensor:
    """Return the parameters where loss and penalty together are least, of a quadratic: one step of Newton."""
    parameters = list(module.parameters())
    flat = nn.utils.parameters_to_vector(parameters).detach()

    start = torch.zeros_like(flat)
    nn.utils.vector_to_parameters(start, parameters)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss(module) + penalty(module), parameters)])
    columns = []
    for at in range(len(start)):
        step = start.clone()
        step[at] = 1
        nn.utils.vector_to_parameters(step, parameters)
        moved = torch.autograd.grad(loss(module) + penalty(module), parameters)
        columns.append(torch.cat([g.flatten() for g in moved]) - slope)
    solved: Tensor = torch.linalg.solve(torch.stack(columns, 1), -slope)
    return solved


@pytest.mark.parametrize("strength", [0.01, 1.0, 50.0])
def test_l2_sp_of_a_linear_model_is_the_ridge_towards_its_start(strength: float) -> None:
    """The least of |A w - b|²/2 + l/2 |w - w0|² is (A'A + l I)^-1 (A'b + l w0)."""
    a, b = normal(20, 6, seed=0), normal(20, seed=1)
    model = linear(6, 1, seed=2, bias=False)
    start = model.weight.detach()[0].clone()
    found = minimised(model, lambda m: (m(a)[:, 0] - b).square().sum() / 2, l2_sp(model, alpha=strength))
    expected = torch.linalg.solve(a.T @ a + strength * torch.eye(6), a.T @ b + strength * start)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_l2_sp_of_a_new_layer_is_the_ridge_of_scikit_learn() -> None:
    """What does not come from the source is drawn towards 0, its bias towards nothing."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    a, b = normal(30, 5, seed=3), normal(30, seed=4)
    model = linear(5, 1, seed=5)
    penalty = l2_sp(model, new={"weight", "bias"}, alpha=99.0, beta=2.5)
    found = minimised(model, lambda m: (m(a)[:, 0] - b).square().sum() / 2, penalty)
    oracle = linear_model.Ridge(alpha=2.5, solver="cholesky").fit(a.numpy(), b.numpy())
    np.testing.assert_allclose(found.numpy(), [*oracle.coef_, oracle.intercept_], rtol=1e-9, atol=1e-11)


def test_fine_tuning_the_last_layer_is_the_logistic_regression_of_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained by `pretrain` on all samples at once behind frozen layers, to the optimum of the same objective."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    # A checkpoint after each of some hundred epochs takes longer than all that is proven here.
    monkeypatch.setattr("acclimate.server.training.position.save_state", lambda *given, **named: None)
    net = make_net(plain=True).double()
    data = make_data(96, 0, dtype=torch.float64)
    config = make_config(
        epochs=250,
        batch_size=96,
        learning_rate=0.1,
        label_smoothing=0.0,
        schedule="cosine",
        run={"log_every": 250},
        transfer={"train_last": 1, "penalty": "l2-sp", "new_weight": 0.05, "new_layers": ("2",)},
    )
    run = run_small(tmp_path / "run", config, net=net, data=data)
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    with torch.no_grad():
        features, logits = net[1](net[0](dataset.x)).numpy(), run.model(dataset.x)
    # scikit-learn adds losses up, and weighs them by C against half the squared weights.
    oracle = linear_model.LogisticRegression(C=1 / (0.05 * 96), tol=1e-12, max_iter=10_000)
    oracle.fit(features, dataset.y.numpy())
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), oracle.predict_proba(features), atol=1e-4)


def test_ewc_of_two_quadratic_tasks_ends_in_their_joint_minimum() -> None:
    """With the curvature of the first as information, (H_a + H_b)^-1 (H_a a + H_b b): nothing is forgotten."""
    h_a, h_b = normal(8, seed=0).square() + 0.1, normal(8, 8, seed=1)
    h_b = h_b @ h_b.T
    a, b = normal(8, seed=2), normal(8, seed=3)
    model = nn.ParameterDict({"w": nn.Parameter(a.clone())})
    penalty = ewc(model, {"w": h_a})

    def second(module: nn.Module) -> Tensor:
        gap = module.get_parameter("w") - b
        value: Tensor = gap @ h_b @ gap / 2
        return value

    joint = torch.linalg.solve(torch.diag(h_a) + h_b, h_a * a + h_b @ b)
    torch.testing.assert_close(minimised(model, second, penalty), joint, rtol=1e-9, atol=1e-10)
    twice = torch.linalg.solve(2 * torch.diag(h_a) + h_b, 2 * h_a * a + h_b @ b)
    double = Anchored("ewc", {"w": Pull(a, 2 * h_a)})
    torch.testing.assert_close(minimised(model, second, double), twice, rtol=1e-9, atol=1e-10)


def softmax_head(samples: int = 40, k: int = 4, d: int = 5) -> tuple[nn.Linear, Tensor, Tensor]:
    return linear(d, k, seed=0), normal(samples, d, seed=1), torch.arange(samples) % k


def test_the_fisher_of_a_softmax_head_is_its_closed_form() -> None:
    """With labels mean((p - y)² ⊗ x²), without mean(p (1 - p) ⊗ x²); the bias has x = 1."""
    head, x, y = softmax_head()
    share = torch.softmax(head(x), 1).detach()
    error = (share - nn.functional.one_hot(y, 4)).square()
    for labels, expected in ((y, error), (None, share * (1 - share))):
        found = fisher_diagonal(head, x, labels)
        torch.testing.assert_close(found["weight"], expected.T @ x.square() / 40, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found["bias"], expected.mean(0), rtol=1e-10, atol=1e-14)


def test_the_fisher_does_not_depend_on_the_batch_size() -> None:
    """A defect of other libraries: they square the mean gradient of a batch, .24 at size 1 and .003 at 256."""
    torch.manual_seed(0)
    net, x, y = make_net(plain=True).double(), normal(48, 6, seed=1), torch.arange(48) % 3
    found = [fisher_diagonal(net, x, y, block=size) for size in (1, 5, 48)]
    for other in found[1:]:
        for name, diagonal in found[0].items():
            torch.testing.assert_close(other[name], diagonal, rtol=1e-10, atol=1e-16)
    # What the squared mean of all 48 would be.
    loss = nn.functional.cross_entropy(net(x), y)
    wrong = torch.autograd.grad(loss, list(net.parameters()))
    assert float(sum(found[0][name].sum() for name in found[0])) > 3 * float(sum(g.square().sum() for g in wrong))


class _Awkward(nn.Module):
    """Looks at values while it runs, which cannot be vectorised."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.inner(x * (2.0 if float(x.detach().abs().max()) > 1e9 else 1.0))
        return logits


def test_what_cannot_be_vectorised_is_measured_one_by_one() -> None:
    """A module that looks at its values has the information of the same one that does not."""
    net, x = make_net(plain=True).double(), normal(20, 6, seed=1)
    found, expected = fisher_diagonal(_Awkward(net), x), fisher_diagonal(net, x)
    for name, diagonal in expected.items():
        torch.testing.assert_close(found[f"inner.{name}"], diagonal, rtol=1e-10, atol=1e-16)


def test_the_fisher_leaves_the_model_as_it_is_and_frozen_parts_out() -> None:
    """Mode, weights and statistics stay; BatchNorm is used as in evaluation."""
    net, x = make_net().train(), normal(20, 6, seed=1).float()
    before = weights(net)
    net[0].requires_grad_(False)
    found = fisher_diagonal(net, x)
    assert sorted(found) == ["1.bias", "1.weight", "4.bias", "4.weight"]
    assert net.training
    assert torch.equal(weights(net), before)


def test_of_many_classes_one_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By seed, from the model's own probabilities: near the sum over all classes, on many samples."""
    head, x, _ = softmax_head(4000)
    exact = fisher_diagonal(head, x, block=500)
    monkeypatch.setattr(fisher_module, "_MOST_CLASSES", 3)
    drawn = fisher_diagonal(head, x, block=500, seed=1)
    assert torch.equal(drawn["weight"], fisher_diagonal(head, x, block=500, seed=1)["weight"])
    assert not torch.equal(drawn["weight"], exact["weight"])
    torch.testing.assert_close(drawn["weight"], exact["weight"], rtol=0.25, atol=0.01)


def test_ewc_does_nothing_for_added_classes() -> None:
    """Rows beyond the source's have no information: neither penalty nor gradient, and they are told by name."""
    old, x, _ = softmax_head()
    fisher = fisher_diagonal(old, x)
    wide = linear(5, 6, seed=9)
    with torch.no_grad():
        wide.weight[:4], wide.bias[:4] = old.weight, old.bias
    penalty = ewc(wide, fisher, weight=3.0)
    assert without_information(wide, fisher) == ("weight", "bias")
    assert without_information(old, fisher) == ()
    assert without_information(old, fisher, new={"weight"}) == ("weight",)
    with torch.no_grad():
        wide.weight[4:] += 100.0
        assert float(penalty(wide)) == 0.0
        wide.weight[:4] += 0.5
    value = penalty(wide)
    assert value.item() == pytest.approx(1.5 * 0.25 * float(fisher["weight"].sum()))
    slope = torch.autograd.grad(value, wide.weight)[0]
    assert float(slope[4:].abs().max()) == 0
    torch.testing.assert_close(slope[:4], 1.5 * fisher["weight"], rtol=1e-10, atol=1e-14)


def trained_net(*, seed: int = 3) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(OrderedDict(body=nn.Linear(6, 16), act=nn.Tanh(), head=nn.Linear(16, 3)))


def apart(run_model: nn.Module, net: nn.Module) -> float:
    return float((weights(run_model) - weights(net)).norm())


@pytest.mark.parametrize("penalty", ["l2-sp", "ewc"])
def test_the_stronger_the_nearer_to_the_source(tmp_path: Path, penalty: str) -> None:
    """Weights end nearer to where they began; weight 0 is a run without, but for decay."""
    found = []
    for strength in (0.0, 1.0, 1e4):
        transfer = {"penalty": penalty, "penalty_weight": strength}
        config = make_config(transfer=transfer, epochs=4, weight_decay=0.0, gradient_norm=1e9)
        net = trained_net()
        run = pretrain(
            config, out=tmp_path / str(strength), data=make_data(), model=net, source_data=make_data(), device="cpu"
        )
        found.append(apart(run.model, net))
    assert found[0] > found[1] > found[2]
    plain = run_small(tmp_path / "plain", make_config(epochs=4, weight_decay=0.0, gradient_norm=1e9), net=trained_net())
    assert apart(plain.model, trained_net()) == found[0]


def test_the_penalty_is_part_of_the_loss_and_of_the_gradient_once(tmp_path: Path) -> None:
    """In parts or whole, the same steps; what the checkpoint holds, and the log's first loss, are as by hand."""
    losses = []
    for parts in (1, 4):
        transfer = {"penalty": "l2-sp", "penalty_weight": 2.0, "new_layers": ("head",), "new_weight": 3.0}
        config = make_config(accumulation=parts, epochs=4, batch_size=96, label_smoothing=0.0, transfer=transfer)
        run = run_small(tmp_path / str(parts), config, net=trained_net().double(), data=make_data(dtype=torch.float64))
        losses.append([epoch["loss"] for epoch in run.epochs])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    net, dataset = trained_net().double(), make_data(dtype=torch.float64).train.dataset
    assert isinstance(dataset, InMemory)
    head = net.get_submodule("head").get_parameter("weight")
    first = nn.functional.cross_entropy(net(dataset.x), dataset.y) + 1.5 * head.square().sum()
    assert losses[0][0] == pytest.approx(first.item())
    state = load_file(tmp_path / "1" / "checkpoints" / "step-000000004" / "penalty.safetensors")
    names = ("body.bias", "body.weight", "head.weight")
    assert sorted(state) == [f"{kind}.{name}" for kind in ("anchor", "weight") for name in names]
    assert torch.equal(state["anchor.body.weight"], net.state_dict()["body.weight"])
    assert not state["anchor.head.weight"].any()


def test_decay_gives_way_to_l2_sp(tmp_path: Path) -> None:
    """Decay towards 0 would work against it: with l2-sp it changes nothing, and settings in vain say so."""
    transfer = {"penalty": "l2-sp"}
    runs = [
        run_small(tmp_path / str(decay), make_config(transfer=transfer, weight_decay=decay), net=trained_net())
        for decay in (0.0, 0.5)
    ]
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))


@pytest.mark.parametrize("penalty", ["l2-sp", "ewc"])
def test_a_run_with_a_penalty_resumes_to_the_bit(tmp_path: Path, penalty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it compares with is in the checkpoint: other first weights and no second measuring change nothing."""

    class _DiedError(Exception):
        pass

    def die(done: int, total: int) -> None:
        if done == 9:
            raise _DiedError

    config = make_config(
        transfer={"penalty": penalty, "penalty_weight": 3.0}, run={"checkpoint_every": 4}, ema=0.9, accumulation=2
    )

    def go(name: str, net: nn.Module, **options: Any) -> nn.Module:
        data = make_data()
        run = pretrain(config, out=tmp_path / name, model=net, data=data, source_data=data, device="cpu", **options)
        return run.model

    whole = go("whole", trained_net())
    with pytest.raises(_DiedError):
        go("cut", trained_net(), progress=die)

    def fail(*given: object, **named: object) -> None:
        raise AssertionError("expected nothing to be measured again")

    monkeypatch.setattr("acclimate.server.transfer.tuning.fisher_diagonal", fail)
    cut = go("cut", trained_net(seed=99), resume=True)
    assert torch.equal(weights(cut), weights(whole))
    other = replace(config, transfer=replace(config.transfer, penalty_weight=4.0))
    with pytest.raises(TrainingError, match=r"transfer\.penalty_weight = 4\.0 instead of 3\.0"):
        pretrain(other, out=tmp_path / "cut", model=trained_net(), data=make_data(), resume=True, device="cpu")


def test_ewc_from_settings_measures_on_the_sources_own_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint of five classes, tuned to three: the trunk is held by what its own head says, the new head is not.

    A warning says that nothing is held there; the samples of the source need no labels.
    """
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make() -> nn.Module:\n    torch.manual_seed(1)\n"
        "    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 5))\n"
    )
    x = normal(50, 6, seed=0).float()
    np.savez(tmp_path / "source.npz", x=x.numpy())
    target = make_data()
    assert isinstance(target.train.dataset, InMemory)
    np.savez(tmp_path / "target.npz", x=target.train.dataset.x.numpy(), y=target.train.dataset.y.numpy())
    transfer = {"penalty": "ewc", "source_data": str(tmp_path / "source.npz"), "fisher_samples": 1000}
    config = make_config(transfer=transfer, epochs=1)
    # Tables would be standardised, each by its own statistics.
    own = replace(config.data, train=str(tmp_path / "target.npz"), standardise=False)
    data = replace(own, classes=("a", "b", "c"), validation_share=0.25)
    config = replace(config, model=ModelSettings(name=f"{tmp_path / 'net.py'}:make"), data=data)
    with caplog.at_level(logging.WARNING, "acclimate.server"):
        run = pretrain(config, out=tmp_path / "run", device="cpu")
    assert "EWC holds nothing of 2.weight, 2.bias" in caplog.text
    assert run.model.state_dict()["2.weight"].shape == (3, 16)
    (state,) = (tmp_path / "run" / "checkpoints").iterdir()
    held = load_file(state / "penalty.safetensors")
    assert sorted(held) == ["anchor.0.bias", "anchor.0.weight", "weight.0.bias", "weight.0.weight"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        source = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 5))
    # All 50 samples of the source, though a share of the target is held out; of that, 72 are trained on.
    expected = 50 / 72 * fisher_diagonal(source, x)["0.weight"]
    torch.testing.assert_close(held["weight.0.weight"], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("columns", ["a,b", "b,a,label", "b,kind,a,label"])
def test_the_source_of_ewc_is_read_by_column_and_needs_no_labels(tmp_path: Path, columns: str) -> None:
    """Of a table whose columns stand in another order, with others besides, the same is measured."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make() -> nn.Module:\n    torch.manual_seed(1)\n"
        "    return nn.Linear(2, 2)\n"
    )
    x = normal(40, 2, seed=0).numpy()
    rows = [{"a": f"{a}", "b": f"{b}", "label": f"never {i}", "kind": "0"} for i, (a, b) in enumerate(x)]
    names = columns.split(",")
    lines = [columns, *(",".join(row[name] for name in names) for row in rows)]
    (tmp_path / "source.csv").write_text("\n".join(lines))
    lines = ["a,b,where", *(f"{a},{b},{'xy'[i % 2]}" for i, (a, b) in enumerate(x))]
    (tmp_path / "target.csv").write_text("\n".join(lines))
    transfer = {"penalty": "ewc", "source_data": str(tmp_path / "source.csv")}
    config = make_config(transfer=transfer, epochs=1)
    own = replace(config.data, train=str(tmp_path / "target.csv"), labels=("where",), standardise=False)
    config = replace(config, model=ModelSettings(name=f"{tmp_path / 'net.py'}:make"), data=own)
    pretrain(config, out=tmp_path / "run", device="cpu")
    (state,) = (tmp_path / "run" / "checkpoints").iterdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Linear(2, 2)
    expected = 40 / 36 * fisher_diagonal(net, torch.from_numpy(x).float())["weight"]
    torch.testing.assert_close(load_file(state / "penalty.safetensors")["weight.weight"], expected)


def test_ewc_of_a_checkpoint_of_several_tasks_is_refused(tmp_path: Path) -> None:
    """Its logits side by side are no distribution over all of them."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make() -> nn.Module:\n"
        "    return nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 6))\n"
    )
    code = f"{tmp_path / 'net.py'}:make"
    config = replace(make_config(objective={"name": "multi-task"}, epochs=1), model=ModelSettings(name=code))
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 6))
    pretrain(config, out=tmp_path / "run", model=net, data=make_data(tasks=2), device="cpu")
    again = make_config(transfer={"penalty": "ewc"}, epochs=1)
    again = replace(again, model=ModelSettings(name=str(tmp_path / "run"), code=code))
    with pytest.raises(InputError, match=r"a model of one task with transfer\.penalty = \"ewc\", found 2"):
        pretrain(again, out=tmp_path / "other", data=make_data(), source_data=make_data(), device="cpu")


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ({"penalty": "ewc"}, r"expected transfer\.source_data with transfer\.penalty = \"ewc\", found none"),
        ({"penalty": "l2-sp", "new_layers": ("hed",)}, r"transfer\.new_layers, found 'hed'\. It has 'head'"),
    ],
)
def test_what_a_penalty_lacks_is_told(tmp_path: Path, transfer: dict[str, Any], message: str) -> None:
    """EWC without samples of the source, and layers that the model has not."""
    with pytest.raises(InputError, match=message):
        run_small(tmp_path / "run", make_config(transfer=transfer), net=trained_net())


def test_samples_that_the_source_does_not_take_are_told(tmp_path: Path) -> None:
    """Of another width, or not finite."""
    config = make_config(transfer={"penalty": "ewc"})
    for x, message in ((torch.zeros(9, 4), "samples that the model takes"), (torch.full((9, 6), torch.nan), "finite")):
        data = make_data()
        source = replace(data, train=replace(data.train, dataset=InMemory(x, torch.zeros(9).long())))
        with pytest.raises(InputError, match=message):
            pretrain(config, out=tmp_path / "run", model=trained_net(), data=data, source_data=source, device="cpu")


def test_ewc_that_has_nothing_to_hold_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a new last layer alone trains, no weight of the source moves; the run is that without a penalty."""
    found = []
    for penalty in ("ewc", "none"):
        transfer = {"train_last": 1, "penalty": penalty, "new_layers": ("head",)}
        with caplog.at_level(logging.WARNING, "acclimate.server.transfer"):
            data = make_data()
            run = pretrain(
                make_config(transfer=transfer, epochs=1),
                out=tmp_path / penalty,
                model=trained_net(),
                data=data,
                source_data=data,
                device="cpu",
            )
        found.append(weights(run.model))
    assert torch.equal(*found)
    assert "EWC holds nothing of head.weight, head.bias" in caplog.text


def test_a_penalty_of_another_model_is_refused() -> None:
    """The parameter is named."""
    penalty = l2_sp(trained_net())
    with pytest.raises(InputError, match=r"parameter '0\.weight'|parameter 'body\.weight'"):
        penalty(make_net())


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"new": {"wieght"}}, "as new ones, found 'wieght'. Its last are 'weight', 'bias'"),
        ({"alpha": NAN}, "finite alpha of 0 or more, found nan"),
        ({"alpha": -1.0}, "finite alpha of 0 or more"),
        ({"beta": INFINITE}, "finite beta of 0 or more"),
    ],
)
def test_l2_sp_of_what_is_no_weight_or_parameter_is_refused(options: dict[str, Any], message: str) -> None:
    """A misspelt name would be drawn to the source, a weight below 0 away from it."""
    with pytest.raises(InputError, match=message):
        l2_sp(linear(3, 2, seed=0), **options)


@pytest.mark.parametrize(
    ("fisher", "options", "message"),
    [
        ({}, {}, "such as 'weight', found none"),
        ({"module.weight": torch.ones(2, 3)}, {}, "such as 'weight', found 'module.weight'"),
        ({"weight": -torch.ones(2, 3)}, {}, "of 0 or more, found other values of 'weight'"),
        ({"weight": torch.full((2, 3), NAN)}, {}, "of 0 or more, found other values of 'weight'"),
        ({"weight": torch.ones(3, 3)}, {}, r"of shape \(2, 3\), .* found \(3, 3\)"),
        ({"bias": torch.tensor(1.0)}, {}, r"of shape \(2,\), .* found \(\)"),
        ({"weight": torch.ones(2, 3)}, {"weight": NAN}, "finite weight of 0 or more"),
        ({"weight": torch.ones(2, 3)}, {"weight": -1.0}, "finite weight of 0 or more"),
        ({"weight": torch.ones(2, 3)}, {"new": {"b"}}, "as new ones, found 'b'"),
    ],
)
def test_information_of_another_model_or_none_is_refused(
    fisher: dict[str, Tensor], options: dict[str, Any], message: str
) -> None:
    """It would hold nothing, or push weights away, without a word."""
    with pytest.raises(InputError, match=message):
        ewc(linear(3, 2, seed=0), fisher, **options)


def test_a_wider_hidden_layer_is_not_taken_for_added_classes() -> None:
    """Fewer rows are other classes in the last layer only; other channels of the first layer are left alone."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    narrow = {
        name: torch.ones_like(p) for name, p in nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).named_parameters()
    }
    with pytest.raises(InputError, match=r"information on '1.weight' of shape \(3, 8\), .* found \(3, 6\)"):
        ewc(net, narrow)
    other = {name: torch.ones_like(p) for name, p in nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 2)).named_parameters()}
    penalty = ewc(net, other)
    assert sorted(penalty.pulls) == ["0.bias", "1.bias", "1.weight"]
    assert penalty.pulls["1.bias"].weight.tolist() == [1, 1, 0]
