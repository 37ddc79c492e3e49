"""Source data in batches: what travels is the same however they are cut, and memory does not grow with their number."""

import errno
import weakref
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from acclimate.bundle import LinearLayer
from acclimate.converters import convert, source, source_latents
from acclimate.converters.source import drawn, source_arrays
from acclimate.converters.source_data import SourceData
from acclimate.converters.source_latents import SourceLatents
from acclimate.converters.tasks import ClassOutputs, TargetOutputs
from acclimate.edge.adaptation.fisher import Fisher
from acclimate.edge.regression.source import RegressionSource
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.errors import ConversionError, InputError, LabelError
from acclimate.latent import LatentCode
from acclimate.manifest import InputSpec

pytestmark = pytest.mark.needs_torch
SPEC = InputSpec((2, 3), "float32", (-3e38, 3e38), ("row", "column"))
NAMES = ("a", "b", "c")
N, WIDTH = 61, 5
cuts = st.lists(st.integers(1, N - 1), unique=True, max_size=12).map(lambda found: [0, *sorted(found), N])


def samples() -> tuple[NDArray[np.float32], list[str]]:
    """Return labelled samples; the classes have unequal numbers."""
    random = np.random.default_rng(0)
    return random.normal(size=(N, 2, 3)).astype(np.float32), [NAMES[i] for i in random.choice(3, N, p=(0.6, 0.3, 0.1))]


def in_batches(x: NDArray[Any], y: Any, ends: list[int]) -> list[tuple[NDArray[Any], Any]]:
    """Cut samples."""
    return [(x[start:end], y[start:end]) for start, end in pairwise(ends)]


def latents(ends: list[int], labels: NDArray[Any], in_memory: int = 2**20) -> SourceLatents:
    """Return latents that were added in parts."""
    found = SourceLatents(labels, WIDTH, in_memory)
    whole = np.random.default_rng(1).normal(size=(N, WIDTH)).astype(np.float32)
    for start, end in pairwise(ends):
        found.add(whole[start:end])
    return found


@given(cuts)
@settings(max_examples=25, deadline=None)
def test_batches_are_the_arrays(ends: list[int]) -> None:
    """Whatever the batches, they are read as those of the arrays: samples, chosen samples and labels."""
    x, y = samples()
    arrays, batches = (
        SourceData.of(given, SPEC, "classification") for given in ((x, y), in_batches(x, np.array(y, object), ends))
    )
    rows = np.sort(np.random.default_rng(2).permutation(N)[:17])
    for chosen in (None, rows):
        pairs = zip(arrays.batches(chosen, 8), batches.batches(chosen, 8), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)
    outputs = ClassOutputs(NAMES)
    np.testing.assert_array_equal(arrays.labels(outputs.labels), batches.labels(outputs.labels))
    assert set(batches.given) == set(y)


@given(cuts, st.sampled_from([3, 16, 1_000]))
@settings(max_examples=25, deadline=None)
def test_statistics_do_not_depend_on_the_batches(ends: list[int], block: int) -> None:
    """Sums are exact to the bit; the Fisher information and products with targets are, within rounding."""
    classes = np.random.default_rng(3).integers(0, 3, N)
    values = np.random.default_rng(4).normal(size=(N, 2))
    head = LinearLayer(np.random.default_rng(5).normal(size=(3, WIDTH)).astype(np.float32), np.zeros(3, np.float32))
    with pytest.MonkeyPatch.context() as patch, latents([0, N], classes) as whole:
        everything = whole.take(np.arange(N))
        patch.setattr(source_latents, "BLOCK", block)
        # In a file from the first byte on.
        with latents(ends, classes, 1) as parts, latents(ends, values, 1) as measured:
            code = parts.code(everything[:4])
            expected = LatentCode.fit(everything)
            np.testing.assert_array_equal(code.scale, expected.scale)
            np.testing.assert_array_equal(code.offset, expected.offset)
            assert parts.saturation(code) == code.saturation(everything)
            codes = code.encode(everything)
            statistics = Statistics.of(codes, classes, 3)
            fisher = Fisher.of(codes, statistics.sum.sum(axis=0) / N, head, code)
            found = source_arrays(parts, 3, code, head)
            for name, array in SourceStatistics.compress(statistics).arrays().items():
                np.testing.assert_array_equal(found[name], array)
            np.testing.assert_allclose(found["fisher"].astype(float), fisher.diagonal, rtol=1e-6)
            regression = RegressionSource.of(codes, values).arrays()
            two = LinearLayer(head.weight[:2], head.bias[:2])
            shipped = TargetOutputs(("u", "v")).ship(measured, code, two, fit=False).source
            assert shipped is not None
            for name, array in regression.items():
                np.testing.assert_allclose(shipped[name].astype(float), array.astype(float), rtol=1e-10, atol=1e-9)


