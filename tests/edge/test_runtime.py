"""Which runtime is chosen, and what every runtime must do with a backbone: one contract for all of them."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.edge.runtime import runtime as runtimes
from acclimate.edge.runtime.runtime import check_latents, choose_runtime, installed, load_backbone, usable_cores
from acclimate.errors import BackendError, BundleFormatError, MissingExtraError
from acclimate.manifest import RUNTIMES, InputSpec, Runtime

BOTH: tuple[Runtime, ...] = RUNTIMES
each_runtime = pytest.mark.parametrize(
    "runtime",
    [pytest.param(r, marks=pytest.mark.skipif(installed(r) is None, reason=f"no {r} runtime installed")) for r in BOTH],
)


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says which runtimes count as installed."""

    def only(*names: str) -> None:
        monkeypatch.setattr(runtimes, "installed", lambda runtime: runtime if runtime in names else None)

    return only


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    """The checked-in bundle, which has both variants."""
    return Bundle(tiny_bundle)


def test_onnx_comes_first_and_what_is_missing_is_passed_over(bundle: Bundle, have: Callable[..., None]) -> None:
    """Without a store: the first that is installed, ONNX Runtime before LiteRT."""
    for names, chosen in ((BOTH, "onnx"), (("onnx",), "onnx"), (("tflite",), "tflite")):
        have(*names)
        assert choose_runtime(bundle) == chosen


def test_a_store_decides(bundle: Bundle, have: Callable[..., None]) -> None:
    """Latents differ between runtimes, so a store stays with the one that it was made with."""
    have(*BOTH)
    for runtime in BOTH:
        assert choose_runtime(bundle, "auto", bundle.variant(runtime).hash) == runtime
    assert choose_runtime(bundle, "auto", "hash of another backbone") == "onnx"


def test_a_store_of_a_runtime_that_is_gone(bundle: Bundle, have: Callable[..., None]) -> None:
    """The other runtime could not go on with that store, so the error names the one to install."""
    have("onnx")
    with pytest.raises(
        MissingExtraError, match=r"needs an inference runtime for tflite.*pip install 'acclimate\[tflite"
    ):
        choose_runtime(bundle, "auto", bundle.variant("tflite").hash)


def test_a_named_runtime_is_taken_or_refused(bundle: Bundle, have: Callable[..., None]) -> None:
    """Naming one overrides the order; if it is not installed the message says how to install it."""
    have(*BOTH)
    assert choose_runtime(bundle, "tflite") == "tflite"
    have("onnx")
    with pytest.raises(MissingExtraError, match=r"pip install 'acclimate\[tflite\]'$"):
        choose_runtime(bundle, "tflite")
    have()
    with pytest.raises(MissingExtraError, match=r"'acclimate\[onnx\]' or pip install 'acclimate\[tflite\]'$"):
        choose_runtime(bundle)
    with pytest.raises(BackendError, match=r"expected runtime 'auto' or one of .*, found 'tensorflow'\. Name one"):
        choose_runtime(bundle, "tensorflow")  # type: ignore[arg-type]


def test_a_variant_that_the_bundle_has_not(tiny_bundle: Path, forgery: ModuleType, tmp_path: Path) -> None:
    """A bundle for one runtime only says so."""
    names = [name for name in forgery.members_of(tiny_bundle) if name.startswith("tflite/")]
    path = forgery.forge(tiny_bundle, tmp_path / "a.acc", dict.fromkeys(names), lambda m: m["variants"].pop())
    with (
        Bundle(path) as only,
        pytest.raises(BundleFormatError, match=r"expected a backbone for 'tflite', found \['onnx'\]"),
    ):
        choose_runtime(only, "tflite")


def test_a_runtime_that_is_not_installed_does_not_load(bundle: Bundle, have: Callable[..., None]) -> None:
    """Asked for directly, too."""
    have()
    for runtime in BOTH:
        with pytest.raises(
            MissingExtraError, match=rf"running a backbone for {runtime} needs .* 'acclimate\[{runtime}\]'$"
        ):
            load_backbone(b"", runtime, bundle.manifest.input, 1)


