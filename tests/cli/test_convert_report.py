"""What `acclimate convert` prints of a conversion."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch, which converting needs, is not installed")

from acclimate.cli.convert_report import taken_over, tell_report
from acclimate.converters import ConversionReport, VariantReport
from acclimate.converters.agreement import Agreement, Likeness
from acclimate.converters.parity import Closeness, Parity
from acclimate.converters.sources.load import Known
from acclimate.manifest import Runtime, Tap


def report(likeness: Likeness, answers: Likeness, cosine: float) -> ConversionReport:
    """Make a report on two variants in 8 bits."""
    parity = Parity(Closeness(0.9876, 0.9, 0.1), {"last": Closeness(0.9876, 0.9, 0.1)})
    names: tuple[Runtime, ...] = ("onnx", "tflite")
    variants = tuple(
        VariantReport(name, True, 9_000, 0, parity, parity, 0.931, 1.0, "int8", "8 bits.", with_original=likeness)
        for name in names
    )
    both = Agreement(64, False, Closeness(cosine, 0.9, 0.21), answers, True)
    return ConversionReport(Path("m.acc"), 18_000, ("a", "b"), (Tap("last", 0, 8),), variants, 1.0, agreement=both)


def printed(capsys: pytest.CaptureFixture[str], given: ConversionReport) -> str:
    """Return what is told, in one line."""
    tell_report(given, given.task)
    return " ".join("".join(capsys.readouterr()).split())


def test_answers_that_agree_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the original in the table, with each other in a line; nothing is warned of."""
    text = printed(capsys, report(Likeness(same=0.984), Likeness(same=0.969), 0.995))
    assert "same answer" in text
    assert text.count("98.4 %") == 2
    assert (
        "onnx and tflite: over 64 samples latents have a centred cosine of 0.9950 and differ by 0.21 of their spread "
        "at most; the shipped heads give the same class for 96.9 % of the samples"
    ) in text
    assert "warning" not in text


def test_answers_that_differ_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Each runtime with the original, and both with each other."""
    text = printed(capsys, report(Likeness(same=0.9), Likeness(same=0.75), 0.8))
    assert (
        "warning: LiteRT: compared with the original's latents, the shipped head gives the same class for 90.0 %"
        in text
    )
    assert "warning: ONNX Runtime and LiteRT answer differently: over 64 samples" in text
    assert "75.0 % of the samples" in text


def test_values_are_told_by_their_spread(capsys: pytest.CaptureFixture[str]) -> None:
    """A regression has no classes to agree on."""
    given = replace(report(Likeness(apart=0.0123), Likeness(apart=0.02), 0.99), task="regression")
    text = printed(capsys, given)
    assert "same answer" not in text
    assert text.count(" 0.012 ") == 2
    assert "values that differ by 0.02 of their spread at most" in text


def test_what_was_taken_over_is_told() -> None:
    """What the source of a model knows, and what it notes; numbers that change nothing are left out."""
    names = ("a", "b")
    loaded: Any = SimpleNamespace(known=Known(classes=names, notes=("weights: DEFAULT",)))
    given = {"resize": (8, 6), "mean": 0.5, "std": 1.0, "classes": names}
    assert taken_over(loaded, given) == ["input: resize 8 6, mean 0.5, 2 class names", "weights: DEFAULT"]
    loaded.known = Known()
    assert taken_over(loaded, given) == []
