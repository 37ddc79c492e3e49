"""Both runtimes give the same answers, or the conversion says where they do not."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from torch import nn

from acclimate.bundle import LinearLayer
from acclimate.converters import ConversionReport, convert, finish
from acclimate.converters.agreement import Answers, Likeness, agreement
from acclimate.converters.backbone_file import BackboneFile
from acclimate.converters.conversion_page import render_page
from acclimate.converters.conversion_warnings import answer_doubts
from acclimate.converters.original import Original, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.quantization.trial import Trial
from acclimate.errors import ParityError
from acclimate.latent import LatentCode
from acclimate.manifest import Tap, Task

from .conftest import Digits

pytestmark = pytest.mark.needs_torch
TAPS = (Tap("early", 0, 3), Tap("cut", 3, 5))
DRAW = np.random.default_rng(0)
LATENTS, HEAD = DRAW.normal(size=(200, 8)).astype(np.float32), DRAW.normal(size=(4, 8)).astype(np.float32)
CODE = LatentCode.fit(LATENTS, headroom=9)


def answers(latents: np.ndarray, *, in_float: bool = True, task: Task = "classification", turned: int = 0) -> Answers:
    """Answer with a head, the classes of which may be turned."""
    layer = LinearLayer(np.roll(HEAD, turned, axis=0), np.zeros(4, np.float32))
    return Answers.of("onnx", in_float, latents, LATENTS, layer, CODE, task)


def test_shares_and_differences_are_those_of_the_heads() -> None:
    """Ten of 200 samples are others' twins: known shares; a shift of all values by a known part of the spread."""
    moved = LATENTS.copy()
    moved[:10] = LATENTS[np.argsort(LATENTS @ HEAD[0])[-10:]]
    logits, changed = LATENTS @ HEAD.T, moved @ HEAD.T
    same = float((logits.argmax(1) == changed.argmax(1)).mean())
    assert 0.95 <= same < 1
    assert answers(moved).with_original() == Likeness(same=same)
    found = agreement([answers(LATENTS, in_float=False), answers(moved)], TAPS)
    assert found is not None
    assert found.answers == Likeness(same=same)
    assert found.latents == compare(moved, LATENTS, TAPS).whole
    assert (found.samples, found.in_float, found.one_head) == (200, False, True)
    step = 0.3 * HEAD[2] / (HEAD[2] @ HEAD[2])
    values = answers(LATENTS + step, task="regression").with_original()
    assert values is not None
    assert values.same is None
    assert values.apart == pytest.approx(np.max(np.abs(step @ HEAD.T) / logits.std(axis=0)), rel=1e-3)


def test_one_variant_or_no_head() -> None:
    """There is nothing to compare a single variant with; without a head latents are compared alone."""
    bare = Answers.of("onnx", True, LATENTS, LATENTS, None, CODE, "classification")
    assert agreement([bare], TAPS) is None
    assert bare.with_original() is None
    found = agreement([bare, bare], TAPS)
    assert found is not None
    assert found.answers is None
    assert found.latents.cosine == pytest.approx(1)
    assert not found.doubtful


def test_rounding_passes_and_more_is_refused() -> None:
    """Of float variants; one tie is rounding, two answers in fifty are not; 8 bits are warned of only."""
    noise = np.random.default_rng(1).normal(size=LATENTS.shape).astype(np.float32)
    for task in ("classification", "regression"):
        whole, near = (answers(rows, task=task) for rows in (LATENTS, LATENTS + 1e-5 * noise))
        found = agreement([whole, near], TAPS)
        assert found is not None
        assert not found.doubtful
        far = answers(LATENTS + 0.5 * noise, task=task)
        with pytest.raises(ParityError, match=r"same answers .* found: over 200 samples .* One of the exporters"):
            agreement([whole, far], TAPS)
        found = agreement([whole, replace(far, in_float=False)], TAPS)
        assert found is not None
        assert found.doubtful
    first = answers(LATENTS[:50])
    assert first.outputs is not None
    for wrong in (1, 2):
        outputs = first.outputs.copy()
        outputs[:wrong] = -outputs[:wrong]
        if wrong == 1:
            assert agreement([first, replace(first, outputs=outputs)], TAPS) is not None
            continue
        with pytest.raises(ParityError, match=r"same class for 96\.0 % of the samples\. One"):
            agreement([first, replace(first, outputs=outputs)], TAPS)


def test_fitted_heads_may_differ() -> None:
    """Each is fitted on latents of its own: between them a difference is told, not refused."""
    found = agreement([answers(LATENTS), answers(LATENTS, turned=1)], TAPS)
    assert found is not None
    assert not found.one_head
    assert found.doubtful


def test_latents_that_are_no_numbers_never_pass() -> None:
    """Neither of float files nor of others."""
    nothing = LATENTS.copy()
    nothing[3, 3] = np.nan
    with pytest.raises(ParityError):
        agreement([answers(LATENTS), answers(nothing)], TAPS)
    found = agreement([answers(LATENTS), answers(nothing, in_float=False)], TAPS)
    assert found is not None
    assert found.doubtful


