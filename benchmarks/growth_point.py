"""One point of `benchmarks.growth`, in a process of its own: a stored set of synthetic latents is adapted to once.

`python -m benchmarks.growth_point SAMPLES CLASSES WIDTH SOURCE`, SOURCE being 0 or 1. Prints JSON: seconds, processor
seconds, peak memory above what the process had before, in MB, and what `Learner.estimate` would have told.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.adapt import adapt
from acclimate.edge.adaptation.costs import Size, memory, seconds
from acclimate.edge.adaptation.fisher import Fisher
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.statistics import FULL_WIDTH, RANK, SourceStatistics, Statistics
from acclimate.edge.store.store import Store
from acclimate.edge.unknown.fit import fit_novelty
from acclimate.latent import Codes, Float32, LatentCode

from .harness import peak_memory

# Directions that classes share, how far class means are apart in them, and how far single samples are, in codes.
_SHARED, _APART, _WITHIN, _NOISE = 48, 5.0, 14.0, 8.0
_BLOCK, _HOME = 4_096, 20_000
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Point:
    """What one adaptation cost.

    Args:
        samples: Labelled samples.
        classes: Classes.
        width: Dimensions of the latent.
        source: Whether there were source statistics.
        seconds: Wall time.
        cpu: Processor time in seconds.
        memory: Peak memory above what the process had before, in MB.
        estimated_seconds: What was told beforehand.
        estimated_memory: The same, in MB.
        chosen: Head that was chosen.
    """

    samples: int
    classes: int
    width: int
    source: bool
    seconds: float
    cpu: float
    memory: float
    estimated_seconds: float
    estimated_memory: float
    chosen: str


@dataclass(frozen=True, eq=False)
class World:
    """Gaussian classes whose means and whose scatter lie in some shared directions, as those of real latents do."""

    classes: int
    width: int

    def draw(self, n: int, seed: int) -> tuple[Codes, NDArray[np.int64]]:
        """Return ``(n, width)`` codes and their classes, which take turns."""
        (axes, means), rng = self._shape(), np.random.default_rng((1, seed))
        y = rng.permutation(np.arange(n) % self.classes).astype(np.int64)
        codes = np.empty((n, self.width), np.uint8)
        for start in range(0, n, _BLOCK):
            own = y[start : start + _BLOCK]
            inner = means[own] + _WITHIN * rng.standard_normal((len(own), _SHARED), np.float32)
            rows = inner @ axes / _SHARED**0.5
            rows += _NOISE * rng.standard_normal(rows.shape, np.float32) + 128
            codes[start : start + _BLOCK] = np.clip(np.rint(rows, out=rows), 0, 255, out=rows)
        return codes, y

    def home(self, code: LatentCode) -> Shipped:
        """Return what a bundle brings along: statistics, whole where it is narrow, else of low rank; a head; Fisher."""
        statistics = self._statistics()
        mean = statistics.mean()
        # The nearest mean.
        weight = ((mean - mean.mean(axis=0)) / _WITHIN**2 / code.scale).astype(np.float32)
        bias = -(weight * (mean * code.scale + code.offset)).sum(axis=1) / 2
        fisher = np.full((self.classes, self.width + 1), 0.1 * _WITHIN**2 / self.classes, np.float32)
        layer = LinearLayer(weight, bias.astype(np.float32))
        return Shipped(np.arange(self.classes), code, layer, statistics, Fisher(mean.mean(axis=0), fisher))

    def _statistics(self) -> SourceStatistics:
        if self.width <= FULL_WIDTH:
            codes, y = self.draw(_HOME, 1)
            return SourceStatistics.compress(Statistics.of(codes, y, self.classes))
        axes, means = self._shape()
        count, scale = np.full(self.classes, _HOME / self.classes), _HOME**0.5
        factor = np.zeros((RANK, self.width), np.float32)
        factor[:_SHARED] = scale * _WITHIN / _SHARED**0.5 * axes
        mean = np.clip(means @ axes / _SHARED**0.5 + 128, 0, 255).astype(np.float64)
        diagonal = np.full(self.width, (scale * _NOISE) ** 2)
        return SourceStatistics(count, count[:, None] * mean, None, factor, diagonal)

    def _shape(self) -> tuple[Float32, Float32]:
        """Return the shared directions and the classes' means along them."""
        world = np.random.default_rng(0)
        axes = world.normal(size=(_SHARED, self.width)).astype(np.float32)
        return axes, _APART * world.normal(size=(self.classes, _SHARED)).astype(np.float32)


def measure(samples: int, classes: int, width: int, source: bool) -> Point:
    """Store synthetic latents, read them and adapt to them, as `Learner.adapt` does."""
    world, names = World(classes, width), [f"class {i}" for i in range(classes)]
    code = LatentCode(np.full(width, 0.02, np.float32), np.zeros(width, np.float32))
    shipped = world.home(code) if source else Shipped(np.empty(0, np.int64), code, None, None)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "s.db"), "f" * 64, width, names) as store:
        _fill(store, world, samples)
        size = Size(samples, width, classes, source)
        told = seconds(size), memory(size) / 1e6
        before = _forget_peak()
        cpu, begun = time.process_time(), time.perf_counter()
        found = store.labelled()
        candidate = adapt(found, shipped, shipped.predictor(), store.classes())
        places = np.searchsorted(candidate.head.classes, found.classes)
        fit_novelty(found.codes, places, candidate.selection.fold, classes, code, shipped.source)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        chosen = candidate.selection.best.setting.head
        return Point(samples, classes, width, source, wall, cpu, peak_memory() - before, *told, chosen)


def _fill(store: Store, world: World, samples: int) -> None:
    codes, y = world.draw(samples, 0)
    for start in range(0, samples, _BLOCK):
        rows = range(start, min(start + _BLOCK, samples))
        none = [None] * len(rows)
        digests = [store.digest(np.array([i])) for i in rows]
        store.add(codes[start : start + _BLOCK], y[start : start + _BLOCK].tolist(), digests, none, none)


def _forget_peak() -> float:
    """Start the count of peak memory anew, and return what the process has now, in MB."""
    _RESET.write_text("5")
    return int(_STATUS.read_text().partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    n, k, d, with_source = map(int, sys.argv[1:5])
    print(json.dumps(asdict(measure(n, k, d, bool(with_source)))))
