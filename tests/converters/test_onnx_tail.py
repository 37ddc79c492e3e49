"""A tail of an ONNX file: the same cuts, logits, losses and bundle as of the torch model that it was made from."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn

from acclimate.bundle import Bundle
from acclimate.converters import convert
from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.onnx_source.split import OnnxSplit, split_onnx
from acclimate.converters.splitting.tail import TailSplit, split_tail
from acclimate.converters.training import compile_training
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.edge.tail.forward import Forward

from .onnx_networks import Convolutional, Transformer, exported, frames, prepared, seeded
from .training_parity import Steps

pytestmark = pytest.mark.needs_torch
NETWORKS = {"convolutional": Convolutional, "transformer": Transformer}
# Name of the torch model's cut, by network and number of blocks.
CUTS = {"convolutional": ("blocks.1", "blocks.0"), "transformer": ("blocks.1", "blocks.0")}
SGD = {"learning_rate": 0.05, "momentum": 0.9, "strength": 0.0}


def both(name: str, last: int, folder: Path, *, current: bool = False) -> tuple[TailSplit, OnnxSplit]:
    """Cut a torch model, and the file that was made from it."""
    model, raw = seeded(NETWORKS[name]), frames(8)
    found = split_tail(model, prepared(raw), last)
    assert found.tail.cut == CUTS[name][last - 1]
    file = parse_onnx(exported(model, folder, current=current))
    return found, split_onnx(file, raw, keeps_head=True, where=last, mean=0.5, std=0.5)


def targets(n: int) -> tuple[Tensor, Tensor]:
    """Return one-hot targets and weights."""
    goal = torch.nn.functional.one_hot(torch.arange(n) % 4, 4).float()
    return goal, 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(0))


def losses(module: nn.Module, maps: Tensor, steps: int = 20) -> list[float]:
    """Train all parameters in PyTorch by gradient descent with momentum."""
    goal, share = targets(len(maps))
    optimiser = torch.optim.SGD(module.requires_grad_(True).parameters(), lr=0.05, momentum=0.9)
    found = []
    for _ in range(steps):
        optimiser.zero_grad()
        each = nn.functional.cross_entropy(module(maps), goal, reduction="none")
        loss = (each * share).sum() / share.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tail_is_the_torch_models(name: str, last: int, tmp_path: Path) -> None:
    """Cut at the same place: the same maps, logits and number of weights, and the same losses over 20 steps to 1e-4."""
    expected, found = both(name, last, tmp_path)
    assert found.tail is not None
    mapped = found.original.mapped
    assert mapped is not None
    maps = expected.backbone(prepared(frames(8)))[1].detach()
    np.testing.assert_allclose(mapped.maps, maps.numpy(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(
            found.tail.module(maps).numpy(), expected.tail.module(maps).numpy(), rtol=1e-4, atol=1e-4
        )
    # The exporter folds BatchNorm into the convolutions, as the compiled step does.
    compared = compile_training(expected.tail.module, maps, head=("fc.weight", "fc.bias"))
    assert sum(p.numel() for p in found.tail.module.parameters()) == sum(v.size for v in compared.initial.values())
    steps, (goal, share) = Steps(compared), targets(len(maps))
    own = [steps.step(maps.numpy(), goal.numpy(), share.numpy(), SGD) for _ in range(20)]
    np.testing.assert_allclose(losses(found.tail.module, maps), own, rtol=1e-4)
    assert own[-1] < own[0] - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_compiled_step_is_the_torch_models(name: str, current: bool, tmp_path: Path) -> None:
    """Both compiled, from the files of either exporter: losses over 20 steps to 1e-4, then logits."""
    expected, found = both(name, 2, tmp_path, current=current)
    assert found.tail is not None
    maps = expected.backbone(prepared(frames(8)))[1].detach()
    goal, share = (value.numpy() for value in targets(len(maps)))
    runs = []
    for tail in (expected.tail, found.tail):
        steps = Steps(compile_training(tail.module, maps, head=(tail.weight, tail.bias)))
        runs.append([steps.step(maps.numpy(), goal, share, SGD) for _ in range(20)])
        runs[-1] += list(steps.logits(maps.numpy()).reshape(-1))
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(runs[0][:20], runs[1][:20], rtol=1e-4)


def test_a_device_trains_it(tmp_path: Path) -> None:
    """Converted with a tail, 8 bits in the backbone: the tail's logits are the file's, and a device adapts it."""
    model, raw = seeded(Convolutional), frames(48)
    path = tmp_path / "a.acc"
    report = convert(
        parse_onnx(exported(model, tmp_path)),
        raw,
        out=path,
        runtimes=("onnx",),
        last=1,
        quantize=False,
        mean=0.5,
        std=0.5,
    )
    assert report.tail is not None
    assert report.tail.map_shape == (8, 3, 3)
    assert report.tail.parity.whole.error < 1e-5
    with Bundle(path) as bundle:
        bundle.verify()
        tail, manifest, backbone = bundle.tail("onnx"), bundle.manifest, bundle.backbone("onnx")
    assert tail is not None
    assert manifest.tail is not None
    assert tail.spec.head == ("fc.weight", "fc.bias")
    np.testing.assert_array_equal(tail.parameters["fc.weight"], model.get_parameter("fc.weight").detach())
    maps = load_backbone(backbone, "onnx", manifest.input, manifest.width, 1, manifest.tail.shape).embed_with_maps(raw)[
        1
    ]
    with torch.no_grad():
        logits = model(prepared(raw)).numpy()
    np.testing.assert_allclose(Forward(tail, 1).logits(maps, tail.parameters), logits, rtol=1e-3, atol=1e-4)
    names = [str(i % 4) for i in range(len(raw))]
    with Learner.open(path, store=tmp_path / "device.db", threads=1) as learner:
        learner.observe(raw, names)
        adapted = learner.adapt(tail=True)
    assert adapted.tail is not None
    assert adapted.tail.reason


def test_only_what_was_named_trains(tmp_path: Path) -> None:
    """Names are the file's; the head always trains, and Fisher information of the source can travel."""
    raw = frames(24)
    labels = np.arange(24) % 4
    convert(
        parse_onnx(exported(seeded(Convolutional), tmp_path)),
        raw,
        out=tmp_path / "a.acc",
        runtimes=("onnx",),
        cut="blocks.1/c/Conv",
        train=["onnx::Conv_*"],
        optimiser="adam",
        penalty="ewc",
        source=(raw, labels),
        classes=["0", "1", "2", "3"],
        quantize=False,
        mean=0.5,
        std=0.5,
    )
    with Bundle(tmp_path / "a.acc") as bundle:
        tail = bundle.tail("onnx")
    assert tail is not None
    assert tail.fisher is not None
    assert set(tail.fisher) == set(tail.parameters)
    assert (tail.spec.optimiser, tail.spec.penalty) == ("adam", "ewc")
    assert sorted(name.partition("_")[0] for name in tail.parameters)[-2:] == ["onnx::Conv", "onnx::Conv"]
    assert {"fc.weight", "fc.bias"} < set(tail.parameters)