def test_of_many_samples_as_many_of_each_class_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw is fixed; a class with fewer gives all that it has."""
    classes = np.repeat([0, 1, 2], (40, 17, 4))
    monkeypatch.setattr(source, "MOST_DRAWN", 24)
    with latents([0, N], classes) as found:
        chosen = drawn(found, NAMES)
        np.testing.assert_array_equal(np.bincount(chosen.classes), (10, 10, 4))
        np.testing.assert_array_equal(chosen.latents, drawn(found, NAMES).latents)
        everything = found.take(np.arange(N))
    assert all((everything[classes == y] == row).all(axis=1).any() for row, y in zip(*both(chosen), strict=True))


def both(chosen: source.Labelled) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return latents and classes."""
    return chosen.latents, chosen.classes


class Live:
    """Counts the rows of arrays that are alive."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watch(self, array: NDArray[Any]) -> NDArray[Any]:
        """Count an array until it is gone."""
        # A view of its own dies when the last that was made of it does.
        rows, own = len(array), array.copy()
        self.now += rows
        self.most = max(self.most, self.now)
        weakref.finalize(own, self.drop, rows)
        return own

    def drop(self, rows: int) -> None:
        """Count it no more."""
        self.now -= rows


def members(path: Path) -> dict[str, bytes]:
    """Return the members of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def usual(digits: Any, path: Path, **options: Any) -> dict[str, Any]:
    """Return arguments of `convert`."""
    fixed = {"mean": 0.5, "std": 0.5, "runtimes": ("onnx",), "quantize": False, "out": path}
    return {**fixed, "calibration": digits.frames[:64], **options}


@pytest.mark.parametrize(("kind", "head"), [("list", "fit"), ("function", None), ("loader", "keep")])
def test_a_bundle_is_the_same_to_the_bit(
    digit_net: nn.Module, digits: Any, tmp_path: Path, kind: str, head: Any
) -> None:
    """From arrays, from batches in a list, from a function that returns them, and from torch's loader."""
    x, y = digits.frames[:150], digits.labels[:150]
    batches = in_batches(x, y, [0, 7, 40, 41, 120, 150])
    given: Any = batches
    if kind == "function":
        given = lambda: iter(batches)  # noqa: E731
    if kind == "loader":
        given = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), 13)
    convert(digit_net, **usual(digits, tmp_path / "a.acc", head=head, source=(x, y)))
    convert(digit_net, **usual(digits, tmp_path / "b.acc", head=head, source=given))
    assert members(tmp_path / "a.acc") == members(tmp_path / "b.acc")


