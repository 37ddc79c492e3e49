"""Regression in latent codes with a planted answer: pure codes, and the tiny bundle with targets instead of classes."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.bundle import Bundle, LinearLayer
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.edge.heads.problem import Float64
from acclimate.edge.regression.adaptation import ShippedRegression
from acclimate.edge.regression.head import RegressionHead
from acclimate.edge.regression.source import RegressionSource
from acclimate.edge.runtime.runtime import installed, load_backbone
from acclimate.edge.store.samples import StoredSamples
from acclimate.latent import LatentCode

Codes = NDArray[np.uint8]
TARGETS = ("angle", "depth")


@dataclass(frozen=True)
class Line:
    """Correlated Gaussian codes and targets that are linear in them, with noise.

    Args:
        seed: Draws the world.
        d: Width of the latent.
        t: Number of targets.
        noise: Standard deviation of the targets' noise; they themselves have one of about 1.
    """

    seed: int = 0
    d: int = 24
    t: int = 1
    noise: float = 0.3

    @property
    def code(self) -> LatentCode:
        """A code for the latents."""
        return LatentCode(np.full(self.d, 0.05, np.float32), np.full(self.d, -3, np.float32))

    def draw(self, n: int, seed: int, shift: float = 0.0, offset: float = 0.0) -> tuple[Codes, Float64]:
        """Return codes that have moved by `shift` tens of codes, and targets ``offset`` higher."""
        world, draw = np.random.default_rng((self.seed, 0)), np.random.default_rng((self.seed, 1, seed))
        weight = world.normal(size=(self.d, self.t)) / np.sqrt(2 * self.d)
        mixing = np.eye(self.d) + world.normal(size=(self.d, self.d)) / np.sqrt(self.d)
        z = draw.normal(size=(n, self.d)) @ mixing
        y = z @ weight + self.noise * draw.normal(size=(n, self.t)) + offset
        moved = 128 + 15 * z + 10 * shift * world.normal(size=self.d)
        return np.clip(np.rint(moved), 0, 255).astype(np.uint8), y

    def shipped(self, n: int = 1_000, rank: int | None = None) -> ShippedRegression:
        """Return a head trained at home, and the source's statistics."""
        codes, y = self.draw(n, 0)
        return ShippedRegression(
            self.code, least_squares(self.code.decode(codes), y), RegressionSource.of(codes, y, rank)
        )


def least_squares(latents: NDArray[np.floating], y: Float64) -> LinearLayer:
    """Return the head of the least squared error."""
    rows = np.hstack([latents, np.ones((len(latents), 1))]).astype(np.float64)
    found = np.linalg.lstsq(rows, y, rcond=None)[0]
    return LinearLayer(found[:-1].T.astype(np.float32), found[-1].astype(np.float32))


def stored(codes: Codes, tags: tuple[str | None, ...] | None = None) -> StoredSamples:
    """Return samples without classes as a store gives them, with ids from 1."""
    n = len(codes)
    return StoredSamples(np.arange(1, n + 1), np.full(n, -1), codes, tags or (None,) * n, np.zeros(n))


def rmse(head: RegressionHead | LinearLayer, code: LatentCode, codes: Codes, y: Float64) -> float:
    """Return a head's root mean squared error on codes."""
    layer = head if isinstance(head, LinearLayer) else head.layer
    return float(np.sqrt(np.mean((code.decode(codes) @ layer.weight.T + layer.bias - y) ** 2)))


def truth(tiny: Path, frames: NDArray[np.uint8], seed: int = 0, noise: float = 0.05) -> Float64:
    """Return ``(n, 2)`` targets of frames: linear in what the tiny bundle's backbone sees, with noise."""
    with Bundle(tiny) as bundle:
        manifest = bundle.manifest
        runtime = next(v.runtime for v in manifest.variants if installed(v.runtime))
        embedder = load_backbone(bundle.backbone(runtime), runtime, manifest.input, manifest.width, 1)
        code = bundle.code(runtime)
    z = (code.encode(np.concatenate([embedder.embed(frame[None]) for frame in frames])) - 128.0) / 64
    weight = np.random.default_rng(7).normal(size=(manifest.width, len(TARGETS))) / np.sqrt(manifest.width)
    found: Float64 = (
        z @ weight + noise * np.random.default_rng(seed).normal(size=(len(frames), len(TARGETS))) + [20.0, -300.0]
    )
    return found


def regression_bundle(tiny: Path, out: Path, frames: NDArray[np.uint8], y: Float64, **changes: object) -> Path:
    """Write the tiny bundle anew as one for regression, with head and statistics of labelled frames."""
    with Bundle(tiny) as bundle:
        manifest, variants = bundle.manifest, []
        # A device has one runtime, and can embed with no other.
        for v in filter(lambda v: installed(v.runtime), manifest.variants):
            backbone, code = bundle.backbone(v.runtime), bundle.code(v.runtime)
            embedder = load_backbone(backbone, v.runtime, manifest.input, manifest.width, 1)
            codes = code.encode(np.concatenate([embedder.embed(frame[None]) for frame in frames]))
            content = VariantContent(
                v.runtime,
                v.quantized,
                backbone,
                code,
                bundle.conformance(v.runtime),
                v.tolerance,
                head=least_squares(code.decode(codes), y),
                source=RegressionSource.of(codes, y).arrays(),
            )
            variants.append(replace(content, **changes))  # type: ignore[arg-type]
    write_bundle(
        out,
        task="regression",
        classes=TARGETS,
        input=manifest.input,
        cut=manifest.cut,
        taps=manifest.taps,
        variants=variants,
    )
    return out
