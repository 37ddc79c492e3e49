"""ONNX tails that cannot be: refused by name before anything is compiled; and the list of cuts that can."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from onnx import helper

from acclimate.bundle import Bundle
from acclimate.converters import convert
from acclimate.converters.onnx_source.cuts import list_onnx_cuts
from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.onnx_source.split import split_onnx
from acclimate.converters.splitting.cuts import list_cuts, recommend
from acclimate.converters.tap_pooling import Pooling
from acclimate.errors import AcclimateError, ConversionError, CutError, InputError

from .onnx_networks import SIDE, Convolutional, Transformer, between, exported, frames, normal, prepared, seeded

pytestmark = pytest.mark.needs_torch


def cut_at(content: bytes, where: str | int) -> None:
    """Cut a file of `between`."""
    split_onnx(parse_onnx(content), normal(12, 3, 8, 8), keeps_head=True, where=where)


def node(kind: str, inputs: str = "a", outputs: str = "b", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"{kind}_{outputs}", **attributes)


def branch() -> bytes:
    """A convolution with a shortcut around it, whose weight the convolution in front shares if asked."""
    nodes = [node("Conv", "a k", "c1"), node("Relu", "c1", "r1"), node("Add", "r1 a")]
    return between(nodes, {"k": normal(4, 4, 1, 1)})


def shared() -> bytes:
    nodes = [node("Conv", "a k", "c1"), node("Relu", "c1", "r1"), node("Conv", "r1 k")]
    return between(nodes, {"k": normal(4, 4, 1, 1)})


def unknown() -> bytes:
    return between([node("Relu", "a", "r1"), node("Hardmax", "r1", axis=1)], {})


def eight_bits() -> bytes:
    nodes = [node("QuantizeLinear", "a s z", "q"), node("DequantizeLinear", "q s z")]
    return between(nodes, {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)})


def diverged() -> bytes:
    return between([node("Conv", "a k")], {"k": np.full((4, 4, 1, 1), np.nan, np.float32)})


def strange_pad() -> bytes:
    return between([node("Pad", "a pads", mode="reflect")], {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)})


def backwards() -> bytes:
    bounds = {"f": -1, "t": -9, "ax": 2, "st": -1}
    return between(
        [node("Slice", "a f t ax st")], {name: np.array([value], np.int64) for name, value in bounds.items()}
    )


@pytest.mark.parametrize(
    ("content", "where", "error", "message"),
    [
        (unknown(), "front", ConversionError, "found Hardmax 'Hardmax_b', whose gradient has no rule"),
        (strange_pad(), "front", ConversionError, "Pad 'Pad_b' behind the cut, found mode 'reflect'"),
        (backwards(), "front", ConversionError, "Slice 'Slice_b' behind the cut, found axis 2 in steps of -1"),
        (eight_bits(), "front", ConversionError, r"found a file in 8 bits \(QuantizeLinear 'QuantizeLinear_q'\)"),
        (diverged(), "front", ConversionError, "found NaN or infinity in 'k'"),
        (branch(), "r1", CutError, "found 'r1': Add 'Add_b' takes what passes by it"),
        (branch(), "nowhere", CutError, "expected the name of a tensor or node as cut, found 'nowhere'"),
        (branch(), "QQQ", CutError, "found 'QQQ'. Cuts that are possible"),
        (branch(), "flt", CutError, r"found 'flt'. Close to it: \['flat'"),
        (branch(), "fc:input", CutError, "found it itself, 'fc:input': that is the head alone.*Leave the cut out"),
        (branch(), "flat", CutError, "expected a cut in front of the head's input, found it itself"),
        (
            branch(),
            9,
            CutError,
            r"expected a tail of 1 to 2 blocks, found 9. Possible cuts, from the head: \['b', 'a'\]",
        ),
        (shared(), "c1", CutError, "Conv 'Conv_c1' and Conv 'Conv_b' share 'k'"),
    ],
)
def test_what_cannot_be_a_tail(content: bytes, where: str | int, error: type[AcclimateError], message: str) -> None:
    """The message names the node, why, and what would help."""
    with pytest.raises(error, match=message):
        cut_at(content, where)


def test_nothing_is_written_where_it_is_refused(tmp_path: Path) -> None:
    """Nor where the operators allow it but an argument fits nothing."""
    content = between([node("Relu")], {})
    for options, error, message in (
        ({"cut": "front", "train": ["nothing*"]}, InputError, "fits none"),
        ({"cut": "front", "train": ["QQQ"]}, InputError, r"fits none. There are \['.*last.*'\]. A BatchNorm"),
        ({"cut": "front", "task": "regression"}, InputError, "classification for a tail"),
        ({"cut": "front", "runtimes": ("onnx", "tflite")}, ConversionError, "TFLite was asked for"),
        ({"last": 1, "cut": "front"}, InputError, "either last or cut"),
    ):
        usual: dict[str, Any] = {"runtimes": ("onnx",), **options}
        with pytest.raises(error, match=message):
            convert(parse_onnx(content), normal(12, 3, 8, 8), out=tmp_path / "a.acc", **usual)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_head_has_no_tail() -> None:
    """It ends in a vector, whose head the device makes."""
    model = onnx.load_from_string(between([node("Relu")], {}))
    model.graph.node[-1].CopyFrom(node("Relu", "flat", "y"))
    with pytest.raises(CutError, match="expected a head behind the cut, found none"):
        split_onnx(parse_onnx(model.SerializeToString()), normal(12, 3, 8, 8), keeps_head=False, where="front")


@pytest.mark.parametrize("make", [Convolutional, Transformer])
def test_cuts_cost_what_the_torch_models_do(make: Any, tmp_path: Path) -> None:
    """The same places, maps, multiply-adds and, but for BatchNorm that the exporter folds, parameters."""
    model = seeded(make)
    expected = list_cuts(model, prepared(frames(4)))
    found = list_onnx_cuts(parse_onnx(exported(model, tmp_path)), (3, SIDE, SIDE))
    assert len(found) > 2
    for i, cut in enumerate(found[1:3], 1):
        assert cut.blocks == i
        other = expected[i]
        assert cut.map_shape == other.map_shape
        assert cut.multiply_adds == other.multiply_adds
        assert cut.parameters == pytest.approx(other.parameters, rel=0.1)
        assert 0 < cut.compute_share < found[i + 1].compute_share <= 1 if i + 1 < len(found) else True
    assert recommend(found, latent_bytes=1, compute_share=1.0).cut == found[0]
    assert recommend(found, latent_bytes=10**6, compute_share=1.0).cut == found[-1]


@pytest.mark.parametrize("pooling", ["mean", "mean-max"])
def test_cuts_count_what_a_bundle_keeps(pooling: Pooling, tmp_path: Path) -> None:
    """Map and whole latent, of all taps: the last map's mean is the head's input, and counts once."""
    file = parse_onnx(exported(seeded(Convolutional), tmp_path))
    found = list_onnx_cuts(file, (3, SIDE, SIDE), pooling=pooling)
    options: dict[str, Any] = {"keeps_head": True, "mean": 0.5, "std": 0.5, "pooling": pooling}
    assert len(found) > 2
    for cut in found:
        made = split_onnx(file, frames(12), where=cut.name if cut.blocks else None, **options)
        width = sum(tap.width for tap in made.split.taps)
        stored = 0 if made.original.mapped is None else made.original.mapped.maps[0].size
        assert cut.latent_bytes == width + stored, cut.name
    path = tmp_path / "a.acc"
    convert(file, frames(12), out=path, last=1, pooling=pooling, runtimes=("onnx",), quantize=False)
    with Bundle(path) as bundle:
        assert bundle.manifest.tail is not None
        assert found[1].latent_bytes == bundle.manifest.width + math.prod(bundle.manifest.tail.shape)


def test_cuts_end_where_nothing_can_be_trained() -> None:
    """An operator without a rule: what lies in front of it is not listed; a shared weight is told."""
    assert [cut.name for cut in list_onnx_cuts(parse_onnx(unknown()), (3, 8, 8))] == ["fc:input", "b"]
    found = list_onnx_cuts(parse_onnx(shared()), (3, 8, 8))
    assert [cut.shared for cut in found if cut.name == "r1"] == [("k",)]
    assert len(list_onnx_cuts(parse_onnx(eight_bits()), (3, 8, 8))) == 1
