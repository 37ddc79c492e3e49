"""Bundles altered by somebody who makes every hash fit again: an error of ours, and the store stays as it was."""

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import installed
from acclimate.errors import (
    AcclimateError,
    BackendError,
    BundleFormatError,
    BundleIntegrityError,
    ConformanceError,
    MissingExtraError,
)
from acclimate.manifest import RUNTIMES, Runtime

HELPFUL = re.compile(
    r"expected .+found .+\. .*(again|Install|Look|[Oo]n x86|start a new store)|cannot load the backbone: .+again",
    re.DOTALL,
)
Change = Callable[[dict[str, bytes], ModuleType, Runtime], Mapping[str, bytes | None]]

pytestmark = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(r, marks=pytest.mark.skipif(installed(r) is None, reason=f"no {r} runtime installed"))
        for r in RUNTIMES
    ],
)


def rewritten(members: Mapping[str, bytes], name: str, **arrays: Any) -> dict[str, bytes | None]:
    """Return a member of arrays with some of them replaced."""
    old: dict[str, NDArray[Any]] = safetensors.numpy.load(members[name])
    changed = {key: change(old[key]) if callable(change) else change for key, change in arrays.items()}
    return {name: safetensors.numpy.save({**old, **changed})}


def filled(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a function that gives an array of the same type and shape with one value."""
    return lambda array: np.full_like(array, value)


def another(shape: tuple[int, ...]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a function that gives zeros of the same type and another shape."""
    return lambda array: np.zeros(shape, array.dtype)


OPENING: dict[str, tuple[type[AcclimateError], Change]] = {
    "garbage as backbone": (BackendError, lambda m, _, r: {f"{r}/backbone.{r}": np.random.default_rng(0).bytes(5000)}),
    "empty backbone": (BackendError, lambda m, _, r: {f"{r}/backbone.{r}": b""}),
    "half a backbone": (BackendError, lambda m, _, r: {f"{r}/backbone.{r}": m[f"{r}/backbone.{r}"][:6000]}),
    "the other runtime's": (
        BackendError,
        lambda m, _, r: {f"{r}/backbone.{r}": m["tflite/backbone.tflite" if r == "onnx" else "onnx/backbone.onnx"]},
    ),
    "backbone of other frames": (
        BackendError,
        lambda m, o, r: {f"{r}/backbone.{r}": o.backbone() if r == "onnx" else m[f"{r}/backbone.{r}"][:-4]},
    ),
    "latent code of another width": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/latent.safetensors", scale=another((3,)), offset=another((3,))),
    ),
    "scale 0": (BundleFormatError, lambda m, _, r: rewritten(m, f"{r}/latent.safetensors", scale=filled(0))),
    "scale NaN": (BundleFormatError, lambda m, _, r: rewritten(m, f"{r}/latent.safetensors", scale=filled(np.nan))),
    "no latent code": (BundleFormatError, lambda m, _, r: {f"{r}/latent.safetensors": None}),
    "one member more": (BundleFormatError, lambda m, _, r: {f"{r}/more.safetensors": b""}),
    "a member elsewhere": (BundleFormatError, lambda m, _, r: {"other/backbone.onnx": b""}),
}
# Read only where there is no adapted head yet, or where this machine has not been checked yet.
OPENING_FIRST: dict[str, tuple[type[AcclimateError], Change]] = {
    "head of other classes": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/head.safetensors", weight=another((9, 52)), bias=another((9,))),
    ),
    "infinite head": (BundleFormatError, lambda m, _, r: rewritten(m, f"{r}/head.safetensors", bias=filled(np.inf))),
    "no array at all": (BundleFormatError, lambda m, _, r: {f"{r}/head.safetensors": b""}),
    "verdict NaN": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/novelty.safetensors", **{"novelty.mean": filled(np.nan)}),
    ),
    "verdict with negative scales": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/novelty.safetensors", **{"novelty.scale": filled(-1)}),
    ),
    "verdict of other classes": (
        BundleFormatError,
        lambda m, _, r: rewritten(
            m, f"{r}/novelty.safetensors", **{"novelty.mean": another((9, 3)), "novelty.offset": another((9,))}
        ),
    ),
    "verdict with an array more": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/novelty.safetensors", more=np.zeros(1, np.float32)),
    ),
    "other frames to check with": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/conformance.safetensors", input=another((2, 9, 9, 1))),
    ),
    "promises that do not hold": (
        ConformanceError,
        lambda m, _, r: rewritten(m, f"{r}/conformance.safetensors", latent=filled(7)),
    ),
}
ADAPTING: dict[str, tuple[type[AcclimateError], Change]] = {
    "statistics of another width": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/source.safetensors", sum=another((4, 5))),
    ),
    "statistics NaN": (BundleFormatError, lambda m, _, r: rewritten(m, f"{r}/source.safetensors", sum=filled(np.nan))),
    "statistics of no class": (
        BundleFormatError,
        lambda m, _, r: rewritten(m, f"{r}/source.safetensors", count=another((0,)), sum=another((0, 52))),
    ),
    "infinite head": (BundleFormatError, lambda m, _, r: rewritten(m, f"{r}/head.safetensors", bias=filled(np.inf))),
}


@pytest.fixture
def store(tiny_bundle: Path, scenes: ModuleType, tmp_path: Path, runtime: Runtime) -> Path:
    """A store with samples and an adapted head in use."""
    path = tmp_path / "device.db"
    with Learner.open(tiny_bundle, path, runtime=runtime, threads=1) as learner:
        learner.observe(*scenes.frames(40, seed=1, shift=1.0))
        assert learner.adapt(on_insufficient="apply").version == 1
    return path


