"""Choosing what stays in float, and what the converters let the world see of them."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate import converters
from acclimate.converters import variant
from acclimate.converters.original import Original, make_float
from acclimate.converters.quantization import search, trial
from acclimate.converters.quantization.fresh_head import HeadAccuracy
from acclimate.converters.quantization.onnx import QuantizedOnnx
from acclimate.converters.quantization.trial import LabelledSamples
from acclimate.converters.quantization.wish import Wish, check_wish
from acclimate.converters.variant import make_variant
from acclimate.errors import InputError, ParityError

from .conftest import Digits

pytestmark = pytest.mark.needs_torch


@pytest.fixture(scope="module")
def exported(original: Original, float_onnx: bytes) -> Iterator[Original]:
    """Export once for every test here."""
    parity = make_float("onnx", original)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "make_float", lambda runtime, original: (float_onnx, parity))
        yield original


def seconds(patch: pytest.MonkeyPatch, **kinds: float) -> None:
    """Let latencies be as a test wants them: a test never depends on the machine's."""
    patch.setattr(trial.Judge, "seconds", lambda self, files: {kind: kinds.get(kind, 1.0) for kind in files})


def test_the_ladder_keeps_the_fewest_first_convolutions_that_do(
    exported: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None where 8 bits are close enough; else a rung more; else the closest of them, a quarter of all at most."""
    monkeypatch.setattr(search, "_RUNGS", (0, 2, 6))
    ladder = Wish(quantize=True, float_convolutions="ladder")
    assert make_variant("onnx", exported, ladder).float_convolutions == 0
    exact = [make_variant("onnx", exported, Wish(True, float_convolutions=n)).parity.whole.cosine for n in (0, 2)]
    assert exact[1] > exact[0]
    monkeypatch.setattr(search, "GOOD_COSINE", (exact[0] + exact[1]) / 2)
    assert make_variant("onnx", exported, ladder).float_convolutions == 2
    monkeypatch.setattr(search, "GOOD_COSINE", 1.1)
    assert make_variant("onnx", exported, ladder).float_convolutions == 2


def test_layers_that_lose_the_most_stay_in_float(exported: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an aim between nothing and everything in float; named in the report with what each costs."""
    plain = make_variant("onnx", exported, Wish(quantize=True, every_layer=True))
    assert plain.kept == ()
    assert len(plain.layers) == 11
    worst = max(plain.layers, key=lambda layer: layer.lost)
    assert worst.lost > 0
    monkeypatch.setattr(search, "GOOD_COSINE", plain.parity.whole.cosine + 1e-6)
    # Corrected biases would be enough.
    monkeypatch.setattr(QuantizedOnnx, "corrected", lambda quantized, content: None)
    found = make_variant("onnx", exported, Wish(quantize=True))
    kept = [layer for layer in found.layers if layer.kept]
    assert worst.name in [layer.name for layer in kept]
    assert 1 <= len(kept) <= 2
    assert found.parity.whole.cosine > plain.parity.whole.cosine
    assert min(layer.lost for layer in kept) >= max(layer.lost for layer in found.layers if not layer.kept)


def test_8_bits_are_kept_where_they_are_fast_and_close(exported: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where they are slower by less than a tenth; the reason has the figures."""
    seconds(monkeypatch, float=1.0, int8=0.4)
    found = make_variant("onnx", exported)
    assert found.kind == "int8"
    assert "2.5 x as fast as float" in found.reason
    assert {one.kind: one.seconds for one in found.measured()} == {"float": 1.0, "int8": 0.4}
    seconds(monkeypatch, float=1.0, int8=1.09)
    assert make_variant("onnx", exported).kind == "int8"


def test_slow_8_bits_make_way_for_weights_or_float(exported: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """8-bit weights where they are no slower than float, else float; who insists gets 8 bits all the same."""
    seconds(monkeypatch, float=1.0, int8=1.2, weights=1.05)
    found = make_variant("onnx", exported)
    assert found.kind == "weights"
    assert "take 1200.00 ms for one sample on this processor, where float takes 1000.00 ms" in found.reason
    assert len(found.content) < 0.6 * len(make_variant("onnx", exported, Wish(quantize=False)).content)
    assert found.parity.whole.cosine > 0.999
    seconds(monkeypatch, float=1.0, int8=1.2, weights=1.2)
    found = make_variant("onnx", exported)
    assert found.kind == "float"
    assert "Nor do 8-bit weights" in found.reason
    assert make_variant("onnx", exported, Wish(quantize=True)).kind == "int8"


def test_the_clocks_own_unrest_decides_nothing(exported: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long is no reason where it is a tenth of a millisecond."""
    seconds(monkeypatch, float=1e-4, int8=2e-4)
    assert make_variant("onnx", exported).kind == "int8"


def test_lost_latents_and_lost_accuracy_are_reasons(
    exported: Original, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bound by itself turns 8 bits down; who insists is refused."""
    seconds(monkeypatch, float=1.0, int8=0.5)
    found = make_variant("onnx", exported, Wish(least_cosine=0.99999))
    assert found.kind in ("weights", "float")
    assert "where 0.99999 was asked for" in found.reason
    labelled = LabelledSamples(digits.frames[:300], digits.labels[:300])
    close = make_variant("onnx", exported, labelled=labelled)
    assert close.kind == "int8"
    assert close.trial.head is not None
    assert close.trial.head.float_accuracy > 0.9
    monkeypatch.setattr(trial, "compare_heads", lambda hits, others: HeadAccuracy(0.9, 0.8, 10.0, 1.0, 300))
    refused = make_variant("onnx", exported, labelled=labelled)
    assert refused.kind == "float"
    assert "a fresh head loses 10.0 points of accuracy (standard error 1.0), where 0.5 may be lost" in refused.reason
    with pytest.raises(ParityError, match=r"lose at most 0\.5 points of accuracy, found that it loses 10\.0"):
        make_variant("onnx", exported, Wish(quantize=True), labelled=labelled)


def test_wishes_that_nothing_can_fulfil_are_refused() -> None:
    """Each with what was expected, before any work."""
    for wish, match in (
        (Wish(quantize="always"), "quantize 'auto', True, False or 'weights'"),  # type: ignore[arg-type]
        (Wish(calibration="mean"), "expected calibration out of"),  # type: ignore[arg-type]
        (Wish(float_convolutions=-1), "a number from 0"),
        (Wish(float_convolutions="all"), "'auto', 'ladder' or a number"),  # type: ignore[arg-type]
        (Wish(least_cosine=2), "from -1 to 1"),
        (Wish(most_lost=-1), "0 to 100 points"),
    ):
        with pytest.raises(InputError, match=match):
            check_wish(wish)


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is sorted and each name in it can be imported."""
    assert converters.__all__ == sorted(converters.__all__)
    assert all(hasattr(converters, name) for name in converters.__all__)


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(module: str) -> None:
    """In a process where the package cannot be found, importing the side says what to install."""
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
        "from acclimate.converters import convert\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"acclimate.converters needs '{module}'" in done.stderr
    assert "pip install 'acclimate[convert]'" in done.stderr


def test_importing_the_side_loads_no_tflite_converter() -> None:
    """litert-torch brings jax and seconds of import; only a conversion for TFLite asks for it."""
    heavy: Any = ("litert_torch", "jax", "ai_edge_quantizer", "tensorflow", "torchvision")
    code = f"import sys, acclimate.converters\nprint([m for m in {heavy!r} if m in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
