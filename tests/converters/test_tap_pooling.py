"""Maxima beside the means of tapped maps: what they are, that both formats give them, and what goes without them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from acclimate.bundle import Bundle
from acclimate.converters import convert, tap_budget
from acclimate.converters.conversion_report import ConversionReport
from acclimate.converters.export_onnx import export_onnx
from acclimate.converters.onnx_source.cuts import list_onnx_cuts
from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.onnx_source.split import split_onnx
from acclimate.converters.splitting.cuts import list_cuts
from acclimate.converters.splitting.split import Split, split
from acclimate.converters.splitting.tail import split_tail
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.errors import CutError, InputError

from .conftest import CALIBRATION, normalised
from .onnx_files import built, check_parity, normal

pytestmark = pytest.mark.needs_torch
NAMES = ["blocks.1", "blocks.1:max", "blocks.2", "blocks.2:max", "fc:input"]
# The map in front of the head is no tap by itself: its mean is the head's input.
CHOSEN = ["blocks.1", "blocks.2", "pool:input:max"]


def parts(found: Split, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(zip((tap.name for tap in found.taps), found.backbone.parts(x), strict=True))


def names(found: Any) -> list[str]:
    return [tap.name for tap in found.taps]


@pytest.fixture(scope="module")
def half_dead(digit_net: nn.Module) -> nn.Module:
    """The digit network with a channel that is always 0 in front of its head, and one that is always cut off at 6."""
    model = copy.deepcopy(digit_net)
    with torch.no_grad():
        model.get_parameter("norm1.bias")[:2] = torch.tensor([-1e3, 1e3])
    return model


def test_each_map_has_its_maxima_beside_its_means(digit_net: nn.Module, digits: Any) -> None:
    """In the order of depth; the head's input, itself the mean of the last map, has none and stays as it is."""
    x = normalised(digits.frames[:4])
    plain, found = split(digit_net, x), split(digit_net, x, pooling="mean-max")
    assert names(found) == NAMES
    assert names(plain) == [name for name in NAMES if not name.endswith(":max")]
    given = parts(found, x)
    seen: list[Tensor] = []
    handles = [
        digit_net.get_submodule(name).register_forward_hook(lambda *call: seen.append(call[2]))
        for name in ("blocks.1", "blocks.2")
    ]
    with torch.no_grad():
        digit_net(x)
    for handle in handles:
        handle.remove()
    for name, values in zip(("blocks.1", "blocks.2"), seen, strict=True):
        assert torch.equal(given[f"{name}:max"], values.flatten(2).max(2).values), name
    for name, values in parts(plain, x).items():
        assert torch.equal(given[name], values), name
    np.testing.assert_array_equal(found.weight, plain.weight)


