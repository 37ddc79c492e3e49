"""Which parts of a model train: blocks, frozen layers, learning rates, modules in common."""

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from acclimate.errors import InputError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.no_effect import Circumstances, told_in_vain
from acclimate.server.keras.asked import check_settings
from acclimate.server.pretrain import pretrain
from acclimate.server.training.optimizer import make_optimizer
from acclimate.server.transfer.layers import blocks_of, freeze_but, hold_still, last_blocks, still_modules
from acclimate.server.transfer.rates import rate_factors
from acclimate.server.transfer.settings import TransferSettings
from acclimate.server.transfer.sharing import SoftSharing, Together, share

from .small_runs import CLASSES, make_config, make_data, run_small, weights

pytestmark = pytest.mark.needs_torch


def deep_net(*, seed: int = 0, outputs: int = CLASSES) -> nn.Sequential:
    """Return three blocks, the first two with BatchNorm and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            OrderedDict(
                stem=nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3)),
                body=nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU()),
                drop=nn.Dropout(0.5),
                head=nn.Linear(12, outputs),
            )
        )


class Layer(nn.Module):
    """A block of a class of its own, with a container inside."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.mix = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        """Return what it makes of ``(b, 6)``."""
        mixed: Tensor = x + self.mix(self.norm(x))
        return mixed


class Encoder(nn.Module):
    """A stack of layers with a position of its own, as transformers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(6))
        self.layers = nn.ModuleList([Layer() for _ in range(3)])
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        """Return what it makes of ``(b, 6)``."""
        x = x + self.place
        for layer in self.layers:
            x = layer(x)
        normal: Tensor = self.norm(x)
        return normal


def test_blocks_are_layers_with_their_normalisation_or_modules_of_a_stack() -> None:
    """Containers and encoders are taken apart, blocks of a class of their own are not."""
    assert [block.modules for block in blocks_of(deep_net())] == [
        ("stem.0", "stem.1"),
        ("body.0", "body.1"),
        ("head",),
    ]
    net = nn.Sequential(OrderedDict(encoder=Encoder(), head=nn.Linear(6, 3)))
    assert [block.modules for block in blocks_of(net)] == [
        ("encoder.layers.0", "encoder.place"),
        ("encoder.layers.1",),
        ("encoder.layers.2", "encoder.norm"),
        ("head",),
    ]
    assert [block.name for block in blocks_of(nn.Linear(2, 2))] == [""]
    assert last_blocks(net, 2) == ("encoder.layers.2", "encoder.norm", "head")
    with pytest.raises(InputError, match=r"at most 4, .*encoder\.layers\.0, .*head; leave it out"):
        last_blocks(net, 5)


class Tokens(nn.Module):
    """A vision transformer in small: a class token of the model itself, positions of its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 6))
        self.patch = nn.Linear(4, 6)
        self.encoder = Encoder()
        self.head = nn.Linear(6, 3)


def test_all_blocks_are_all_parameters() -> None:
    """Parameters of modules that are taken apart train with the first block of their module; with all, everything."""
    net = Tokens()
    blocks = blocks_of(net)
    assert [block.modules for block in blocks[:2]] == [("patch", "token"), ("encoder.layers.0", "encoder.place")]
    freeze_but(net, last_blocks(net, len(blocks)))
    assert all(parameter.requires_grad for parameter in net.parameters())
    freeze_but(net, last_blocks(net, len(blocks) - 1))
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert frozen == ["token", "patch.weight", "patch.bias"]


@pytest.mark.parametrize("count", [0, -1])
def test_no_blocks_to_train_are_refused(count: int) -> None:
    """The last 0 of a list are all of it."""
    with pytest.raises(InputError, match=f"one block or more to train, found {count}"):
        last_blocks(deep_net(), count)


def test_blocks_of_known_networks() -> None:
    """ResNet, MobileNet and a vision transformer are parted where one would do it by hand."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        resnet, mobile, vit = models.resnet18(), models.mobilenet_v2(), models.vit_b_16()
    assert [block.name for block in blocks_of(resnet)][-3:] == ["layer4.0", "layer4.1", "fc"]
    assert len(blocks_of(resnet)) == 10
    assert [block.name for block in blocks_of(mobile)][-3:] == ["features.17", "features.18.0", "classifier.1"]
    assert len(blocks_of(mobile)) == 20
    assert [block.name for block in blocks_of(vit)][-2:] == ["encoder.layers.encoder_layer_11", "heads.head"]
    assert len(blocks_of(vit)) == 14


