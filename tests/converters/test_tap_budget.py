"""A budget of latent bytes: what is worth the least for its bytes goes, and the head's input stays."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters import convert, tap_budget
from acclimate.converters.conversion_page import render_page
from acclimate.converters.export_onnx import export_onnx
from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.tap_budget import prune_taps
from acclimate.edge.adaptation.selection import cross_validate
from acclimate.edge.heads import LDA, Problem
from acclimate.errors import InputError
from acclimate.manifest import Tap

from .conftest import normalised

pytestmark = pytest.mark.needs_torch
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
N = 300


def planted(*kinds: tuple[str, int, float]) -> tuple[Float32, Int64, tuple[Tap, ...]]:
    """Return latents of four classes, tap by tap of so many dimensions whose class means are so far apart."""
    random = np.random.default_rng(0)
    y = random.integers(0, 4, N)
    parts, taps, offset = [], [], 0
    for name, width, distance in kinds:
        means = random.normal(size=(4, width)) * distance / np.sqrt(width)
        parts.append(means[y] + random.normal(size=(N, width)))
        taps.append(Tap(name, offset, width))
        offset += width
    return np.hstack(parts).astype(np.float32), y, tuple(taps)


def direct(latents: Float32, y: Int64, taps: Sequence[Tap]) -> tuple[float, float]:
    """Return held-out accuracy and least loss of a discriminant head on some taps, computed on the latents as such."""
    rows = np.hstack([latents[:, tap.offset : tap.offset + tap.width] for tap in taps]).astype(np.float64)
    trials = cross_validate(Problem((rows - rows.mean(0)) / rows.std(0), y, 4), (LDA(),)).trials
    best = min(trials, key=lambda trial: trial.loss)
    return best.accuracy, best.loss


def test_noise_goes_before_what_tells_classes_apart() -> None:
    """The tap that says nothing goes first, then the weaker one; the figures are those of heads on the latents."""
    latents, y, taps = planted(("noise", 12, 0.0), ("strong", 6, 3.0), ("weak", 6, 0.8), ("head", 8, 1.0))
    found = prune_taps(latents, y, taps, 15)
    assert [tap.name for tap in found.dropped] == ["noise", "weak"]
    assert found.names == ["strong"]
    assert (found.budget, found.bytes, found.samples) == (15, 14, N)
    assert found.dropped[0].loss < found.dropped[1].loss < found.kept[0].loss
    _, strong, weak, head = taps
    whole, second, last, alone = (
        direct(latents, y, part) for part in (taps, (strong, weak, head), (strong, head), (head,))
    )
    np.testing.assert_allclose((found.accuracy, found.loss), ((whole[0], last[0]), (whole[1], last[1])), rtol=1e-4)
    expected = [second[1] - whole[1], last[1] - second[1], alone[1] - last[1]]
    np.testing.assert_allclose([tap.loss for tap in (*found.dropped, *found.kept)], expected, rtol=1e-3, atol=1e-5)
    points = [100 * (whole[0] - second[0]), 100 * (second[0] - last[0]), 100 * (last[0] - alone[0])]
    np.testing.assert_allclose([tap.points for tap in (*found.dropped, *found.kept)], points, atol=1e-6)


def test_what_says_the_same_twice_is_worth_little() -> None:
    """A copy of a strong tap goes before a weak one that says something new."""
    latents, y, taps = planted(("weak", 6, 1.2), ("strong", 6, 2.0), ("head", 6, 0.5))
    copied = np.hstack([latents[:, 6:12], latents])
    taps = (Tap("copy", 0, 6), *(Tap(tap.name, tap.offset + 6, tap.width) for tap in taps))
    found = prune_taps(copied, y, taps, 18)
    assert found.dropped[0].name in ("copy", "strong")
    assert "weak" in found.names
    assert len(found.dropped) == 1


def test_no_more_is_given_up_than_has_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes beyond the excess count for nothing: a small tap that is enough goes before a large one worth more."""
    losses = {("large", "small", "head"): 1.0, ("small", "head"): 1.2, ("large", "head"): 1.1, ("head",): 1.5}
    monkeypatch.setattr(tap_budget, "_judge", lambda _, names, y: (0.5, losses[tuple(names)]))
    latents, y, taps = planted(("large", 40, 1.0), ("small", 4, 1.0), ("head", 8, 1.0))
    assert [tap.name for tap in prune_taps(latents, y, taps, 50).dropped] == ["small"]
    # For nine bytes more the large one is the only one that is enough alone, and cheaper for its bytes.
    assert [tap.name for tap in prune_taps(latents, y, taps, 41).dropped] == ["large"]


