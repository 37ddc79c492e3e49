"""Ranges of activations: each method against its definition, and against a planted outlier."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import nn

from acclimate.converters.export_onnx import export_onnx
from acclimate.converters.original import Original, embed, open_backbone, run_module
from acclimate.converters.parity import compare
from acclimate.converters.quantization.calibration import (
    BINS,
    Calibration,
    Histogram,
    check_structure,
    divergence,
    entropy_range,
    find_ranges,
    percentile_range,
)
from acclimate.converters.quantization.onnx import quantize_onnx
from acclimate.errors import CalibrationError, InputError
from acclimate.manifest import InputSpec, Tap

pytestmark = pytest.mark.needs_torch
OUTLIER = 60.0


def batches() -> Iterator[dict[str, np.ndarray]]:
    """Normal numbers in two batches, the second with one outlier."""
    values = np.random.default_rng(0).normal(size=(2, 50_000)).astype(np.float32)
    values[1, 7] = OUTLIER
    yield {"x": values[0]}
    yield {"x": values[1]}


def test_each_method_treats_an_outlier_in_its_own_way() -> None:
    """All of it, the quantiles to a bin's width, and between them what costs the least information."""
    whole = np.concatenate([batch["x"] for batch in batches()])
    found = {method: find_ranges(batches, method)["x"] for method in ("minmax", "percentile", "entropy")}
    assert found["minmax"] == (whole.min(), OUTLIER)
    width = float(OUTLIER - whole.min()) / BINS
    low, high = np.quantile(whole, [0.00005, 0.99995])
    assert found["percentile"][0] == pytest.approx(low, abs=1.01 * width)
    assert found["percentile"][1] == pytest.approx(high, abs=1.01 * width)
    assert 3 < found["entropy"][1] < 15
    assert len({ends[1] for ends in found.values()}) == 3


def test_entropy_is_least_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other end that was open to it diverges less; the divergence is scipy's."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    rng = np.random.default_rng(0)
    counts = np.histogram(np.append(rng.exponential(size=20_000), OUTLIER), BINS, (0, OUTLIER))[0]
    low, high = entropy_range(Histogram(0.0, OUTLIER, counts))
    stop = round(high / OUTLIER * BINS)
    assert low == 0
    assert all(divergence(counts, 0, stop) <= divergence(counts, 0, other) for other in range(256, BINS + 1, 16))
    inside, level = counts[:512].astype(float), np.arange(512) * 256 // 512
    told = np.zeros(512)
    for i in range(256):
        own = (level == i) & (inside > 0)
        told[own] = inside[level == i].sum() / max(own.sum(), 1)
    inside[-1] += counts[512:].sum()
    expected = stats.entropy(inside / inside.sum(), np.maximum(told / told.sum(), 1e-12))
    assert divergence(counts, 0, 512) == pytest.approx(expected, rel=1e-4)


def test_zero_stays_inside_and_zeros_tell_nothing() -> None:
    """8 bits show 0 exactly: it is never cut off, and half of the values being 0 does not move the range."""
    values = np.random.default_rng(0).normal(5, 1, size=20_000).astype(np.float32)
    for method in ("minmax", "percentile", "entropy"):
        assert find_ranges(lambda: iter([{"x": values}]), method)["x"][0] == 0
    with_zeros = np.concatenate([values, np.zeros_like(values)])
    plain = find_ranges(lambda: iter([{"x": values}]), "entropy")["x"]
    assert find_ranges(lambda: iter([{"x": with_zeros}]), "entropy")["x"] == plain
    nothing = Histogram(0.0, 0.0, np.zeros(BINS, np.int64))
    assert percentile_range(nothing, 99.0) == entropy_range(nothing) == (0.0, 0.0)


def test_an_outlier_among_the_calibration_samples_costs_less_where_it_is_cut_off() -> None:
    """Two numbers 100 times as large cost least by entropy; a whole sample 300 times as large only percentile mends."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 12)).eval()
    x = np.random.default_rng(0).normal(size=(512, 16)).astype(np.float32)
    spec, taps = InputSpec((16,), "float32", (-9, 9), ("number",)), (Tap("cut", 0, 12),)
    original = Original(module, spec, taps, x, run_module(module, x))
    content = export_onnx(module, torch.from_numpy(x[:2]))

    def closeness(shown: np.ndarray, method: Calibration) -> float:
        file = quantize_onnx(content, shown, method=method, percentile=93.0)
        return compare(embed(open_backbone(file, "onnx", original), x), original.latents, taps).whole.cosine

    large, huge = x[:32].copy(), x[:32].copy()
    large[5, :2] *= 100
    huge[5] *= 300
    assert closeness(large, "minmax") < 0.99 < 0.995 < closeness(large, "entropy")
    assert closeness(huge, "minmax") < 0.5 < 0.95 < closeness(huge, "percentile")


def test_unusable_data_and_methods_are_refused() -> None:
    """NaN activations, samples of one value each, a method and a percentile that are none."""
    with pytest.raises(CalibrationError, match="finite activations on the calibration data, found NaN"):
        find_ranges(lambda: iter([{"x": np.array([1, np.nan], np.float32)}]))
    with pytest.raises(CalibrationError, match="each of the 9 is one value throughout"):
        check_structure(np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None], (9, 4, 4, 1)))
    check_structure(np.arange(8, dtype=np.float32)[:, None])
    with pytest.raises(InputError, match="expected calibration out of"):
        find_ranges(batches, "mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="percentile above 50"):
        find_ranges(batches, "percentile", 5.0)
