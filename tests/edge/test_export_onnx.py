"""The exported ONNX file says what the live learner says, whatever the backbone, and leaves the backbone as it is."""

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.bundle import Bundle, LinearLayer
from acclimate.edge.export.onnx import export_onnx
from acclimate.edge.head import LinearHead
from acclimate.edge.heads import ABSENT
from acclimate.edge.runtime.onnx_scan import refuse_external_data
from acclimate.errors import BackendError, InputError
from acclimate.latent import LatentCode
from acclimate.manifest import InputSpec

WIDTH = 6
FRAMES = np.random.default_rng(0).integers(0, 256, (200, 2, 3), dtype=np.uint8)
# The latents of the backbone by hand are pixel values; this code holds the middle of their range.
CODE = LatentCode(np.linspace(0.3, 0.8, WIDTH, dtype=np.float32), np.linspace(-20, 60, WIDTH, dtype=np.float32))
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_LAYOUT", "ORT_ENABLE_ALL"]


def layer(rows: int, width: int = WIDTH, seed: int = 1, scale: float = 0.02) -> LinearLayer:
    """Return a head with random weights."""
    draw = np.random.default_rng(seed)
    weight, bias = draw.normal(size=(rows, width)) * scale, draw.normal(size=rows)
    return LinearLayer(weight.astype(np.float32), bias.astype(np.float32))


def names(k: int) -> list[str]:
    """Return names of classes."""
    return [f"class {i}" for i in range(k)]


def run(content: bytes, frames: np.ndarray, level: str = "ORT_ENABLE_ALL") -> dict[str, np.ndarray]:
    """Run an ONNX file in ONNX Runtime and return its outputs by name."""
    session = open_session(content, level)
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, {session.get_inputs()[0].name: frames}), strict=True))


