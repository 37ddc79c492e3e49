"""The bundle: what is written comes back, bound by its hashes, and a bundle that would not open is never written."""

import dataclasses
import hashlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.bundle import Bundle, Conformance, LinearLayer, variant_hash
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.errors import AcclimateError, BundleFormatError, OutputExistsError
from acclimate.latent import LatentCode
from acclimate.manifest import InputSpec, Manifest, Runtime, Tap

K, D = 3, 5
SPEC = InputSpec((4, 2), "float32", (-1, 1), ("time", "channel"))
CODE = LatentCode(np.linspace(0.1, 1, D, dtype=np.float32), np.linspace(-1, 1, D, dtype=np.float32))


def content(runtime: Runtime = "onnx", **changes: Any) -> VariantContent:
    """Return everything of one variant; no runtime reads this backbone."""
    draw = np.random.default_rng(0)
    inputs, latents = draw.random((2, 4, 2), np.float32), draw.random((2, D), np.float32)
    head = LinearLayer(draw.random((K, D), np.float32), draw.random(K, np.float32))
    source = {"count": np.ones(K), "sum": draw.random((K, D)), "moment": draw.random(D * (D + 1) // 2)}
    usual: dict[str, Any] = {"code": CODE, "conformance": Conformance(inputs, latents), "head": head, "source": source}
    return VariantContent(runtime, False, b"backbone for " + runtime.encode(), **{"tolerance": 0.1, **usual, **changes})


def verdict(**changes: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an `unknown` verdict with two discriminants, some of them replaced or added."""
    draw = np.random.default_rng(2)
    shapes = {"centre": (D,), "scale": (D,), "weight": (2, D), "span": (2, 2), "mean": (K, 2), "offset": (K,)}
    usual: dict[str, NDArray[np.generic]] = {name: draw.random(shape, np.float32) for name, shape in shapes.items()}
    return {f"novelty.{name}": a for name, a in {**usual, "numbers": np.array([1.5, 0.05, 40]), **changes}.items()}


def write(path: Path, *variants: VariantContent, **changes: Any) -> Manifest:
    """Write a bundle of these variants."""
    usual: dict[str, Any] = {"classes": ["a", "b", "c"], "input": SPEC, "cut": "pool", "taps": [Tap("pool", 0, D)]}
    return write_bundle(path, variants=variants or [content()], **{**usual, **changes})


def test_everything_comes_back(tmp_path: Path) -> None:
    """Manifest, backbone, latent code, head, source statistics and conformance vectors, for both runtimes."""
    both = [content("onnx", saturated=0.25), content("tflite", head=None, source=None)]
    manifest = write(tmp_path / "a.acc", *both, provenance={"model": "none"}, licence="MIT")
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        assert bundle.manifest == manifest
        assert (bundle.manifest.width, bundle.manifest.licence, bundle.variant("onnx").saturated) == (D, "MIT", 0.25)
        for one in both:
            runtime = one.runtime
            assert bundle.backbone(runtime) == one.backbone
            np.testing.assert_array_equal(bundle.code(runtime).scale, CODE.scale)
            np.testing.assert_array_equal(bundle.code(runtime).offset, CODE.offset)
            np.testing.assert_array_equal(bundle.conformance(runtime).input, one.conformance.input)
            np.testing.assert_array_equal(bundle.conformance(runtime).latent, one.conformance.latent)
        head, source = bundle.head("onnx"), bundle.source("onnx")
        assert head is not None
        assert source is not None
        assert both[0].head is not None
        np.testing.assert_array_equal(head.weight, both[0].head.weight)
        np.testing.assert_array_equal(head.bias, both[0].head.bias)
        assert {name: array.tolist() for name, array in source.items()} == {
            name: array.tolist() for name, array in (both[0].source or {}).items()
        }
        assert bundle.head("tflite") is None
        assert bundle.source("tflite") is None


def test_a_bundle_may_ship_no_class(tmp_path: Path) -> None:
    """The device then defines its own; there is neither head nor source."""
    write(tmp_path / "a.acc", content(head=None, source=None), classes=[])
    with Bundle(tmp_path / "a.acc") as bundle:
        assert (bundle.manifest.classes, bundle.head("onnx"), bundle.source("onnx")) == ((), None, None)


def test_low_rank_statistics_come_back(tmp_path: Path) -> None:
    """The other form of source statistics: a factor of any rank with a diagonal."""
    source: dict[str, NDArray[np.generic]] = {
        "count": np.ones(K),
        "sum": np.ones((K, D)),
        "factor": np.ones((2, D), np.float32),
        "diagonal": np.ones(D),
    }
    write(tmp_path / "a.acc", content(source=source))
    with Bundle(tmp_path / "a.acc") as bundle:
        found = bundle.source("onnx")
        assert found is not None
        assert set(found) == set(source)
        assert all(np.array_equal(found[name], array) for name, array in source.items())


def test_fisher_information_comes_back(tmp_path: Path) -> None:
    """Beside a shipped head, in either form of the statistics; a bundle without has none."""
    fisher = np.random.default_rng(1).random((K, D + 1), np.float32)
    source = {**(content().source or {}), "fisher": fisher}
    write(tmp_path / "a.acc", content(source=source), content("tflite"))
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        np.testing.assert_array_equal((bundle.source("onnx") or {})["fisher"], fisher)
        assert "fisher" not in (bundle.source("tflite") or {})


@pytest.mark.parametrize(
    ("fisher", "head", "message"),
    [
        (np.full((K, D + 1), -1e-9, np.float32), True, "Fisher information of at least 0"),
        (np.full((K, D + 1), np.inf, np.float32), True, "finite numbers in 'fisher'"),
        (np.ones((K, D), np.float32), True, "expected 'fisher' as"),
        (np.ones((K, D + 1)), True, "expected 'fisher' as"),
        (np.ones((K, D + 1), np.float32), False, "expected the arrays"),
    ],
)
def test_fisher_information_that_cannot_be_is_refused(
    tmp_path: Path, fisher: NDArray[np.generic], head: bool, message: str
) -> None:
    """Below 0, not finite, of another shape or type, or of no head."""
    made = content(source={**(content().source or {}), "fisher": fisher})
    with pytest.raises(BundleFormatError, match=message):
        write(tmp_path / "a.acc", made if head else dataclasses.replace(made, head=None))


def test_a_verdict_comes_back(tmp_path: Path) -> None:
    """Beside a shipped head; a variant without has none."""
    write(tmp_path / "a.acc", content(novelty=verdict()), content("tflite"))
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        found = bundle.novelty("onnx")
        assert found is not None
        assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in verdict().items()}
        assert bundle.novelty("tflite") is None


VERDICTS: dict[str, tuple[dict[str, NDArray[np.generic]], str]] = {
    "NaN": ({"mean": np.full((K, 2), np.nan, np.float32)}, "finite numbers in 'novelty.mean'"),
    "an infinite threshold": ({"numbers": np.array([np.inf, 0.05, 40])}, "finite numbers in 'novelty.numbers'"),
    "another width": ({"centre": np.ones(D + 1, np.float32)}, "expected 'novelty.centre' as"),
    "float64": ({"weight": np.ones((2, D))}, "expected 'novelty.weight' as"),
    "one array more": ({"more": np.ones(1)}, "expected the arrays"),
    "other classes": ({"mean": np.ones((2, 2), "f4"), "offset": np.ones(2, "f4")}, "of 3 classes, found weight"),
    "an offset less": ({"offset": np.ones(2, np.float32)}, "of 3 classes, found weight"),
    "no discriminant": (
        {"weight": np.ones((0, D), "f4"), "span": np.ones((0, 0), "f4"), "mean": np.ones((K, 0), "f4")},
        "of 3 classes, found weight",
    ),
    "more discriminants than dimensions": (
        {"weight": np.ones((D + 1, D), "f4"), "span": np.ones((D + 1, D + 1), "f4"), "mean": np.ones((K, D + 1), "f4")},
        "of 3 classes, found weight",
    ),
    "a span of other discriminants": ({"span": np.ones((2, 3), np.float32)}, "of 3 classes, found weight"),
    "a scale of 0": ({"scale": np.r_[np.ones(D - 1, "f4"), np.zeros(1, "f4")]}, "scales above 0, found 0"),
    "negative scales": ({"scale": np.full(D, -1, np.float32)}, "scales above 0, found -1"),
    "a rate of 1": ({"numbers": np.array([1.5, 1, 40])}, "a rate between 0 and 1"),
    "a rate below 0": ({"numbers": np.array([1.5, -0.05, 40])}, "a rate between 0 and 1"),
    "half a sample": ({"numbers": np.array([1.5, 0.05, 0.5])}, "a number of samples, found 0.05 and 0.5"),
    "fewer samples than none": ({"numbers": np.array([1.5, 0.05, -1])}, "a number of samples"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_a_verdict_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    """Each of these alone: not finite, of other shapes, types or names, or numbers that give no score."""
    changes, message = VERDICTS[name]
    with pytest.raises(BundleFormatError, match=message):
        write(tmp_path / "a.acc", content(novelty=verdict(**changes)))


def test_a_verdict_is_that_of_a_head(tmp_path: Path) -> None:
    """Without a head, for regression or without classes there is nothing that it could be of."""
    with pytest.raises(BundleFormatError, match="beside a head that was shipped for classification"):
        write(tmp_path / "a.acc", content(head=None, novelty=verdict()))
    with pytest.raises(BundleFormatError, match="beside a head that was shipped for classification"):
        write(tmp_path / "a.acc", content(source=None, novelty=verdict()), task="regression")
    with pytest.raises(BundleFormatError, match="expected the members"):
        write(tmp_path / "a.acc", content(head=None, source=None, novelty=verdict()), classes=[])


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """A bundle can be made again and compared."""
    write(tmp_path / "a.acc", content("onnx"), content("tflite"))
    write(tmp_path / "b.acc", content("onnx"), content("tflite"))
    assert (tmp_path / "a.acc").read_bytes() == (tmp_path / "b.acc").read_bytes()


def test_a_runtime_that_is_not_there(tmp_path: Path) -> None:
    """Asking for a variant that the bundle has not says which it has."""
    write(tmp_path / "a.acc")
    with Bundle(tmp_path / "a.acc") as bundle:
        for ask in (bundle.variant, bundle.backbone):
            with pytest.raises(BundleFormatError, match=r"a backbone for 'tflite', found \['onnx'\]\. Open it"):
                ask("tflite")


def test_an_existing_bundle_stays(tmp_path: Path) -> None:
    """Nothing is overwritten unless said."""
    write(tmp_path / "a.acc")
    before = (tmp_path / "a.acc").read_bytes()
    with pytest.raises(OutputExistsError, match="is there already"):
        write(tmp_path / "a.acc", licence="MIT")
    assert (tmp_path / "a.acc").read_bytes() == before
    write(tmp_path / "a.acc", licence="MIT", overwrite=True)
    with Bundle(tmp_path / "a.acc") as bundle:
        assert bundle.manifest.licence == "MIT"


WRONG: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("head of other classes", {"head": LinearLayer(np.ones((2, D), "f4"), np.ones(2, "f4"))}, {}),
    ("head of float64", {"head": LinearLayer(np.ones((K, D)), np.ones(K, "f4"))}, {}),  # type: ignore[arg-type]
    ("head with NaN", {"head": LinearLayer(np.full((K, D), np.nan, "f4"), np.ones(K, "f4"))}, {}),
    ("code of another width", {"code": LatentCode(np.ones(4, "f4"), np.ones(4, "f4"))}, {}),
    ("code with scale 0", {"code": LatentCode(np.zeros(D, "f4"), np.ones(D, "f4"))}, {}),
    ("conformance of other frames", {"conformance": Conformance(np.ones((2, 3, 2), "f4"), np.ones((2, D), "f4"))}, {}),
    ("fewer latents", {"conformance": Conformance(np.ones((2, 4, 2), "f4"), np.ones((1, D), "f4"))}, {}),
    ("source of other names", {"source": {"count": np.ones(K)}}, {}),
    ("source of another width", {"source": {"count": np.ones(K), "sum": np.ones((K, 4)), "moment": np.ones(15)}}, {}),
    ("tolerance NaN", {"tolerance": float("nan")}, {}),
    (
        "a head of no class",
        {"head": LinearLayer(np.ones((0, D), "f4"), np.ones(0, "f4")), "source": None},
        {"classes": []},
    ),
    (
        "statistics of no class",
        {"head": None, "source": {"count": np.ones(0), "sum": np.ones((0, D)), "moment": np.ones(15)}},
        {"classes": []},
    ),
    ("a class twice", {}, {"classes": ["a", "b", "a"]}),
    ("an empty class name", {}, {"classes": ["a", "", "c"]}),
    ("taps with a gap", {}, {"taps": [Tap("pool", 1, D)]}),
    ("no tap", {}, {"taps": []}),
    ("empty range", {}, {"input": InputSpec((4, 2), "float32", (1, 1), ("a", "b"))}),
    ("too few axes", {}, {"input": InputSpec((4, 2), "float32", (0, 1), ("a",))}),
    ("a lone surrogate", {}, {"licence": "\ud800"}),
    ("a path as provenance", {}, {"provenance": {"model": Path("model.pt")}}),
]


@pytest.mark.parametrize(("changes", "others"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_would_not_open_is_not_written(
    tmp_path: Path, changes: dict[str, Any], others: dict[str, Any], overwrite: bool
) -> None:
    """Wrong content leaves no file and no part file, and an older bundle under that name stays."""
    target = tmp_path / "a.acc"
    if overwrite:
        write(target)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(AcclimateError, match=r"expected .*found "):
        write(target, content(**changes), overwrite=overwrite, **others)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_two_variants_for_one_runtime(tmp_path: Path) -> None:
    """A runtime has one variant."""
    with pytest.raises(BundleFormatError, match="variants: expected at least one, each runtime once, found"):
        write(tmp_path / "a.acc", content(), content())


def test_hash_is_the_one_that_the_page_says(tiny_bundle: Path, forgery: ModuleType) -> None:
    """An independent computation from the page gives the hashes of the checked-in bundle."""
    members = forgery.members_of(tiny_bundle)
    with Bundle(tiny_bundle) as bundle:
        spec = dataclasses.asdict(bundle.manifest.input)
        for variant in bundle.manifest.variants:
            assert variant.hash == forgery.variant_hash(members, spec, variant.runtime)
        for name, member in bundle.manifest.members.items():
            assert member.sha256 == hashlib.sha256(members[name]).hexdigest()


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.data())
def test_hash_changes_with_whatever_changes_codes(data: st.DataObject) -> None:
    """One byte of the backbone, one number of the code, or any part of the input: another store."""
    original = variant_hash(b"backbone", CODE, SPEC)
    assert variant_hash(b"backbone", LatentCode(CODE.scale.copy(), CODE.offset.copy()), SPEC) == original
    other = data.draw(st.binary(max_size=9).filter(lambda b: b != b"backbone"))
    assert variant_hash(other, CODE, SPEC) != original
    place, value = data.draw(st.integers(0, D - 1)), np.float32(data.draw(numbers))
    for part in ("scale", "offset"):
        array = getattr(CODE, part).copy()
        if array[place] != value:
            array[place] = value
            assert variant_hash(b"backbone", dataclasses.replace(CODE, **{part: array}), SPEC) != original
    assert variant_hash(b"backbone", LatentCode(CODE.offset, CODE.scale), SPEC) != original


def test_hash_changes_with_the_input_and_with_nothing_else() -> None:
    """Shape, type, range and axes count; how their numbers are spelled does not."""
    original = variant_hash(b"", CODE, SPEC)
    others = ({"shape": (2, 4)}, {"dtype": "uint8"}, {"range": (-1, 2)}, {"axes": ("channel", "time")})
    assert len({original, *(variant_hash(b"", CODE, dataclasses.replace(SPEC, **o)) for o in others)}) == 5
    spelled = InputSpec((np.int64(4), 2), "float32", (np.float32(-1), 1.0), ["time", "channel"])  # type: ignore[arg-type]
    assert variant_hash(b"", CODE, spelled) == original
    zero, minus_zero = (dataclasses.replace(SPEC, range=(bound, 1)) for bound in (0.0, -0.0))
    assert variant_hash(b"", CODE, zero) == variant_hash(b"", CODE, minus_zero)
