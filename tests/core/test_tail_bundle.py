"""Bundles with a tail: what they hold comes back, its hash covers the map's code, and damaged members are refused."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate import tail_content
from acclimate.bundle import Bundle, Conformance, variant_hash
from acclimate.bundle_members import tail_files
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.errors import AcclimateError, BundleFormatError
from acclimate.latent import LatentCode
from acclimate.manifest import RUNTIMES, InputSpec, Manifest, Runtime, TailCut, Tap, Variant
from acclimate.map_code import MapCode
from acclimate.tail_content import TailContent
from acclimate.tail_spec import Parameter, Spec

D, C = 5, 4
CUT = TailCut("blocks.2", (C, 3, 2), 1)
MAPS = MapCode(np.linspace(0.1, 1, C, dtype=np.float32), np.linspace(-1, 1, C, dtype=np.float32), CUT.shape, CUT.axis)


def tail(k: int, *, fisher: bool = False) -> TailContent:
    """Return a tail for k classes; no runtime reads these models."""
    draw = np.random.default_rng(k)
    shapes = {"conv.weight": (6, C, 3, 3), "head.weight": (k, 6), "head.bias": (k,)}
    values = {name: draw.random(shape, np.float32) for name, shape in shapes.items()}
    spec = Spec(
        *(CUT.shape, k, "sgd", "none", ("learning_rate", "momentum"), ("momentum",)),
        tuple(Parameter(name, shape) for name, shape in shapes.items()),
        *("head.weight", "head.bias"),
    )
    return TailContent(b"forward", b"step", spec, values, dict(values) if fisher else None, MAPS)


def write(
    path: Path, content: TailContent | None, k: int = 3, cut: TailCut | None = CUT, beside: TailContent | None = None
) -> Manifest:
    """Write a bundle with an ONNX variant with a tail, and a TFLite variant without, or with one beside it."""
    code = LatentCode(np.ones(D, np.float32), np.zeros(D, np.float32))
    conformance = Conformance(np.zeros((2, 4), np.float32), np.zeros((2, D), np.float32))
    onnx = VariantContent("onnx", False, b"backbone", code, conformance, 0.1, tail=content)
    return write_bundle(
        path,
        classes=[f"class {i}" for i in range(k)],
        input=InputSpec((4,), "float32", (-1, 1), ("time",)),
        cut="pool",
        taps=[Tap("pool", 0, D)],
        variants=[onnx, replace(onnx, runtime="tflite", tail=beside)],
        tail=cut,
    )


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("fisher", [False, True])
def test_it_comes_back(tmp_path: Path, k: int, fisher: bool) -> None:
    """Models, spec, parameters, Fisher diagonals and map code, with and without shipped classes; for ONNX alone."""
    content = tail(k, fisher=fisher)
    manifest = write(tmp_path / "a.acc", content, k)
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        assert bundle.manifest == manifest
        assert bundle.manifest.tail == CUT
        found = bundle.tail("onnx")
        assert found is not None
        assert (found.forward, found.step, found.spec) == (b"forward", b"step", content.spec)
        assert list(found.parameters) == [p.name for p in content.spec.parameters]
        for name, values in content.parameters.items():
            np.testing.assert_array_equal(found.parameters[name], values)
            if fisher:
                assert found.fisher is not None
                np.testing.assert_array_equal(found.fisher[name], values)
        assert fisher or found.fisher is None
        np.testing.assert_array_equal(found.code.scale, MAPS.scale)
        np.testing.assert_array_equal(found.code.offset, MAPS.offset)
        assert (found.code.shape, found.code.axis) == (CUT.shape, CUT.axis)
        assert bundle.tail("tflite") is None
        assert bundle.map_code("tflite") is None


@pytest.mark.parametrize("fisher", [False, True])
def test_both_variants_may_have_one(tmp_path: Path, fisher: bool) -> None:
    """Each with models of its own, named after its runtime, and its own hash over the code of its maps."""
    content = tail(3, fisher=fisher)
    other = replace(content, forward=b"ahead", step=b"on", runtime="tflite", code=replace(MAPS, scale=2 * MAPS.scale))
    manifest = write(tmp_path / "a.acc", content, beside=other)
    assert len({variant.hash for variant in manifest.variants}) == 2
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        found, first = bundle.tail("tflite"), bundle.tail("onnx")
        assert found is not None
        assert first is not None
        assert (found.runtime, found.forward, found.step) == ("tflite", b"ahead", b"on")
        assert (first.runtime, first.forward, first.step) == ("onnx", b"forward", b"step")
        assert found.spec == first.spec
        assert (found.fisher is None) == (not fisher)
        code = bundle.map_code("tflite")
        assert code is not None
        np.testing.assert_array_equal(code.scale, 2 * MAPS.scale)


@pytest.mark.parametrize("member", tail_files("tflite"))
def test_a_part_of_a_tail_is_refused(tail_bundle: Path, forgery: ModuleType, tmp_path: Path, member: str) -> None:
    """A variant has all members of a tail or none, and models of its own runtime alone."""
    with pytest.raises(BundleFormatError, match="expected the members"):
        Bundle(forgery.forge(tail_bundle, tmp_path / "a.acc", {f"tflite/{member}": None}))
    if member.endswith(".tflite"):
        wrong = f"tflite/{member.replace('tflite', 'onnx')}"
        content = forgery.members_of(tail_bundle)[f"tflite/{member}"]
        with pytest.raises(BundleFormatError, match="expected the members"):
            Bundle(forgery.forge(tail_bundle, tmp_path / "b.acc", {f"tflite/{member}": None, wrong: content}))


def test_bundles_without_a_tail_are_as_before(tiny_bundle: Path) -> None:
    """Their manifest has no such key, so that equal manifests keep equal bytes."""
    with Bundle(tiny_bundle) as bundle:
        assert bundle.manifest.tail is None
        assert b'"tail"' not in bundle.manifest.to_json()
        assert bundle.tail("onnx") is None
        assert bundle.map_code("onnx") is None


def test_the_hash_covers_how_maps_are_stored(tmp_path: Path) -> None:
    """Another scale, offset or axis of maps is another variant, since a store's codes would mean something else."""
    code, spec = LatentCode(np.ones(D, np.float32), np.zeros(D, np.float32)), InputSpec((4,), "float32", (0, 1), ("t",))
    others = [
        None,
        MAPS,
        replace(MAPS, scale=2 * MAPS.scale),
        replace(MAPS, offset=2 * MAPS.offset),
        replace(MAPS, axis=2),
    ]
    assert len({variant_hash(b"backbone", code, spec, maps) for maps in others}) == len(others)
    found = write(tmp_path / "a.acc", tail(3)).variants
    assert found[0].hash != found[1].hash
    assert found[1].hash == variant_hash(b"backbone", code, InputSpec((4,), "float32", (-1, 1), ("time",)))