def test_maxima_are_taken_along_time_and_of_channels_that_come_last() -> None:
    """Maps ``(n, channels, time)`` and ``(n, height, width, channels)``; vectors have none."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(3, 6), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(torch.relu(self.b(torch.relu(self.a(x)).mean((1, 2)))))
            return logits

    torch.manual_seed(0)
    maps = torch.randn(4, 5, 7, 3)
    last = Last()
    found = split(last, maps, pooling="mean-max")
    assert names(found) == ["a", "a:max", "head:input"]
    with torch.no_grad():
        assert torch.equal(parts(found, maps)["a:max"], last.a(maps).amax((1, 2)))
    series = torch.randn(4, 3, 21)
    net = nn.Sequential(nn.Conv1d(3, 6, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 8), nn.ReLU(), nn.Linear(8, 2))
    found = split(net, series, pooling="mean-max")
    assert names(found) == ["1", "1:max", "5:input"]
    with torch.no_grad():
        assert torch.equal(parts(found, series)["1:max"], net[:2](series).amax(2))


def test_maxima_are_taken_by_name(digit_net: nn.Module, digits: Any) -> None:
    """Alone, beside the means, and not twice; of what has no positions there are none."""
    x = normalised(digits.frames[:4])
    assert names(split(digit_net, x, taps=["blocks.1:max"])) == ["blocks.1:max", "fc:input"]
    assert names(split(digit_net, x, taps=["blocks.1"], pooling="mean-max")) == NAMES[:2] + NAMES[-1:]
    both = ["blocks.1", "blocks.1:max"]
    assert names(split(digit_net, x, taps=both, pooling="mean-max")) == [*both, "fc:input"]
    with pytest.raises(CutError, match=r"several positions at 'pool'.*Leave ':max' out"):
        split(digit_net, x, taps=["pool:max"])
    with pytest.raises(InputError, match=r"pooling as one of .*found 'max'"):
        split(digit_net, x, pooling="max")  # type: ignore[arg-type]


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    """No model is looked at, and nothing is written."""
    frames = np.zeros((8, 8, 8, 1), np.uint8)
    for options, said in (({"pooling": "most"}, "found 'most'"), ({"pooling": "mean-max", "taps": "last"}, "'last'")):
        with pytest.raises(InputError, match=said):
            convert(None, frames, out=tmp_path / "a.acc", runtimes=("onnx",), **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_cuts_count_the_bytes_of_maxima(digit_net: nn.Module, digits: Any) -> None:
    """Of all taps, whatever the cut; a tail recomputes those behind it, as its own check of parity finds."""
    x = normalised(digits.frames[:4])
    plain, found = list_cuts(digit_net, x), list_cuts(digit_net, x, pooling="mean-max")
    assert [cut.name for cut in found] == [cut.name for cut in plain]
    assert found[0].latent_bytes - plain[0].latent_bytes == 12 + 24
    deeper = next(i for i, cut in enumerate(plain) if cut.name == "blocks.1")
    assert found[deeper].latent_bytes - plain[deeper].latent_bytes == 12 + 24
    tail = split_tail(digit_net, x, "blocks.1", pooling="mean-max")
    assert (names(tail), names(tail.tail)) == (NAMES[:2], NAMES[2:])


@pytest.fixture(scope="module")
def made(half_dead: nn.Module, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[ConversionReport, Path]:
    """A bundle in 8 bits for both runtimes."""
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    path = tmp_path_factory.mktemp("pooling") / "a.acc"
    frames = digits.frames[:CALIBRATION]
    options: dict[str, Any] = {"head": None, "quantize": True, "mean": 0.5, "std": 0.5}
    return convert(half_dead, frames, out=path, taps=[*CHOSEN], pooling="mean-max", **options), path


def test_both_formats_give_them_in_8_bits(
    made: tuple[ConversionReport, Path], half_dead: nn.Module, digits: Any
) -> None:
    """Manifest and report name them, latents agree, and channels that never change have numbers to be stored by."""
    report, path = made
    frames = digits.frames[:CALIBRATION]
    wanted = [*NAMES[:-1], "pool:input:max", "fc:input"]
    assert names(report) == wanted
    expected = parts(split(half_dead, normalised(frames[:4]), taps=CHOSEN), normalised(frames))
    with Bundle(path) as bundle:
        manifest = bundle.manifest
        assert names(manifest) == wanted
        for variant in report.variants:
            assert variant.quantized
            assert set(variant.float_parity.taps) == set(variant.parity.taps) == set(wanted)
            assert variant.float_parity.whole.error < 1e-3
            assert variant.parity.taps["blocks.1:max"].cosine > 0.97
            runtime, code = variant.runtime, bundle.code(variant.runtime)
            assert np.isfinite(code.scale).all()
            assert (code.scale > 0).all()
            latents = load_backbone(bundle.backbone(runtime), runtime, manifest.input, manifest.width).embed(frames)
            held = code.decode(code.encode(latents))
            at = next(tap for tap in manifest.taps if tap.name == "pool:input:max").offset
            for channel, value in ((at, 0.0), (at + 1, 6.0)):
                assert set(expected["pool:input:max"][:, channel - at].tolist()) == {value}
                np.testing.assert_allclose(held[:, channel], value, atol=0.1)


def test_what_pools_the_taps_stays_in_float(made: tuple[ConversionReport, Path]) -> None:
    """Between the maxima and the latent nothing is rounded to 8 bits, in neither format."""
    from ai_edge_litert import schema_py_generated as schema

    from acclimate.converters.quantization.tflite_graph import kind, read_model

    with Bundle(made[1]) as bundle:
        onnx_file, tflite_file = bundle.backbone("onnx"), bundle.backbone("tflite")
    graph = onnx.load_from_string(onnx_file).graph
    maxima = [node for node in graph.node if node.op_type == "ReduceMax"]
    # A map of two axes is pooled in two steps.
    assert len(maxima) == 6
    outputs = {node.output[0] for node in maxima}
    assert all(node.op_type in ("ReduceMax", "Concat") for node in graph.node if outputs & set(node.input))
    model = read_model(tflite_file)
    (part,) = model.subgraphs
    pooled = [one for one in part.operators if kind(model, one) == schema.BuiltinOperator.REDUCE_MAX]
    assert pooled
    assert {part.tensors[i].type for one in pooled for i in one.outputs} == {schema.TensorType.FLOAT32}


def test_a_budget_prunes_means_and_maxima_apart(
    digit_net: nn.Module, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own worth, and what went does not come back beside its partner."""
    # Means are worth something, maxima nothing.
    worth = {"blocks.1": 0.1, "blocks.2": 0.2}
    monkeypatch.setattr(tap_budget, "_judge", lambda _, left, y: (0.5, 1 - sum(worth.get(name, 0.0) for name in left)))
    report = convert(
        digit_net,
        digits.frames[:CALIBRATION],
        out=tmp_path / "a.acc",
        source=(digits.frames[:300], digits.labels[:300]),
        pooling="mean-max",
        latent_bytes=112,
        runtimes=("onnx",),
        quantize=False,
        mean=0.5,
        std=0.5,
    )
    assert report.budget is not None
    assert [tap.name for tap in report.budget.dropped] == ["blocks.2:max"]
    assert names(report) == ["blocks.1", "blocks.1:max", "blocks.2", "fc:input"]
    assert report.width == 112


