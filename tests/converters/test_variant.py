"""Choosing what stays in float, and what the converters let the world see of them."""

import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate import converters
from acclimate.converters import variant
from acclimate.converters.variant import Original, make_variant

pytestmark = pytest.mark.needs_torch


def test_the_fewest_convolutions_that_do_stay_in_float(
    original: Original, float_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None where 8 bits are close enough; else a rung more; else the closest of them, a quarter of all at most."""
    parity = make_variant("onnx", original).float_parity
    monkeypatch.setattr(variant, "make_float", lambda runtime, original: (float_onnx, parity))
    monkeypatch.setattr(variant, "_RUNGS", (0, 2, 6))
    assert make_variant("onnx", original).float_convolutions == 0
    exact = [make_variant("onnx", original, float_convolutions=n).parity.whole.cosine for n in (0, 2)]
    assert exact[1] > exact[0]
    monkeypatch.setattr(variant, "_GOOD_COSINE", (exact[0] + exact[1]) / 2)
    assert make_variant("onnx", original).float_convolutions == 2
    monkeypatch.setattr(variant, "_GOOD_COSINE", 1.1)
    assert make_variant("onnx", original).float_convolutions == 2


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
        "import acclimate.converters\n"
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