def open_session(content: bytes, level: str = "ORT_ENABLE_ALL") -> Any:
    """Open an ONNX file in ONNX Runtime at a level of optimisation."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file, as ONNX Runtime reads them."""
    return dict(open_session(content).get_modelmeta().custom_metadata_map)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-3, and the same class wherever the two best differ by more than 2e-3."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < 1e-3
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 2e-3
    assert clear.mean() > 0.5
    assert (found.argmax(axis=1) == expected.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("level", LEVELS)
def test_it_says_what_the_live_learner_says(tiny_bundle: Path, scenes: ModuleType, level: str) -> None:
    """A thousand frames at a strange place through the quantized fixture, at batch 1, 32 and 1000."""
    frames, _ = scenes.frames(1000, 5, 1.0)
    with Bundle(tiny_bundle) as bundle:
        backbone, code, head = bundle.backbone("onnx"), bundle.code("onnx"), bundle.head("onnx")
    assert head is not None
    exported = export_onnx(backbone, head, code, scenes.CLASSES)
    latents = code.clip(run(backbone, frames, level)["latent"])
    live = LinearHead(head, np.arange(4))
    found = run(exported, frames, level)
    assert_same(found["probabilities"], live.probabilities(latents))
    np.testing.assert_allclose(found["logits"], live.logits(latents), atol=1e-3)
    session = open_session(exported, level)
    for size, count in ((1, 40), (32, 320)):
        parts = [session.run(["probabilities"], {"input": frames[i : i + size]})[0] for i in range(0, count, size)]
        assert_same(np.concatenate(parts), live.probabilities(latents[:count]))


def test_latents_are_brought_into_the_range_of_their_code(onnx_by_hand: ModuleType) -> None:
    """Half of the values lie outside of it, on both sides; without clipping the answer would be another."""
    latents = FRAMES.reshape(-1, WIDTH).astype(np.float32)
    assert (latents < CODE.offset).any()
    assert (latents > CODE.top).any()
    found = run(export_onnx(onnx_by_hand.backbone(), layer(3), CODE, names(3)), FRAMES)["probabilities"]
    live = LinearHead(layer(3), np.arange(3))
    assert_same(found, live.probabilities(CODE.clip(latents)))
    assert np.abs(found - live.probabilities(latents)).max() > 0.1


def test_classes_that_are_never_predicted_are_left_out(onnx_by_hand: ModuleType) -> None:
    """Rows whose bias says so are no columns, and their classes no names."""
    head = layer(5)
    head.bias[[0, 3]] = ABSENT
    exported = export_onnx(onnx_by_hand.backbone(), head, CODE, names(5))
    live = LinearHead(head, np.arange(5)).probabilities(CODE.clip(FRAMES.reshape(-1, WIDTH).astype(np.float32)))
    assert (live[:, [0, 3]] == 0).all()
    assert_same(run(exported, FRAMES)["probabilities"], live[:, [1, 2, 4]])
    assert json.loads(metadata(exported)["acclimate.classes"]) == ["class 1", "class 2", "class 4"]


@pytest.mark.parametrize("level", LEVELS)
def test_rows_of_one_class_are_summed(onnx_by_hand: ModuleType, level: str) -> None:
    """After classes were merged several rows are one class; a class without a row is left out."""
    head, groups = layer(6), np.array([3, 0, 4, 3, 1, 0])
    head.bias[4] = ABSENT
    exported = export_onnx(onnx_by_hand.backbone(), head, CODE, names(5), groups)
    rows = LinearHead(head, np.arange(6)).probabilities(CODE.clip(FRAMES.reshape(-1, WIDTH).astype(np.float32)))
    expected = np.stack([rows[:, 1] + rows[:, 5], rows[:, 0] + rows[:, 3], rows[:, 2]], axis=1)
    found = run(exported, FRAMES, level)
    assert_same(found["probabilities"], expected)
    assert json.loads(metadata(exported)["acclimate.classes"]) == ["class 0", "class 3", "class 4"]
    again = np.exp(found["logits"])
    np.testing.assert_allclose(again / again.sum(axis=1, keepdims=True), expected, atol=1e-5)


def test_rows_in_another_order_are_sorted_without_a_sum(onnx_by_hand: ModuleType) -> None:
    """Where every class has one row, the rows change places, and the model is no larger than it must be."""
    exported = export_onnx(onnx_by_hand.backbone(), layer(3), CODE, names(3), np.array([2, 0, 1]))
    rows = LinearHead(layer(3), np.arange(3)).probabilities(CODE.clip(FRAMES.reshape(-1, WIDTH).astype(np.float32)))
    assert_same(run(exported, FRAMES)["probabilities"], rows[:, [1, 2, 0]])
    assert b"MatMul" not in exported
    assert b"MatMul" in export_onnx(onnx_by_hand.backbone(), layer(3), CODE, names(2), np.array([1, 0, 1]))


def test_logits_stay_finite_where_probabilities_vanish(onnx_by_hand: ModuleType) -> None:
    """A head that is very sure gives probabilities of exactly 0, and no infinite logits."""
    for groups in (None, np.array([0, 1, 1])):
        exported = export_onnx(onnx_by_hand.backbone(), layer(3, scale=10), CODE, names(3), groups)
        found = run(exported, FRAMES)
        assert (found["probabilities"] == 0).any()
        assert np.isfinite(found["logits"]).all()


@pytest.mark.parametrize("opset", [8, 11, 13, 18, 21])
def test_operator_sets_of_any_age(onnx_by_hand: ModuleType, opset: int) -> None:
    """Softmax, Min and Gemm have changed over the years; what is written means the same in each of them."""
    o = onnx_by_hand
    backbone = o.backbone().replace(o.field(8, o.field(2, 17)), o.field(8, o.field(1, "ai.onnx") + o.field(2, opset)))
    live = LinearHead(layer(3), np.arange(3))
    for content in (backbone, o.backbone()):
        found = run(export_onnx(content, layer(3), CODE, names(3)), FRAMES)["probabilities"]
        assert_same(found, live.probabilities(CODE.clip(FRAMES.reshape(-1, WIDTH).astype(np.float32))))


def crowded(write: ModuleType, constant: str = "by", inside: str = "inside") -> bytes:
    """Return a backbone that gives pixel values, with a constant and a value in the branch of an If named at will."""
    branch = write.graph([write.node("Identity", ["flat"], [inside])], [], [write.value(inside, ["n", WIDTH])])
    nodes = [
        write.node("Cast", ["input"], ["f"], write.attribute("to", 3, write.FLOAT, 2)),
        write.node("Reshape", ["f", "shape"], ["whole"]),
        write.node("Div", ["whole", constant], ["flat"]),
        write.node(
            "If", ["yes"], ["latent"], *(write.attribute(f"{b}_branch", 6, branch, 5) for b in ("then", "else"))
        ),
    ]
    constants = [
        write.tensor("shape", [2], struct.pack("<2q", -1, WIDTH), write.INT64),
        write.tensor(constant, [], struct.pack("<f", 1.0)),
        write.tensor("yes", [], b"\1", 9),
    ]
    ends = [write.value("input", ["n", 2, 3], write.UINT8)], [write.value("latent", ["n", WIDTH])]
    return bytes(write.model(write.graph(nodes, *ends, *constants)))


@pytest.mark.parametrize("taken", ["head/weight", "head/raised", "head/low", "head/sums", "logits", "probabilities"])
@pytest.mark.parametrize("where", ["constant", "inside"])
def test_names_of_the_backbone_are_its_own(onnx_by_hand: ModuleType, taken: str, where: str) -> None:
    """A constant, or a value in a branch, that has one of our names keeps it; ours gets an underscore."""
    backbone, groups = crowded(onnx_by_hand, **{where: taken}), np.array([0, 1, 1])
    rows = LinearHead(layer(3), np.arange(3)).probabilities(CODE.clip(FRAMES.reshape(-1, WIDTH).astype(np.float32)))
    found = run(export_onnx(backbone, layer(3), CODE, names(2), groups), FRAMES)
    ours = [name + "_" * (name == taken) for name in ("probabilities", "logits")]
    assert list(found) == ours
    assert_same(found[ours[0]], np.stack([rows[:, 0], rows[:, 1] + rows[:, 2]], axis=1))


def test_a_backbone_with_every_name_is_refused(onnx_by_hand: ModuleType) -> None:
    """The search for a free name ends, whatever the file holds."""
    texts = b"".join(onnx_by_hand.field(14, onnx_by_hand.field(2, "logits" + "_" * i)) for i in range(100))
    with pytest.raises(BackendError, match=r"expected a backbone without names like 'logits', found 'logits_+'"):
        export_onnx(onnx_by_hand.backbone() + texts, layer(3), CODE, names(3))


def test_the_file_says_what_it_is(onnx_by_hand: ModuleType) -> None:
    """Classes, input and provenance as JSON; what the backbone says of itself stays, unless it is in our name."""
    o = onnx_by_hand
    entries = {"license": "MIT", "acclimate.classes": "forged", "acclimate.other": "forged"}
    texts = b"".join(o.field(14, o.field(1, key) + o.field(2, value)) for key, value in entries.items())
    classes = ['Kratzer, "tief"', "\u00f6l", "\U0001f529"]
    spec = InputSpec((2, 3), "uint8", (0, 255), ("time", "channel"))
    exported = export_onnx(
        o.backbone() + o.field(2, "another tool") + texts, layer(3), CODE, classes, spec=spec, provenance={"model": "m"}
    )
    found = metadata(exported)
    assert found.pop("license") == "MIT"
    assert {key: json.loads(value) for key, value in found.items()} == {
        "acclimate.classes": classes,
        "acclimate.input": {"shape": [2, 3], "dtype": "uint8", "range": [0, 255], "axes": ["time", "channel"]},
        "acclimate.provenance": {"model": "m"},
    }
    assert open_session(exported).get_modelmeta().producer_name == "acclimate"
    assert b"another tool" not in exported


def test_onnx_finds_nothing_wrong(tiny_bundle: Path, onnx_by_hand: ModuleType) -> None:
    """The full check of the onnx package, and its shape inference: any batch, as many columns as classes."""
    onnx = pytest.importorskip("onnx", reason="onnx, the oracle, is not installed")
    with Bundle(tiny_bundle) as bundle:
        backbone, code, head = bundle.backbone("onnx"), bundle.code("onnx"), bundle.head("onnx")
    assert head is not None
    for exported, k in (
        (export_onnx(backbone, head, code, names(4)), 4),
        (export_onnx(backbone, head, code, names(2), np.array([1, 0, 1, 1])), 2),
        (export_onnx(onnx_by_hand.backbone(), layer(1), CODE, names(1)), 1),
    ):
        model = onnx.load_from_string(exported)
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        for output in inferred.graph.output:
            axes = output.type.tensor_type.shape.dim
            assert (axes[0].dim_param, axes[1].dim_value) == ("n", k)


def test_the_backbone_stays_as_it_is(tiny_bundle: Path) -> None:
    """As the onnx package reads them, the backbone's parts come first and unchanged; only the output is another."""
    onnx = pytest.importorskip("onnx", reason="onnx, the oracle, is not installed")
    with Bundle(tiny_bundle) as bundle:
        backbone, code, head = bundle.backbone("onnx"), bundle.code("onnx"), bundle.head("onnx")
    assert head is not None
    before, after = (onnx.load_from_string(c) for c in (backbone, export_onnx(backbone, head, code, names(4))))
    for part in ("node", "initializer"):
        old, new = getattr(before.graph, part), getattr(after.graph, part)
        assert list(new[: len(old)]) == list(old)
        del new[len(old) :]
        assert len(old) > 10
    added = [entry for entry in after.metadata_props if entry.key.startswith("acclimate.")]
    assert len(added) == 1
    for model in (before, after):
        for entry in added:
            if entry in model.metadata_props:
                model.metadata_props.remove(entry)
        del model.graph.output[:]
        model.producer_name = model.producer_version = ""
    assert before == after


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("nothing", r"field 1 stands 0 times where it belongs once"),
        ("noise", r"an ONNX file, found that byte"),
        ("two graphs", r"field 7 stands 2 times"),
        ("two outputs", r"field 12 stands 2 times"),
        ("no output", r"field 12 stands 0 times"),
        ("whole numbers", r"shape \(n, 6\) and element type 7"),
        ("one axis", r"shape \(n\) and element type 1"),
        ("three axes", r"shape \(n, 2, 3\)"),
        ("fixed batch", r"shape \(4, 6\)"),
        ("a number for a name", r"its field 1 holds a number where something else belongs"),
        ("a text for a number", r"its field 1 holds something else where a number belongs"),
        ("a name that is no text", r"'utf-8' codec can't decode"),
        ("other width", r"a backbone for latents of width 6, found 7\."),
        ("old operators", r"version 8 and operator set 7, older than 4 or 8"),
        ("foreign operators", r"version 8 and operator set 0, older"),
        ("old version", r"version 3 and operator set 17, older"),
        ("external data", r"names an external file"),
    ],
)
def test_other_backbones_are_refused(onnx_by_hand: ModuleType, change: str, match: str) -> None:
    """Each with what was found, and advice; none of them reaches the runtime."""
    with pytest.raises(BackendError, match=rf"(?s)expected .*{match}.*onvert the model again"):
        export_onnx(_changed(onnx_by_hand)[change], layer(3), CODE, names(3))


