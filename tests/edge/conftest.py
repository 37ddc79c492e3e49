"""What the tests of the device side share: problems for heads, variations of the tiny bundle, dumps of stores."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from acclimate.bundle import Bundle
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.edge import Learner
from acclimate.edge.heads import Problem, SourceTerm, Weights
from acclimate.edge.runtime.runtime import installed
from acclimate.edge.store.store import Store
from acclimate.manifest import RUNTIMES, Runtime

from .stores import CLASSES, WIDTH, Opener
from .tail_world import TRAINED_ON, open_tail

# A busy machine is slow, and that is no failure.
settings.register_profile("edge", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge")


@pytest.fixture(scope="session")
def sklearn() -> ModuleType:
    """Skip where scikit-learn, the oracle, is not installed: the device needs none."""
    found: ModuleType = pytest.importorskip("sklearn", reason="scikit-learn, the oracle, is not installed")
    return found


@dataclass(frozen=True)
class Blobs:
    """Gaussian classes with one covariance, so that linear discriminants are the best classifier.

    Args:
        k: Number of classes.
        m: Number of dimensions.
        apart: Distance scale of the class means, in standard deviations.
        seed: Draws means and covariance.
    """

    k: int = 3
    m: int = 5
    apart: float = 2.0
    seed: int = 0

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(n, m)`` samples and their classes; every class has at least ``n // k``."""
        world, draw = np.random.default_rng(self.seed), np.random.default_rng((self.seed, seed))
        mean = world.normal(size=(self.k, self.m)) * self.apart
        mixing = np.eye(self.m) + world.normal(size=(self.m, self.m)) / np.sqrt(self.m)
        y = draw.permutation(np.arange(n) % self.k)
        return mean[y] + draw.normal(size=(n, self.m)) @ mixing, y

    def problem(self, n: int, seed: int = 1) -> Problem:
        """Return samples alone."""
        return Problem(*self.draw(n, seed), self.k)

    def source(self, n: int, seed: int = 2) -> SourceTerm:
        """Return the statistics of other samples of the same classes."""
        x, y = self.draw(n, seed)
        mean = np.stack([x[y == c].mean(axis=0) for c in range(self.k)])
        centred = x - mean[y]
        return SourceTerm(np.bincount(y, minlength=self.k).astype(float), mean, centred.T @ centred)

    def full(self, n: int, n_source: int = 50) -> Problem:
        """Return samples with source and a prior."""
        draw = np.random.default_rng((self.seed, 3))
        prior = Weights(draw.normal(size=(self.k, self.m)), draw.normal(size=self.k))
        return replace(self.problem(n), source=self.source(n_source), prior=prior)


@pytest.fixture(scope="session")
def blobs() -> type[Blobs]:
    """Return the maker of Gaussian problems."""
    return Blobs


@pytest.fixture
def remake(tiny_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the checked-in bundle anew, with changes to every variant or to the manifest."""

    def make(name: str = "other.acc", *, classes: tuple[str, ...] | None = None, **changes: object) -> Path:
        with Bundle(tiny_bundle) as bundle:
            manifest = bundle.manifest
            variants = [
                VariantContent(
                    v.runtime,
                    v.quantized,
                    bundle.backbone(v.runtime),
                    bundle.code(v.runtime),
                    bundle.conformance(v.runtime),
                    v.tolerance,
                    v.saturated,
                    bundle.head(v.runtime),
                    bundle.source(v.runtime),
                    bundle.novelty(v.runtime),
                )
                for v in manifest.variants
            ]
        if changes.get("head", variants) is None:
            # What was made of the shipped head goes with it.
            for i, variant in enumerate(variants):
                source = {name: array for name, array in (variant.source or {}).items() if name != "fisher"}
                variants[i] = replace(variant, source=source, novelty=None)
        write_bundle(
            tmp_path / name,
            classes=manifest.classes if classes is None else classes,
            input=manifest.input,
            cut=manifest.cut,
            taps=manifest.taps,
            variants=[replace(variant, **changes) for variant in variants],  # type: ignore[arg-type]
        )
        return tmp_path / name

    return make


@pytest.fixture
def learner(tiny_bundle: Path, tmp_path: Path) -> Iterator[Learner]:
    """Open the checked-in bundle with a new store."""
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1, timeout=0.2) as opened:
        yield opened


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Return each runtime that is installed."""
    name: Runtime = request.param
    if installed(name) is None:
        pytest.skip(f"no runtime for {name} is installed")
    return name


@pytest.fixture
def opening(tiny_bundle: Path, tmp_path: Path, runtime: Runtime) -> Iterator[Callable[..., Learner]]:
    """Return a function that opens the checked-in bundle in each runtime, with a store by its name or in memory."""
    opened: list[Learner] = []

    def make(name: str | None = None, bundle: Path = tiny_bundle, **options: Any) -> Learner:
        store = None if name is None else tmp_path / name
        opened.append(Learner.open(bundle, store, **{"runtime": runtime, "threads": 1, "timeout": 0.2, **options}))
        return opened[-1]

    yield make
    for learner in opened:
        learner.close()


@pytest.fixture
def adapted(learner: Learner, scenes: ModuleType) -> Learner:
    """Return a learner with sixty samples and a version of its own."""
    learner.fit(*scenes.frames(60, 2, 1.0))
    assert learner.versions()[-1].current
    return learner


@pytest.fixture
def dump(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that reads every row of the learner's store through a connection of its own."""

    def read() -> list[str]:
        connection = sqlite3.connect(tmp_path / "device.db")
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    return read


@pytest.fixture(scope="session", params=["onnx", "tflite"])
def tail_runtime(request: pytest.FixtureRequest) -> Runtime:
    """Return each runtime that a tail may train in."""
    chosen: Runtime = request.param
    if installed(chosen) is None:
        pytest.skip(f"acclimate[{chosen}] is not installed")
    return chosen


@pytest.fixture(scope="session")
def tail_store(tail_bundle: Path, tail_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which version 1 is the best head and version 2 a tail."""
    path = tmp_path_factory.mktemp("tail") / "trained.db"
    x, y = TRAINED_ON
    with open_tail(tail_bundle, path, tail_runtime) as learner:
        learner.observe(x, y, tags=[f"t{i % 12}" for i in range(len(x))])
        learner.adapt(tail=False)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert report.tail.used
    return path


@pytest.fixture
def tail_learner(tail_bundle: Path, tail_store: Path, tmp_path: Path) -> Iterator[Learner]:
    """Open a copy of that store."""
    copy = tmp_path / "device.db"
    copy.write_bytes(tail_store.read_bytes())
    with Learner.open(tail_bundle, copy, threads=1) as one:
        yield one


@pytest.fixture(scope="session")
def bits() -> Callable[[Learner, np.ndarray], bytes]:
    """Return a function that gives a learner's probabilities for frames as bytes."""
    return lambda learner, x: learner.predict(x).probabilities.tobytes()


@pytest.fixture(scope="session")
def one_thread() -> dict[str, str]:
    """Return an environment in which subprocesses leave the other cores alone."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store may be made."""
    return tmp_path / "device.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    """Return a function that opens stores; they are closed at the end."""
    stores: list[Store] = []

    def make(
        variant: str = "f" * 64, width: int = WIDTH, classes: tuple[str, ...] = CLASSES, at: Path | None = path
    ) -> Store:
        stores.append(Store(at, variant, width, classes, timeout=0.2))
        return stores[-1]

    yield make
    for store in stores:
        store.close()