@pytest.mark.parametrize(
    ("content", "cut", "match"),
    [
        (tail(3), None, "expected the members"),
        (None, CUT, "expected the members"),
        (tail(2), CUT, "3 classes and the name of the head's weight"),
        (replace(tail(3), spec=replace(tail(3).spec, map=(C, 3, 3))), CUT, r"expected maps of shape \(4, 3, 2\)"),
        (replace(tail(3), spec=replace(tail(3).spec, weight=None, bias=None)), CUT, "the name of the head's weight"),
        (replace(tail(3), parameters={"head.weight": np.ones((3, 6), np.float32)}), CUT, "expected the arrays"),
        (replace(tail(3), code=replace(MAPS, scale=0 * MAPS.scale)), CUT, "scales above 0"),
        (replace(tail(3), code=replace(MAPS, scale=MAPS.scale[1:])), CUT, "expected 'scale'"),
        (tail(3), replace(CUT, axis=4), "an axis of 1 to 3"),
        (tail(3), replace(CUT, shape=(65_536, 65_536)), "at most 16,777,216 values"),
        (tail(3), replace(CUT, cut="a\nb"), "printable"),
    ],
)
def test_what_does_not_fit_is_not_written(
    tmp_path: Path, content: TailContent | None, cut: TailCut | None, match: str
) -> None:
    """Members without a cut and a cut without members, other classes, shapes, arrays and axes."""
    with pytest.raises(BundleFormatError, match=match):
        write(tmp_path / "a.acc", content, cut=cut)
    assert list(tmp_path.iterdir()) == []


def test_fisher_below_0_is_refused(tmp_path: Path) -> None:
    """A negative diagonal would pull away from the shipped weights."""
    content = tail(3, fisher=True)
    assert content.fisher is not None
    worse = {name: -values for name, values in content.fisher.items()}
    with pytest.raises(BundleFormatError, match="Fisher diagonals of at least 0"):
        write(tmp_path / "a.acc", replace(content, fisher=worse))


def test_a_tail_where_none_can_be() -> None:
    """Its loss is that of classes."""
    spec = InputSpec((4,), "float32", (0, 1), ("t",))
    variants = (Variant("onnx", False, "0" * 64, 0.1, 0.0),)
    manifest = Manifest("regression", ("a",), spec, "pool", (Tap("pool", 0, D),), variants, tail=CUT)
    with pytest.raises(BundleFormatError, match=r"manifest\.tail"):
        Manifest.from_json(manifest.to_json())