def _changed(o: ModuleType) -> Mapping[str, bytes]:
    sound = o.backbone()
    latent, ends = o.value("latent", ["n", WIDTH]), [o.value("input", ["n", 2, 3], o.UINT8)]

    def graph(*outputs: bytes, constants: tuple[bytes, ...] = ()) -> bytes:
        return bytes(o.model(o.graph([], ends, outputs, *constants)))

    return {
        "nothing": b"",
        "noise": b"PK\x03\x04" * 10,
        "two graphs": sound + o.field(7, b""),
        "two outputs": graph(latent, o.value("more", ["n", WIDTH])),
        "no output": graph(),
        "whole numbers": graph(o.value("latent", ["n", WIDTH], o.INT64)),
        "one axis": graph(o.value("latent", ["n"])),
        "three axes": graph(o.value("latent", ["n", 2, 3])),
        "fixed batch": graph(o.value("latent", [4, WIDTH])),
        "a number for a name": graph(latent.replace(o.field(1, "latent"), o.field(1, 5))),
        "a text for a number": sound.replace(o.field(1, 8), o.field(1, "8")),
        "a name that is no text": graph(latent.replace(b"latent", b"laten\xff")),
        "other width": graph(o.value("latent", ["n", WIDTH + 1])),
        "old operators": sound.replace(o.field(8, o.field(2, 17)), o.field(8, o.field(2, 7))),
        "foreign operators": sound.replace(
            o.field(8, o.field(2, 17)), o.field(8, o.field(1, "com.microsoft") + o.field(2, 17))
        ),
        "old version": sound.replace(o.field(1, 8), o.field(1, 3)),
        "external data": graph(latent, constants=(o.external_tensor("w", [1], "/etc/passwd"),)),
    }