def broken(content: bytes) -> bytes:
    """Return a TFLite file whose last convolution has the weights of its first two halves exchanged."""
    from acclimate.converters.quantization.tflite_graph import kind, read_model, write_model
    from acclimate.converters.tflite_edit import constant, replace_constant

    model = read_model(content)
    graph = model.subgraphs[0]
    last = [operator for operator in graph.operators if kind(model, operator) == 3][-1]
    weights = constant(model, graph, last, 1)
    assert weights is not None
    replace_constant(model, graph, last, 1, np.roll(weights, len(weights) // 2, axis=0))
    return write_model(model)


@pytest.fixture
def files(float_onnx: bytes, float_tflite: bytes, original: Original) -> Callable[..., dict[str, BackboneFile]]:
    """Return a function that makes both variants of the digit network, the TFLite one of a file that is given."""

    def trial(content: bytes, runtime: Any) -> Trial:
        found = embed(open_backbone(content, runtime, original), original.samples)
        return Trial(content, compare(found, original.latents, original.taps), None)

    def make(tflite: bytes, *, quantized: bool = False) -> dict[str, BackboneFile]:
        from acclimate.converters.quantization.onnx import quantize_onnx
        from acclimate.converters.quantization.tflite import quantize_tflite

        contents: dict[Any, bytes] = {"onnx": float_onnx, "tflite": tflite}
        if quantized:
            contents = {
                "onnx": quantize_onnx(float_onnx, original.samples),
                "tflite": quantize_tflite(tflite, original.samples),
            }
        tried = {runtime: trial(content, runtime) for runtime, content in contents.items()}
        kind: Any = "int8" if quantized else "float"
        return {name: BackboneFile(name, kind, one, one.parity, "as the test wants it.") for name, one in tried.items()}

    return make


@pytest.fixture
def attempt(
    files: Callable[..., dict[str, BackboneFile]],
    float_tflite: bytes,
    digit_net: nn.Module,
    digits: Digits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., ConversionReport]:
    """Return a function that converts the digit network, with a TFLite file that may be broken."""
    if find_spec("ai_edge_quantizer") is None:
        pytest.skip("acclimate[convert-tflite] is not installed")

    def run(*, spoilt: bool, quantized: bool) -> ConversionReport:
        made = files(broken(float_tflite) if spoilt else float_tflite, quantized=quantized)
        monkeypatch.setattr(finish, "make_variant", lambda runtime, *_, **__: made[runtime])
        return convert(digit_net, digits.frames[:64], out=tmp_path / "m.acc", mean=0.5, std=0.5)

    return run


def test_a_broken_float_variant_is_refused(attempt: Callable[..., ConversionReport], tmp_path: Path) -> None:
    """With the figures, and no file is left; whole ones answer alike."""
    with pytest.raises(ParityError, match=r"LiteRT to give the same answers .* cosine of -?0\.\d+ and differ by"):
        attempt(spoilt=True, quantized=False)
    assert not list(tmp_path.iterdir())
    report = attempt(spoilt=False, quantized=False)
    assert report.agreement is not None
    assert report.agreement.in_float
    assert report.agreement.latents.cosine > 0.999999
    assert report.agreement.latents.error < 1e-4
    assert report.agreement.answers == Likeness(same=1.0)
    assert [variant.with_original for variant in report.variants] == [Likeness(same=1.0)] * 2


def test_a_broken_8_bit_variant_is_warned_of(attempt: Callable[..., ConversionReport], tmp_path: Path) -> None:
    """In the report, its warnings, its page and its plain values; a whole one is told of without a warning."""
    report = attempt(spoilt=True, quantized=True)
    assert report.agreement is not None
    assert report.agreement.answers is not None
    assert report.agreement.answers.same is not None
    assert report.agreement.answers.same < 0.9
    onnx = report.variants[0].with_original
    assert onnx is not None
    assert onnx.same is not None
    assert onnx.same > 0.95
    texts = list(answer_doubts(report))
    assert [text.partition(":")[0] for text in texts] == ["LiteRT", "ONNX Runtime and LiteRT answer differently"]
    plain = report.to_dict()
    assert set(texts) <= set(plain["warnings"])
    assert plain["agreement"]["answers"] == {"same": report.agreement.answers.same, "apart": None}
    page = render_page(report)
    for text in ("Do they answer alike?", "LiteRT with ONNX Runtime", f"{100 * report.agreement.answers.same:.1f} %"):
        assert text in page
    (tmp_path / "m.acc").unlink()
    report = attempt(spoilt=False, quantized=True)
    assert report.agreement is not None
    assert report.agreement.latents.cosine > 0.98
    assert not list(answer_doubts(report))