@pytest.mark.parametrize("with_members", [True, False])
def test_a_tail_for_litert_alone(tmp_path: Path, with_members: bool) -> None:
    """A bundle without an ONNX variant may have one; with a cut in its manifest it must."""
    code = LatentCode(np.ones(D, np.float32), np.zeros(D, np.float32))
    conformance = Conformance(np.zeros((2, 4), np.float32), np.zeros((2, D), np.float32))
    content = replace(tail(3), runtime="tflite") if with_members else None
    variant = VariantContent("tflite", False, b"backbone", code, conformance, 0.1, tail=content)

    def write_one() -> Manifest:
        return write_bundle(
            tmp_path / "a.acc",
            classes=["a", "b", "c"],
            input=InputSpec((4,), "float32", (-1, 1), ("time",)),
            cut="pool",
            taps=[Tap("pool", 0, D)],
            variants=[variant],
            tail=CUT,
        )

    if not with_members:
        with pytest.raises(BundleFormatError, match="expected the members"):
            write_one()
        return
    manifest = write_one()
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        found = bundle.tail("tflite")
        assert bundle.manifest == manifest
        assert found is not None
        assert (found.runtime, found.forward) == ("tflite", b"forward")


def test_a_model_of_absurd_size_is_not_read(
    tail_bundle: Path, forgery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is looked at before the member is."""
    monkeypatch.setattr(tail_content, "MAX_MODEL", 2_800)
    path = forgery.forge(tail_bundle, tmp_path / "a.acc")
    with Bundle(path) as bundle, pytest.raises(BundleFormatError, match=r"train.onnx: expected at most 2,800 bytes"):
        bundle.tail("onnx")


def _edited(content: bytes, edit: Callable[[dict[str, NDArray[Any]]], object]) -> bytes:
    arrays = safetensors.numpy.load(content)
    edit(arrays)
    return safetensors.numpy.save(arrays)


@pytest.mark.parametrize(
    ("member", "edit"),
    [
        ("map", lambda a: a.update(scale=-a["scale"])),
        ("map", lambda a: a.update(offset=a["offset"] * np.float32(np.nan))),
        ("map", lambda a: a.update(scale=a["scale"].astype(np.float64))),
        ("map", lambda a: a.update(more=a["scale"])),
        ("tail", lambda a: a.pop("head.bias")),
        ("tail", lambda a: a.update({"head.bias": a["head.bias"][:2]})),
        ("tail", lambda a: a.update({"head.weight": a["head.weight"] + np.float32(np.inf)})),
        ("tail", lambda a: a.update({"fisher/head.bias": a["head.bias"] ** 2})),
        ("tail", lambda a: a.update({"more": a["head.bias"]})),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tail_bundle: Path,
    forgery: ModuleType,
    tmp_path: Path,
    member: str,
    edit: Callable[[dict[str, NDArray[Any]]], object],
) -> None:
    """With right hashes all the way up."""
    name = f"onnx/{member}.safetensors"
    content = _edited(forgery.members_of(tail_bundle)[name], edit)
    path = forgery.forge(tail_bundle, tmp_path / "a.acc", {name: content})
    with Bundle(path) as bundle, pytest.raises(BundleFormatError, match=rf"{member}\.safetensors: expected"):
        bundle.verify()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runtime=st.sampled_from(RUNTIMES), member=st.sampled_from(tail_files("onnx")[2:]), data=st.data())
def test_any_byte_of_any_member(
    tail_bundle: Path, forgery: ModuleType, tmp_path: Path, runtime: Runtime, member: str, data: st.DataObject
) -> None:
    """Altered by somebody who makes the hashes fit: refused in words, or still a tail of the manifest's shapes."""
    content = bytearray(forgery.members_of(tail_bundle)[f"{runtime}/{member}"])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = forgery.forge(tail_bundle, tmp_path / "a.acc", {f"{runtime}/{member}": bytes(content[:cut])})
    try:
        with Bundle(path) as bundle:
            found = bundle.tail(runtime)
            bundle.backbone(runtime)
    except AcclimateError as error:
        if "expected" not in str(error):
            raise
        return
    assert found is not None
    assert {p.name: p.shape for p in found.spec.parameters} == {n: a.shape for n, a in found.parameters.items()}
    assert (found.code.scale > 0).all()


def test_the_checked_in_bundle_is_small_and_complete(tail_bundle: Path, scenes: ModuleType) -> None:
    """Three of the four classes, for both runtimes a map at the second stage and what may train; below 160 kB."""
    assert tail_bundle.stat().st_size < 160_000
    with Bundle(tail_bundle) as bundle:
        bundle.verify()
        assert bundle.manifest.classes == scenes.CLASSES[:3]
        assert bundle.manifest.tail == TailCut("stage2", (16, 4, 4), 1)
        for runtime in RUNTIMES:
            found = bundle.tail(runtime)
            assert found is not None
            assert found.spec.head == ("head.weight", "head.bias")
            assert json.load(io.BytesIO(bundle.read(f"{runtime}/tail.json")))["classes"] == 3
