"""A head that is kept and plainly wrong is told of; one that is right is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from torch import nn

from acclimate.converters import ConversionReport, VariantReport, convert
from acclimate.converters.conversion_report import Measured
from acclimate.converters.conversion_warnings import head_doubts, warnings
from acclimate.converters.parity import Closeness, Parity
from acclimate.converters.quantization.fresh_head import HeadAccuracy
from acclimate.errors import LabelError
from acclimate.manifest import Tap

pytestmark = pytest.mark.needs_torch


def told(own: float | None, fresh: float, accuracy: float, samples: int = 300, **fields: Any) -> list[str]:
    """Return the doubts of a report on a head that is kept, with three classes."""
    parity = Parity(Closeness(0.99, 0.98, 0.1), {"last": Closeness(0.99, 0.98, 0.1)})
    head = None if own is None else HeadAccuracy(fresh, fresh, 0.0, 0.0, samples)
    measured = (Measured("int8", 9, 0.001, parity, head, own),)
    variant = VariantReport("onnx", True, 9, 0, parity, parity, accuracy, 1.0, "int8", "8 bits.", (), measured)
    report = ConversionReport(Path("m.acc"), 9, ("a", "b", "c"), (Tap("last", 0, 8),), (variant,), 1.0)
    return list(head_doubts(replace(report, **{"keeps_head": True, "samples": samples, **fields})))


def test_a_head_far_below_a_fresh_one_is_told_of() -> None:
    """By twenty points, and more than chance moves it; both figures are in the text."""
    (text,) = told(0.6, 1.0, 0.6)
    assert "own head gets 60 % of 300 source samples right, a fresh head on the same latents 100 %" in text
    assert "Are the classes named in the order of the model's outputs, and mean and std" in text
    assert not told(0.81, 1.0, 0.81)
    assert not told(0.75, 1.0, 0.75, samples=8)
    assert told(0.75, 1.0, 0.75, samples=80)


def test_a_head_that_guesses_is_told_of() -> None:
    """One third and two standard errors: 39 % of 300 samples, 44 % of 75; also where no fresh head was judged."""
    (text,) = told(None, 0.0, 0.38)
    assert "own head gets 38 % of 300 source samples right, no more than guessing among 3 classes may" in text
    assert not told(None, 0.0, 0.40)
    assert told(None, 0.0, 0.43, samples=75)
    assert told(0.30, 0.35, 0.30)


def test_other_heads_are_not_doubted() -> None:
    """A fitted one, values of a regression, and what was judged on nothing."""
    assert not told(0.3, 1.0, 0.3, keeps_head=False)
    assert not told(None, 0.0, -1.0, task="regression")
    assert not told(None, 0.0, 0.3, samples=0)


def test_classes_in_another_order_are_told_of(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """From the model to the report and its JSON; in the right order nothing is said."""
    fixed: dict[str, Any] = {"mean": 0.5, "std": 0.5, "runtimes": ("onnx",), "calibration": digits.frames[:64]}
    names = [str(i) for i in range(10)]
    source = (digits.frames[:300], [names[label] for label in digits.labels[:300]])
    right = convert(digit_net, **fixed, source=source, classes=names, out=tmp_path / "right.acc")
    assert not list(head_doubts(right))
    turned = [*names[1:], names[0]]
    for quantize, against in ((True, "a fresh head on the same latents"), (False, "guessing among 10 classes")):
        out = tmp_path / f"turned-{quantize}.acc"
        wrong = convert(digit_net, **fixed, source=source, classes=turned, out=out, quantize=quantize)
        (text,) = head_doubts(wrong)
        assert against in text
        assert text in wrong.to_dict()["warnings"]
        assert next(warnings(wrong)) == text


def test_batches_of_one_class_are_refused_before_the_export(
    digit_net: nn.Module, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their labels are known once they were read."""

    def exported(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("exported")

    monkeypatch.setattr("acclimate.converters.finish.make_variant", exported)
    batches = [(digits.frames[i : i + 20], np.full(20, "zero")) for i in (0, 20)]
    with pytest.raises(LabelError, match=r"at least two classes in the source to fit a head on, found one: 'zero'"):
        convert(digit_net, digits.frames[:64], source=batches, head="fit", out=tmp_path / "m.acc", mean=0.5, std=0.5)