def rows(path: Path) -> list[str]:
    """Return everything in a store."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


@pytest.mark.parametrize("name", OPENING)
def test_an_altered_bundle_does_not_open(
    tiny_bundle: Path,
    store: Path,
    forgery: ModuleType,
    onnx_by_hand: ModuleType,
    tmp_path: Path,
    runtime: Runtime,
    name: str,
) -> None:
    """Hashes are right, content is not: named, and nothing happens to the store, nor to a new one."""
    error, change = OPENING[name]
    members = forgery.members_of(tiny_bundle)
    path = forgery.forge(tiny_bundle, tmp_path / "forged.acc", change(members, onnx_by_hand, runtime))
    before = rows(store)
    for place in (store, tmp_path / "new.db", None):
        with pytest.raises(error) as caught:
            Learner.open(path, place, runtime=runtime, threads=1)
        assert HELPFUL.search(str(caught.value)), str(caught.value)
    assert rows(store) == before
    with Learner.open(tiny_bundle, store, runtime=runtime, threads=1) as learner:
        assert [version.number for version in learner.versions() if version.current] == [1]


@pytest.mark.parametrize("name", OPENING_FIRST)
def test_an_altered_bundle_does_not_open_for_the_first_time(
    tiny_bundle: Path, forgery: ModuleType, onnx_by_hand: ModuleType, tmp_path: Path, runtime: Runtime, name: str
) -> None:
    """A shipped head or verdict that is none, and test inputs that the backbone does not answer as promised."""
    error, change = OPENING_FIRST[name]
    members = forgery.members_of(tiny_bundle)
    path = forgery.forge(tiny_bundle, tmp_path / "forged.acc", change(members, onnx_by_hand, runtime))
    for place in (tmp_path / "new.db", None):
        with pytest.raises(error) as caught:
            Learner.open(path, place, runtime=runtime, threads=1)
        assert HELPFUL.search(str(caught.value)), str(caught.value)


@pytest.mark.parametrize("name", ADAPTING)
def test_what_is_read_when_adapting_stops_only_that(
    tiny_bundle: Path, store: Path, forgery: ModuleType, tmp_path: Path, runtime: Runtime, name: str
) -> None:
    """Statistics and shipped head are read when they are needed; the head in use stays, and goes on predicting."""
    error, change = ADAPTING[name]
    path = forgery.forge(
        tiny_bundle, tmp_path / "forged.acc", change(forgery.members_of(tiny_bundle), forgery, runtime)
    )
    before = rows(store)
    frames = np.zeros((1, 8, 8, 1), np.uint8)
    with Learner.open(path, store, runtime=runtime, threads=1) as learner:
        predicted = learner.predict(frames).probabilities
        with pytest.raises(error, match=r"expected .*, found .*Get the file again"):
            learner.adapt(on_insufficient="apply")
        np.testing.assert_array_equal(learner.predict(frames).probabilities, predicted)
    assert rows(store) == before


def test_a_content_that_was_swapped_without_its_hash(
    tiny_bundle: Path, store: Path, forgery: ModuleType, tmp_path: Path, runtime: Runtime
) -> None:
    """Less effort by the attacker: each of member hash and variant hash is enough to notice."""
    name = f"{runtime}/backbone.{runtime}"
    members = forgery.members_of(tiny_bundle)
    old = json.loads(members["manifest.json"])
    other = {name: members[name] + b"\0"}
    stale: list[Callable[[dict[str, Any]], object]] = [
        lambda m: m["members"][name].update(old["members"][name], size=len(other[name])),
        lambda m: m.update(variants=old["variants"]),
    ]
    for edit in stale:
        path = forgery.forge(tiny_bundle, tmp_path / "forged.acc", other, edit)
        with pytest.raises(
            BundleIntegrityError, match=r"expected .* found \w{12}\.\.\. The file was .*altered: get it"
        ):
            Learner.open(path, store, runtime=runtime, threads=1)


def test_members_and_sizes_that_the_manifest_does_not_list(
    tiny_bundle: Path, forgery: ModuleType, tmp_path: Path, runtime: Runtime
) -> None:
    """The list of members is compared with the archive both ways when the bundle is opened."""
    name = f"{runtime}/head.safetensors"
    edits: list[Callable[[dict[str, Any]], object]] = [
        lambda m: m["members"].pop(name),
        lambda m: m["members"][name].update(size=1),
        lambda m: m["members"].update({"onnx/tail.onnx": {"sha256": "0" * 64, "size": 1}}),
        lambda m: m["variants"].pop(),
    ]
    for edit in edits:
        path = forgery.forge(tiny_bundle, tmp_path / "forged.acc", edit=edit)
        with pytest.raises(BundleFormatError, match=r"expected the members \[.*as the manifest lists them, found \["):
            Bundle(path)


def test_another_world_in_the_manifest(
    tiny_bundle: Path, store: Path, forgery: ModuleType, tmp_path: Path, runtime: Runtime
) -> None:
    """Frames, taps or classes that do not fit the members: refused when they meet, and the store stays."""
    before = rows(store)
    edits: list[Callable[[dict[str, Any]], object]] = [
        lambda m: m["input"].update(shape=[9, 9, 1]),
        lambda m: m["input"].update(dtype="float32"),
        lambda m: m["input"].update(range=[0, 100]),
        lambda m: m["taps"].pop(),
        lambda m: m["classes"].append("one more"),
    ]
    for edit in edits:
        path = forgery.forge(tiny_bundle, tmp_path / "forged.acc", edit=edit)
        with pytest.raises(AcclimateError) as caught:
            Learner.open(path, store, runtime=runtime, threads=1)
        assert not isinstance(caught.value, MissingExtraError)
        assert HELPFUL.search(str(caught.value)), str(caught.value)
    assert rows(store) == before