def test_what_fits_in_the_end_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small tap that went before a large one comes back where there is room once the large one is gone."""
    losses = {("small", "large", "head"): 1.0, ("large", "head"): 0.9, ("small", "head"): 0.99, ("head",): 0.95}
    monkeypatch.setattr(tap_budget, "_judge", lambda _, names, y: (0.5, losses[tuple(names)]))
    latents, y, taps = planted(("small", 4, 1.0), ("large", 40, 1.0), ("head", 8, 1.0))
    found = prune_taps(latents, y, taps, 12)
    assert ([tap.name for tap in found.dropped], found.names, found.bytes) == (["large"], ["small"], 12)
    assert found.loss == (1.0, 0.99)


def usual(digits: Any, path: Path, **options: Any) -> dict[str, Any]:
    """Return arguments of `convert`."""
    source = (digits.frames[:300], digits.labels[:300])
    fixed = {"mean": 0.5, "std": 0.5, "runtimes": ("onnx",), "quantize": False, "out": path, "source": source}
    return {**fixed, "calibration": digits.frames[:64], **options}


def test_a_bundle_keeps_to_its_budget(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """With a tail too: the width fits, the model's head is what it was, and the report and its page tell what went."""
    arguments = usual(digits, tmp_path / "a.acc", latent_bytes=80, cut="blocks.2")
    report = convert(digit_net, **arguments)
    assert report.budget is not None
    assert len(report.budget.dropped) == 1
    assert report.budget.bytes == report.width <= 80
    assert [tap.name for tap in report.taps] == [*report.budget.names, "fc:input"]
    with Bundle(tmp_path / "a.acc") as bundle:
        assert bundle.manifest.width == report.width
        head, tail = bundle.head("onnx"), bundle.tail("onnx")
    assert head is not None
    assert tail is not None
    np.testing.assert_array_equal(head.weight[:, -64:], digit_net.get_parameter("fc.weight").detach())
    assert not head.weight[:, :-64].any()
    json.dumps(report.to_dict(), allow_nan=False)
    page = render_page(report)
    assert "Taps for a budget of latent bytes" in page
    assert report.budget.dropped[0].name in page
    assert report.budget.dropped[0].name in "\n".join(report.budget.told())


def test_a_budget_that_is_no_limit_changes_nothing(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """And nothing is judged for it."""
    report = convert(digit_net, **usual(digits, tmp_path / "a.acc", latent_bytes=100))
    assert (report.width, report.budget) == (100, tap_budget.TapBudget(100, 100))
    json.dumps(report.to_dict(), allow_nan=False)
    assert "Taps for a budget" not in render_page(report)


def test_an_onnx_file_keeps_to_it_too(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """Its taps have names of tensors."""
    file = parse_onnx(export_onnx(digit_net, normalised(digits.frames[:2])))
    report = convert(file, **usual(digits, tmp_path / "a.acc", latent_bytes=70))
    assert report.budget is not None
    assert report.width <= 70
    assert report.budget.dropped
    assert [tap.name for tap in report.taps[:-1]] == report.budget.names


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"latent_bytes": 0}, "a number of bytes from 1, found 0"),
        ({"latent_bytes": True}, "a number of bytes from 1, found True"),
        ({"latent_bytes": 80, "source": None}, "expected source data with latent_bytes"),
        ({"latent_bytes": 80, "task": "regression"}, "expected classification with latent_bytes"),
        ({"latent_bytes": 63}, "at least 64, which the head's input 'fc:input' takes, found 63"),
        ({"latent_bytes": 80, "source": "one"}, "two classes with two source samples each"),
    ],
)
def test_what_cannot_be_is_refused(
    digit_net: nn.Module, digits: Any, tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    """In words, and no file is left."""
    if options.get("source") == "one":
        zeros = digits.labels == 0
        options = {**options, "source": (digits.frames[zeros][:20], digits.labels[zeros][:20])}
    with pytest.raises(InputError, match=match):
        convert(digit_net, **usual(digits, tmp_path / "a.acc", **options))
    assert list(tmp_path.iterdir()) == []
