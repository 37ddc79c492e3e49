"""Bundles whose task is regression: what they hold, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acclimate.bundle import Bundle, Conformance, LinearLayer
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.errors import BundleFormatError
from acclimate.latent import LatentCode
from acclimate.manifest import MAX_TARGETS, InputSpec, Manifest, Tap
from acclimate.tensors import Arrays

D, T = 5, 2
SOURCE: Arrays = {
    "count": np.ones(1),
    "sum": np.ones((1, D)),
    "moment": np.ones(D * (D + 1) // 2),
    "target": np.ones(T),
    "square": np.ones(T),
    "cross": np.zeros((T, D)),
}


def content(source: Arrays | None = SOURCE) -> VariantContent:
    """Return a variant; no runtime reads this backbone."""
    code = LatentCode(np.ones(D, np.float32), np.zeros(D, np.float32))
    conformance = Conformance(np.zeros((2, 4), np.float32), np.zeros((2, D), np.float32))
    head = LinearLayer(np.ones((T, D), np.float32), np.zeros(T, np.float32))
    return VariantContent("onnx", False, b"backbone", code, conformance, 0.1, head=head, source=source)


def write(path: Path, variant: VariantContent, targets: tuple[str, ...] = ("a", "b")) -> Manifest:
    """Write a regression bundle."""
    spec = InputSpec((4,), "float32", (-1, 1), ("time",))
    return write_bundle(
        path, task="regression", classes=targets, input=spec, cut="pool", taps=[Tap("pool", 0, D)], variants=[variant]
    )


def test_it_comes_back(tmp_path: Path) -> None:
    """Task, targets, head and statistics."""
    write(tmp_path / "a.acc", content())
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        assert (bundle.manifest.task, bundle.manifest.classes) == ("regression", ("a", "b"))
        found, head = bundle.source("onnx"), bundle.head("onnx")
        assert found is not None
        assert head is not None
        assert {name: array.shape for name, array in found.items()} == {n: a.shape for n, a in SOURCE.items()}


@pytest.mark.parametrize("targets", [(), tuple(map(str, range(MAX_TARGETS + 1)))])
def test_a_number_of_targets_that_cannot_be_is_refused(tmp_path: Path, targets: tuple[str, ...]) -> None:
    """None, or more than the format allows."""
    with pytest.raises(BundleFormatError, match="1 to 1,000 targets for regression"):
        write(tmp_path / "a.acc", replace(content(None), head=None), targets)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"count": np.ones(T)},
        {"sum": np.ones((T, D))},
        {"target": np.ones(T + 1)},
        {"square": np.ones(T, np.float32)},
        {"cross": np.ones((D, T))},
        {"cross": np.full((T, D), np.nan)},
        {"fisher": np.ones((T, D + 1), np.float32)},
        {"more": np.ones(1)},
    ],
    ids=["count", "sum", "target", "square", "cross", "NaN", "fisher", "more"],
)
def test_statistics_of_another_kind_are_refused(tmp_path: Path, change: Arrays) -> None:
    """Shapes, types and names are those of regression, and nothing else; what would not open is not written."""
    with pytest.raises(BundleFormatError, match="expected"):
        write(tmp_path / "a.acc", content({**SOURCE, **change}))
    assert list(tmp_path.iterdir()) == []