def test_memory_does_not_grow_with_the_source(
    digit_net: nn.Module, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 samples at most the drawn ones and a block of latents are alive, and a few batches of frames."""
    alive, frames_alive = Live(), Live()
    batch = 10
    monkeypatch.setattr(source, "MOST_DRAWN", 60)
    monkeypatch.setattr(source_latents, "BLOCK", 40)
    monkeypatch.setattr(source_latents, "_IN_MEMORY", 1_000)
    monkeypatch.setattr("acclimate.converters.finish.judged_rows", lambda labels: np.arange(30))
    read, take = SourceLatents._read, SourceLatents.take
    monkeypatch.setattr(SourceLatents, "_read", lambda self, a, b: alive.watch(read(self, a, b)))
    monkeypatch.setattr(SourceLatents, "take", lambda self, rows: alive.watch(take(self, rows)))

    def batches() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for i in range(0, 400, batch):
            yield frames_alive.watch(digits.frames[i : i + batch]), digits.labels[i : i + batch]

    report = convert(digit_net, **usual(digits, tmp_path / "a.acc", head="fit", source=batches))
    assert report.variants[0].source_accuracy is not None
    assert report.variants[0].source_accuracy > 0.8
    # While a block is read the one before it is still there.
    assert 60 <= alive.most <= 60 + 2 * 40
    assert alive.now == 0
    # What is judged is held; of the rest, what is waiting to fill a batch.
    assert batch <= frames_alive.most <= 30 + 4 * batch


def once() -> Iterator[tuple[NDArray[Any], list[str]]]:
    """Give batches once."""
    yield samples()


def one(change: Callable[[NDArray[np.float32], list[str]], Any]) -> list[Any]:
    """Return two batches, of which the second is changed."""
    x, y = samples()
    return [(x[:30], y[:30]), change(x[30:], y[30:])]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (once(), "gone through more than once"),
        (7, "expected source data with labels, found int"),
        ([], "at least one source sample"),
        (one(lambda x, _: x), "expected source batches .x, y., found ndarray as batch 1"),
        (one(lambda x, y: (x[:, :1], y)), "source batch 1: expected frames"),
        (one(lambda x, y: (x * np.nan, y)), "source batch 1: expected finite"),
        (one(lambda x, y: (x.astype(np.float64), y)), "source batch 1: .* found type float64"),
    ],
)
def test_what_is_no_source_is_refused(given: Any, match: str) -> None:
    """With the number of the batch, and what to do."""
    with pytest.raises(InputError, match=match):
        SourceData.of(given, SPEC, "classification")


@pytest.mark.parametrize(
    ("change", "task", "match"),
    [
        (lambda x, y: (x, y[1:]), "classification", r"one label per sample of source batch 1 \(31\), found 30"),
        (lambda x, y: (x, [[name] for name in y]), "classification", "names or whole numbers as source labels"),
        (lambda x, y: (x, y), "regression", "expected numbers as labels of source batch"),
    ],
)
def test_labels_that_are_none_are_refused(change: Any, task: Any, match: str) -> None:
    """Each with its own reason."""
    with pytest.raises(LabelError, match=match):
        SourceData.of(one(change), SPEC, task)


def test_targets_of_every_batch_are_as_many() -> None:
    """Else they could not be stacked."""
    x, _ = samples()
    with pytest.raises(LabelError, match="as many targets in every source batch"):
        SourceData.of([(x[:30], np.zeros((30, 1))), (x[30:], np.zeros((31, 2)))], SPEC, "regression")


def test_batches_that_change_are_refused() -> None:
    """A loader that shuffles would give latents the labels of others; one that gives fewer or more is refused too."""
    x, y = samples()
    whole = in_batches(x, y, [0, 30, N])
    for changed in ([(x[::-1], y[::-1])], whole[:1], [*whole, whole[0]]):
        turns = iter([whole, changed])
        data = SourceData.of(lambda turns=turns: next(turns), SPEC, "classification")  # type: ignore[misc]
        with pytest.raises(InputError, match=r"expected (the same source batches|61 source samples)"):
            list(data.batches())


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would help."""

    class Full:
        def seek(self, *_: int) -> None:
            """Move nowhere."""

        def write(self, _: bytes) -> None:
            """Find no room."""
            raise OSError(errno.ENOSPC, "No space left on device")

    with SourceLatents(np.zeros(3, np.int64), WIDTH) as found, monkeypatch.context() as patch:
        patch.setattr(found, "_file", Full())
        with pytest.raises(ConversionError, match=r"No space left on device. Set TMPDIR"):
            found.add(np.zeros((3, WIDTH), np.float32))