def test_an_onnx_file_has_them_too(digit_net: nn.Module, digits: Any) -> None:
    """Beside the means, which are as without; a budget's names mean the same."""
    file = parse_onnx(export_onnx(digit_net, normalised(digits.frames[:2])))
    samples = normalised(digits.frames[:16]).numpy()
    found = split_onnx(file, samples, keeps_head=True, pooling="mean-max")
    plain = split_onnx(file, samples, keeps_head=True)
    given = names(found.split)
    assert [name for name in given if not name.endswith(":max")] == names(plain.split)
    assert {f"{name}:max" for name in names(plain.split)[:-1]} < set(given)
    again = split_onnx(file, samples, keeps_head=True, taps=given[:-1])
    np.testing.assert_array_equal(again.original.latents, found.original.latents)


def test_maxima_where_nothing_has_any_are_refused() -> None:
    """Of an ONNX file and a torch model that are tapped at vectors only, and in the list of cuts."""
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    samples = normal(16, 6)
    said = r"maxima with pooling='mean-max', found none among \['.*name taps that are maps"
    with pytest.raises(InputError, match=said):
        split(net, torch.from_numpy(samples), pooling="mean-max")
    file = parse_onnx(export_onnx(net, torch.from_numpy(samples[:2])))
    with pytest.raises(InputError, match=said):
        split_onnx(file, samples, keeps_head=True, pooling="mean-max")
    with pytest.raises(InputError, match=said):
        list_onnx_cuts(file, (6,), pooling="mean-max")


@pytest.mark.parametrize("opset", [17, 18])
def test_maxima_of_an_onnx_file_are_those_of_numpy(opset: int) -> None:
    """Along time, where axes are an attribute up to opset 17, and in the file that a device loads."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="fc"),
    ]
    weights = {"w": normal(6, 3, 4, seed=1), "v": normal(6 * 9, 5, seed=2)}
    samples = normal(16, 3, 12)
    found = split_onnx(
        parse_onnx(built(nodes, weights, ("n", 3, 12), opset=opset)), samples, keeps_head=True, pooling="mean-max"
    )
    assert [(tap.name, tap.width) for tap in found.split.taps] == [("r", 6), ("r:max", 6), ("fc:input", 54)]
    windows = np.lib.stride_tricks.sliding_window_view(samples, 4, axis=2)
    maps = np.maximum(np.einsum("nctk,ock->not", windows, weights["w"]), 0)
    np.testing.assert_allclose(found.original.latents[:, 6:12], maps.max(2), rtol=1e-4, atol=1e-5)
    check_parity(found, samples)
    with pytest.raises(CutError, match=r"several positions for 'f:max'"):
        split_onnx(parse_onnx(built(nodes, weights, ("n", 3, 12))), samples, keeps_head=True, taps=["f:max"])