def test_cores_are_those_that_the_process_may_use() -> None:
    """At least one, and no more than the machine has."""
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("latents", "match"),
    [
        (np.zeros((2, 3), np.float64), r"found that x gives \(2, 3\) float64"),
        (np.zeros((1, 3), np.float32), r"found that x gives \(1, 3\) float32"),
        (np.zeros((2, 4), np.float32), r"found that x gives \(2, 4\) float32"),
        (np.zeros((2, 3, 1), np.float32), r"found that x gives \(2, 3, 1\) float32"),
        (np.array([[0, 1, 2], [0, np.nan, 1]], np.float32), "found that x gives NaN or infinity for frame 1 of 2"),
        (np.array([[-np.inf, 1, 2], [0, 1, 1]], np.float32), "found that x gives NaN or infinity for frame 0 of 2"),
    ],
)
def test_latents_that_are_none(latents: NDArray[Any], match: str) -> None:
    """Type, shape and values of what a backbone gives are checked before anything is stored."""
    with pytest.raises(BackendError, match=rf"expected .*latents.*{match}"):
        check_latents(latents, 2, 3, "x")


@each_runtime
def test_conformance_vectors_hold(bundle: Bundle, runtime: Runtime) -> None:
    """The checked-in backbone gives what the bundle promises, within its tolerance, at any batch size."""
    conformance, variant = bundle.conformance(runtime), bundle.variant(runtime)
    embedder = load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, bundle.manifest.width, 1)
    scale = np.abs(conformance.latent).max()
    assert len(conformance.input) >= 2
    for size in (1, len(conformance.input)):
        parts = [embedder.embed(conformance.input[i : i + size]) for i in range(0, len(conformance.input), size)]
        found = np.concatenate(parts)
        assert found.dtype == np.float32
        assert found.shape == conformance.latent.shape
        assert np.abs(found - conformance.latent).max() <= variant.tolerance * scale
    assert embedder.description.split()[0] in ("onnxruntime", "ai_edge_litert", "tflite_runtime")


@each_runtime
def test_batches_do_not_matter(bundle: Bundle, scenes: ModuleType, runtime: Runtime) -> None:
    """One by one, all at once, and growing and shrinking batches give the same latents."""
    frames, _ = scenes.frames(13, seed=3)
    embedder = load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, bundle.manifest.width, 1)
    whole = embedder.embed(frames)
    for sizes in ([1] * 13, [2, 5, 1, 4, 1], [13]):
        ends = np.cumsum(sizes)
        parts = [embedder.embed(frames[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)
    assert whole.base is None or not np.shares_memory(whole, embedder.embed(frames))


@each_runtime
def test_several_threads_may_call(bundle: Bundle, scenes: ModuleType, runtime: Runtime) -> None:
    """Calls from four threads at once, of different sizes, give what calls in line give."""
    embedder = load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, bundle.manifest.width, 2)
    batches = [scenes.frames(1 + seed % 4, seed)[0] for seed in range(24)]
    expected = [embedder.embed(batch) for batch in batches]
    found: list[Any] = [None] * len(batches)

    def work(first: int) -> None:
        for i in range(first, len(batches), 4):
            found[i] = embedder.embed(batches[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@each_runtime
def test_another_backbone_than_the_manifest_says(bundle: Bundle, runtime: Runtime) -> None:
    """Width, frame shape and type are compared with the model's own before it is used."""
    content, spec, width = bundle.backbone(runtime), bundle.manifest.input, bundle.manifest.width
    wrong: list[tuple[InputSpec, int]] = [
        (spec, width + 1),
        (replace(spec, shape=(8, 9, 1)), width),
        (replace(spec, shape=(8, 8)), width),
        (replace(spec, dtype="float32"), width),
    ]
    for other, d in wrong:
        with pytest.raises(BackendError, match=rf"expected a backbone from \(n, 8.* to \(n, {d}\) float32, found \["):
            load_backbone(content, runtime, other, d, 1)


@each_runtime
def test_damaged_files_do_not_load(bundle: Bundle, runtime: Runtime) -> None:
    """Empty, cut at forty places, of another kind, garbage: an error of ours."""
    content, spec, width = bundle.backbone(runtime), bundle.manifest.input, bundle.manifest.width
    other = bundle.backbone("tflite" if runtime == "onnx" else "onnx")
    broken = [content[:length] for length in np.linspace(0, len(content) - 1, 40).astype(int)]
    for one in (*broken, other, b"garbage" * 1000, bytes(1000)):
        with pytest.raises(BackendError, match=r"expected .*found|cannot load the backbone"):
            load_backbone(one, runtime, spec, width, 1)


@each_runtime
def test_at_least_one_thread(bundle: Bundle, runtime: Runtime) -> None:
    """Zero threads would mean "all of the machine" to some runtimes."""
    for threads in (0, -1):
        with pytest.raises(BackendError, match=rf"expected at least 1 thread, found {threads}\. Leave it out"):
            load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, bundle.manifest.width, threads)
