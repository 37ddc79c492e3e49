"""Low-rank adapters: they alone train, and what is kept is an ordinary model that gives the same."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from acclimate import extras
from acclimate.converters import convert
from acclimate.edge import Learner
from acclimate.errors import InputError, MissingExtraError
from acclimate.server.checkpoint import load_checkpoint
from acclimate.server.transfer.lora import adaptable, add_adapters

from .small_runs import CLASSES, InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


def convolutional(*, seed: int = 0) -> nn.Sequential:
    """Return a network for ``(b, 1, 8, 8)`` with a convolution, a grouped one, a pointwise one and BatchNorm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            OrderedDict(
                stem=nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
                depth=nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
                point=nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU()),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                mix=nn.Linear(12, 12),
                head=nn.Linear(12, CLASSES),
            )
        )


def test_adapters_add_nothing_at_first_and_merge_to_the_same_answers() -> None:
    """Before training the answers are the source's; after it those of the merged weights, within 1e-5."""
    pytest.importorskip("peft")
    net, plain = convolutional().eval(), convolutional().eval()
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = plain(x).detach()
    names = list(plain.state_dict())
    adapters = add_adapters(net, rank=4, alpha=16, head=["head"])
    assert adapters.layers == ("stem.0", "point.0", "mix")
    torch.testing.assert_close(net(x).detach(), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    merged = adapters.merged({name: tensor.detach().clone() for name, tensor in net.state_dict().items()})
    assert list(merged) == names
    plain.load_state_dict(merged)
    after = net(x).detach()
    assert float((after - before).abs().max()) > 0.1
    torch.testing.assert_close(plain(x).detach(), after, rtol=0, atol=1e-5)


def test_the_update_is_of_the_rank_asked_for(tmp_path: Path) -> None:
    """The first layer moved by a matrix of rank 2, its bias not at all, BatchNorm neither; the head is new."""
    pytest.importorskip("peft")
    net = make_net()
    run = run_small(tmp_path / "run", make_config(transfer={"lora_rank": 2}), net=net)
    was, state = net.state_dict(), run.model.state_dict()
    assert list(state) == list(was)
    values = torch.linalg.svdvals(state["0.weight"] - was["0.weight"])
    assert float(values[1]) > 1e-3
    assert float(values[2]) < 1e-6
    assert all(torch.equal(state[name], was[name]) for name in was if name[0] == "1" or name == "0.bias")
    assert not torch.equal(state["4.weight"], was["4.weight"])
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    optimised = load_file(folder / "optimizer.safetensors")
    assert sum(tensor.numel() for tensor in optimised.values()) == 4 + 2 * (2 * 6 + 16 * 2 + 16 * 3 + 3)


def test_what_is_kept_is_a_plain_model_with_the_scores_of_the_run(tmp_path: Path) -> None:
    """The checkpoint loads into the network without adapters, whose accuracy is the one that was logged."""
    pytest.importorskip("peft")
    data = make_data()
    config = make_config(transfer={"lora_rank": 3, "lora_layers": ("0",), "lora_alpha": 6}, epochs=5)
    run = run_small(tmp_path / "run", config, data=data)
    loaded = make_net(seed=5)
    load_checkpoint(tmp_path / "run" / "model", loaded, architecture="small_runs:make_net")
    assert torch.equal(weights(loaded), weights(run.model))
    assert data.validation is not None
    dataset = data.validation.dataset
    assert isinstance(dataset, InMemory)
    with torch.no_grad():
        logits = loaded.eval()(dataset.x)
    assert float((logits.argmax(1) == dataset.y).double().mean()) == pytest.approx(run.metrics[0].accuracy)
    loss = nn.functional.cross_entropy(logits, dataset.y)
    assert float(loss) == pytest.approx(run.metrics[0].loss, rel=1e-5)
    assert run.metrics[0].accuracy > 0.8
    assert not any("peft" in type(module).__module__ for module in run.model.modules())


@pytest.mark.parametrize("objective", [{}, {"name": "simclr", "hidden": 8, "projection": 4}])
def test_a_run_with_adapters_resumes_to_the_bit(tmp_path: Path, objective: dict[str, Any]) -> None:
    """Cut off in its second epoch, it ends in the weights of the run that was not."""
    pytest.importorskip("peft")

    class _DiedError(Exception):
        pass

    def die(done: int, total: int) -> None:
        if done == 9:
            raise _DiedError

    config = make_config(transfer={"lora_rank": 2}, run={"checkpoint_every": 4}, ema=0.9, objective=objective)
    data = make_data(vary=0.2)
    with pytest.raises(_DiedError):
        run_small(tmp_path / "cut", config, data=data, progress=die)
    cut = run_small(tmp_path / "cut", config, data=data, resume=True)
    whole = run_small(tmp_path / "whole", config, data=data)
    assert torch.equal(weights(cut.model), weights(whole.model))


@pytest.mark.slow
def test_a_fine_tuned_model_is_converted_as_any_other(tmp_path: Path) -> None:
    """On the device it gives the labels that it gives on the server."""
    pytest.importorskip("peft")
    pytest.importorskip("onnxruntime")
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % CLASSES
    x[y == 1, :, :4] += 1
    x[y == 2, :, :, :4] += 1
    x = (x / 2).mul(255).round() / 255
    data = make_data()
    split = type(data.train)(InMemory(x, y), y.numpy(), [str(i) for i in range(60)], None)
    data = type(data)(split, split, ("a", "b", "c"), (1, 8, 8), "frames", data.tasks)
    net = convolutional().train()
    # Statistics of BatchNorm are the source's, which has seen data.
    net(x)
    run = run_small(tmp_path / "run", make_config(transfer={"lora_rank": 4}, epochs=6), net=net, data=data)
    frames = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    report = convert(run.model, frames, out=tmp_path / "tuned.acc", classes=("a", "b", "c"), mean=(0.0,), std=(1.0,))
    assert report is not None
    with torch.no_grad():
        expected = np.array(["a", "b", "c"])[run.model(x).argmax(1).numpy()]
    with Learner.open(tmp_path / "tuned.acc") as learner:
        found = np.array(learner.predict(frames).labels)
    assert float((found == expected).mean()) > 0.95


def test_layers_are_named_or_found() -> None:
    """Grouped convolutions, whose adapters PEFT cannot merge, and the head are left out."""
    assert adaptable(convolutional(), ["head"]) == ("stem.0", "point.0", "mix")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("mixx",), r"transfer\.lora_layers, found 'mixx'\. It has 'mix'"),
        (("stem.1",), r"linear layers or convolutions as transfer\.lora_layers, found 'stem\.1', a BatchNorm2d"),
        (("depth.0",), r"ungrouped convolutions as transfer\.lora_layers, found 'depth\.0' of 8 groups"),
        (("head",), r"layers that do not train whole as transfer\.lora_layers, found 'head'"),
    ],
)
def test_layers_that_take_no_adapter_are_refused(layers: tuple[str, ...], message: str) -> None:
    """Each by name, with what is there instead."""
    pytest.importorskip("peft")
    with pytest.raises(InputError, match=message):
        add_adapters(convolutional(), rank=2, alpha=4, head=["head"], layers=layers)


def test_a_model_of_a_head_alone_takes_no_adapters() -> None:
    """There is nothing to add them to."""
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="besides its head, found none"):
        add_adapters(nn.Sequential(nn.Linear(3, 3)), rank=2, alpha=4, head=["0"])


def test_without_peft_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "peft" else True)
    with pytest.raises(MissingExtraError, match=r"lora_rank needs 'peft'.*acclimate\[lora\]"):
        add_adapters(convolutional(), rank=2, alpha=4, head=["head"])