@pytest.mark.parametrize(
    ("transfer", "trained"),
    [
        ({"train_last": 1}, ("head",)),
        ({"train_last": 2}, ("body.0", "body.1", "head")),
        ({"train": ("body",)}, ("body",)),
        ({"train_last": 3}, ("",)),
    ],
)
def test_frozen_parts_stay_as_they_are_to_the_bit(
    tmp_path: Path, transfer: dict[str, Any], trained: tuple[str, ...]
) -> None:
    """Weights and BatchNorm's statistics of frozen parts do not move through epochs with validation; others do."""
    net = deep_net()
    run = run_small(tmp_path / "run", make_config(transfer=transfer, ema=0.9, weight_decay=0.1), net=net)
    before, after = net.state_dict(), run.model.state_dict()
    for name, tensor in after.items():
        moves = any(not part or name.startswith(f"{part}.") for part in trained)
        assert torch.equal(tensor, before[name]) != moves, name


def test_frozen_parameters_have_no_state_of_the_optimiser(tmp_path: Path) -> None:
    """A checkpoint holds two moments and a count for each of the two tensors that train, and nothing else."""
    run_small(tmp_path / "run", make_config(transfer={"train_last": 1}, epochs=1), net=deep_net())
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    state = load_file(folder / "optimizer.safetensors")
    assert sorted(tensor.numel() for tensor in state.values()) == [1, 1, 3, 3, 36, 36]


def test_what_stays_still() -> None:
    """Frozen layers and what is in front of them are in evaluation mode; dropout before the head is in use."""
    net = deep_net()
    freeze_but(net, ("head",))
    still = still_modules(net, ("head",))
    net.train()
    hold_still(still)
    modes = {name: module.training for name, module in net.named_modules()}
    assert [name for name, on in modes.items() if on] == ["", "drop", "head"]
    freeze_but(net, ("stem",))
    net.train()
    hold_still(still_modules(net, ("stem",)))
    modes = {name: module.training for name, module in net.named_modules()}
    assert [name for name, on in modes.items() if on] == ["", "stem", "stem.0", "stem.1", "stem.2", "stem.3", "drop"]


def test_normalisation_without_weights_keeps_its_statistics_where_it_is_frozen(tmp_path: Path) -> None:
    """BatchNorm without scale and shift has nothing to freeze but its statistics."""
    net = nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    run = run_small(tmp_path / "run", make_config(transfer={"train": ("3",)}, epochs=1), net=net)
    assert torch.equal(run.model.state_dict()["0.running_mean"], torch.zeros(6))
    run = run_small(tmp_path / "whole", make_config(epochs=1), net=net)
    assert not torch.equal(run.model.state_dict()["0.running_mean"], torch.zeros(6))


def test_all_blocks_are_the_whole_model(tmp_path: Path) -> None:
    """Training the last three of three blocks gives the weights of a run without the setting, bit for bit."""
    runs = [
        run_small(tmp_path / str(number), make_config(transfer=transfer), net=deep_net())
        for number, transfer in enumerate(({}, {"train_last": 3}))
    ]
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))


def test_discriminative_rates_fall_by_the_factor_from_block_to_block(tmp_path: Path) -> None:
    """The first step of AdamW moves a weight by the rate: each block by a factor less than the one behind it."""
    net = deep_net().double().eval()
    config = make_config(
        epochs=1,
        batch_size=96,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        transfer={"rate_factor": 0.25, "penalty": "none"},
    )
    data = make_data(dtype=torch.float64)
    run = run_small(tmp_path / "run", config, net=net, data=data)
    before, after = dict(net.named_parameters()), dict(run.model.named_parameters())
    for name, rate in (("head.weight", 1e-3), ("body.0.weight", 2.5e-4), ("stem.1.bias", 6.25e-5)):
        moved = (after[name] - before[name]).detach().abs()
        torch.testing.assert_close(moved.max(), torch.tensor(rate, dtype=torch.float64), rtol=1e-3, atol=0)