def test_heads_that_do_not_fit_are_refused(onnx_by_hand: ModuleType) -> None:
    """Another width, other names, groups beyond them, or nothing to predict."""
    absent = layer(3)
    absent.bias[:] = ABSENT
    fitting = onnx_by_hand.backbone()
    wrong: list[tuple[LinearLayer, int, Any]] = [
        (layer(3, WIDTH + 1), 3, None),
        (layer(3), 2, None),
        (layer(3), 4, None),
        (layer(3), 3, np.array([0, 1])),
        (layer(3), 3, np.array([0, 1, 3])),
        (layer(3), 3, np.array([0, 1, -1])),
        (LinearLayer(layer(3).weight, layer(2).bias), 3, None),
    ]
    for head, k, groups in wrong:
        with pytest.raises(InputError, match=r"expected a head of width 6 with a row for each class, found .*Pass"):
            export_onnx(fitting, head, CODE, names(k), groups)
    with pytest.raises(InputError, match=r"expected a head that can predict a class, found none: adapt\(\) first"):
        export_onnx(fitting, absent, CODE, names(3))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.data())
def test_a_damaged_backbone_gives_our_error_or_a_sound_file(tiny_bundle: Path, data: st.DataObject) -> None:
    """Cut off, spliced or with bits turned over: refused, or exported as a file that our own reader takes."""
    with Bundle(tiny_bundle) as bundle:
        content, code, head = bundle.backbone("onnx"), bundle.code("onnx"), bundle.head("onnx")
    assert head is not None
    damage = data.draw(st.sampled_from(["cut", "flip", "splice"]))
    # Where the outermost messages begin and end, damage matters most.
    places = st.one_of(
        st.integers(0, len(content) - 1), st.integers(0, 80), st.integers(len(content) - 200, len(content) - 1)
    )
    at = data.draw(places)
    if damage == "cut":
        broken = content[:at]
    elif damage == "flip":
        broken = content[:at] + bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) + content[at + 1 :]
    else:
        broken = content[:at] + data.draw(st.binary(max_size=20)) + content[data.draw(places) :]
    try:
        exported = export_onnx(broken, head, code, names(4))
    except BackendError as error:
        if "onvert the model again" not in str(error):
            raise
    else:
        refuse_external_data(exported)


def test_it_needs_neither_onnx_nor_a_runtime(tiny_bundle: Path, tmp_path: Path, one_thread: dict[str, str]) -> None:
    """In a process of its own the export loads numpy and nothing else that computes."""
    code = f"""
import sys
from acclimate.bundle import Bundle
from acclimate.edge.export.onnx import export_onnx
with Bundle({str(tiny_bundle)!r}) as bundle:
    content = export_onnx(bundle.backbone("onnx"), bundle.head("onnx"), bundle.code("onnx"), list("abcd"))
open({str(tmp_path / "a.onnx")!r}, "wb").write(content)
print(*sorted({{"onnx", "onnxruntime", "google", "torch", "ai_edge_litert"}} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], env=one_thread, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
    assert [output.name for output in open_session((tmp_path / "a.onnx").read_bytes()).get_outputs()] == [
        "probabilities",
        "logits",
    ]