def test_a_modules_own_parameters_learn_as_its_first_block() -> None:
    """The position of an encoder is in its first block; groups of the optimiser keep each factor."""
    net = nn.Sequential(OrderedDict(encoder=Encoder(), head=nn.Linear(6, 3)))
    factors = rate_factors(net, blocks_of(net), 0.5)
    assert factors["head.bias"] == 1
    assert factors["encoder.norm.weight"] == factors["encoder.layers.2.norm.bias"] == 0.5
    assert factors["encoder.place"] == factors["encoder.layers.0.mix.0.weight"] == 0.125
    optimizer = make_optimizer(net, learning_rate=0.1, weight_decay=0.3, factor_of=factors.__getitem__)
    sizes = [(group["rate_factor"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert sizes[:4] == [(1, 0.3, 1), (1, 0, 1), (0.5, 0.3, 2), (0.5, 0, 6)]
    assert sizes[4:] == [(0.25, 0.3, 2), (0.25, 0, 4), (0.125, 0.3, 2), (0.125, 0, 5)]


@pytest.mark.parametrize("objective", [{}, {"name": "simclr", "hidden": 8, "projection": 4}])
def test_a_run_with_frozen_parts_resumes_to_the_bit(tmp_path: Path, objective: dict[str, Any]) -> None:
    """Cut off in its second epoch, it ends in the weights of the run that was not."""

    class _DiedError(Exception):
        pass

    def die(done: int, total: int) -> None:
        if done == 9:
            raise _DiedError

    config = make_config(
        transfer={"train_last": 2, "rate_factor": 0.5}, run={"checkpoint_every": 4}, ema=0.9, objective=objective
    )
    data = make_data(vary=0.2)
    with pytest.raises(_DiedError):
        run_small(tmp_path / "cut", config, net=deep_net(), data=data, progress=die)
    cut = run_small(tmp_path / "cut", config, net=deep_net(), data=data, resume=True)
    whole = run_small(tmp_path / "whole", config, net=deep_net(), data=data)
    assert torch.equal(weights(cut.model), weights(whole.model))


def test_a_checkpoint_with_other_classes_is_fine_tuned(tmp_path: Path) -> None:
    """By settings alone: the last layer is new and trains, the source's other weights are those of its folder."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make() -> nn.Module:\n"
        "    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))\n"
    )
    source = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))
    save_checkpoint(tmp_path / "source", source, architecture="mine", notes={})
    model = ModelSettings(name=str(tmp_path / "source"), code=f"{tmp_path / 'net.py'}:make")
    config = replace(make_config(transfer={"train_last": 1}, epochs=1), model=model)
    run = pretrain(config, out=tmp_path / "run", data=make_data(), device="cpu")
    state, was = run.model.state_dict(), source.state_dict()
    assert state["3.weight"].shape == (3, 12)
    assert all(torch.equal(state[name], was[name]) for name in was if name[0] != "3")


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ({"train_last": 9}, r"at most 3, the blocks of the model, found 9"),
        ({"train": ("boddy",)}, r"transfer\.train, found 'boddy'\. It has 'body'"),
        ({"train": ("drop",)}, r"modules with parameters to train, found none in drop"),
    ],
)
def test_what_is_no_part_of_the_model_is_refused(tmp_path: Path, transfer: dict[str, Any], message: str) -> None:
    """A number beyond its blocks, a name that it has not, a module without parameters."""
    with pytest.raises(InputError, match=message):
        run_small(tmp_path / "run", make_config(transfer=transfer), net=deep_net())


def test_two_ways_of_saying_what_trains_are_refused() -> None:
    """Settings that contradict each other are told by name."""
    with pytest.raises(InputError, match=r"found transfer\.train_last and transfer\.train"):
        TransferSettings(train_last=1, train=("head",))
    with pytest.raises(InputError, match=r'transfer\.penalty = "none" with transfer\.lora_rank'):
        TransferSettings(lora_rank=2, penalty="l2-sp")


@pytest.mark.parametrize(
    ("transfer", "told"),
    [
        ({"train_last": 1, "rate_factor": 0.5}, "transfer.rate_factor"),
        ({"penalty_weight": 2.0, "new_layers": ("head",)}, "transfer.penalty_weight transfer.new_layers"),
        ({"penalty": "ewc", "source_data": "x.npz", "new_weight": 1.0}, "transfer.new_weight"),
        ({"penalty": "l2-sp", "fisher_samples": 5}, "training.weight_decay transfer.fisher_samples"),
        ({"lora_alpha": 3, "lora_layers": ("body",)}, "transfer.lora_alpha transfer.lora_layers"),
        ({"train_last": 2, "rate_factor": 0.5, "penalty": "l2-sp", "new_weight": 0.1}, "training.weight_decay"),
    ],
)
def test_settings_in_vain_are_told(transfer: dict[str, Any], told: str) -> None:
    """Each that changes nothing beside the others, and decay, which l2-sp takes the place of."""
    found = told_in_vain(make_config(transfer=transfer, weight_decay=0.5), Circumstances())
    assert {sentence.split()[0] for sentence in found} == set(told.split())


def test_keras_models_are_refused_by_name() -> None:
    """They train whole."""
    config = replace(make_config(transfer={"train_last": 1}), model=ModelSettings(name="keras:MobileNetV2"))
    with pytest.raises(InputError, match=r"found \[transfer\] = .*Leave the section out"):
        check_settings(config)


def test_what_trains_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The number of parameters, and where they are."""
    with caplog.at_level(logging.INFO, "acclimate.server.transfer.tuning"):
        run_small(tmp_path / "run", make_config(transfer={"train_last": 1}, epochs=1), net=deep_net())
    assert "39 parameters train, in head" in caplog.text


def test_hard_sharing_trains_one_trunk_on_both_tasks(tmp_path: Path) -> None:
    """Two models with a trunk in common are one multi-task model: both tasks are learnt, the trunk stays one."""
    first, second = deep_net(seed=1), deep_net(seed=2)
    assert share([first, second], ["stem", "body"]) == 12 * 6 + 12 * 12 + 12 * 6
    assert second.get_submodule("body.0") is first.get_submodule("body.0")
    config = make_config(objective={"name": "multi-task"}, epochs=6)
    run = run_small(tmp_path / "run", config, net=Together([first, second]), data=make_data(tasks=2))
    assert [one.accuracy > 0.8 for one in run.metrics] == [True, True]
    one, other = run.model.get_submodule("models").children()
    assert torch.equal(weights(one.get_submodule("body")), weights(other.get_submodule("body")))
    assert not torch.equal(weights(one.get_submodule("head")), weights(other.get_submodule("head")))


@pytest.mark.parametrize("strength", [0.0, 30.0])
def test_soft_sharing_draws_two_models_together(tmp_path: Path, strength: float) -> None:
    """Half the squared distance, by hand; a strong penalty leaves them far nearer than none."""
    models = [deep_net(seed=1), deep_net(seed=2)]
    penalty = SoftSharing(models, ["body.0"], strength=strength)
    joint = Together(models)
    a, b = (model.get_submodule("body.0") for model in models)
    distance = sum((p - q).square().sum() for p, q in zip(a.parameters(), b.parameters(), strict=True))
    torch.testing.assert_close(penalty(joint), strength / 2 * torch.as_tensor(distance))
    config = make_config(objective={"name": "multi-task"})
    run = pretrain(config, out=tmp_path / "run", model=joint, data=make_data(tasks=2), penalty=penalty, device="cpu")
    one, other = run.model.get_submodule("models").children()
    apart = float((weights(one.get_submodule("body.0")) - weights(other.get_submodule("body.0"))).norm())
    assert (apart < 1) == (strength > 0)


def test_modules_that_differ_are_not_shared() -> None:
    """Other widths, no such module, or a single model."""
    with pytest.raises(InputError, match=r"'head' of the same weights, found weight \(3, 12\).*weight \(5, 12\)"):
        share([deep_net(), deep_net(outputs=5)], ["head"])
    with pytest.raises(InputError, match=r"found 'neck'\. It has"):
        share([deep_net(), deep_net()], ["neck"])
    with pytest.raises(InputError, match="two models or more"):
        share([deep_net()], ["head"])


def test_what_cannot_be_shared_softly_is_refused() -> None:
    """A module without parameters, a strength that is none, and other models than the penalty was made of."""
    models = [deep_net(seed=1), deep_net(seed=2)]
    with pytest.raises(InputError, match="modules with parameters to share softly, found none in drop"):
        SoftSharing(models, ["head", "drop"])
    for strength in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InputError, match="finite strength of 0 or more"):
            SoftSharing(models, ["head"], strength=strength)
    with pytest.raises(InputError, match="expected 2 models, found 1"):
        SoftSharing(models, ["head"])(Together(models[:1]))
