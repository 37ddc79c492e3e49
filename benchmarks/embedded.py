"""Real photos as latents of real backbones, for benchmarks that judge methods on latents."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from examples import elpv
from numpy.typing import NDArray
from PIL import Image

from acclimate import Bundle
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.latent import Codes, Float32, LatentCode
from acclimate.server.digits import load_target, target_pool

from .lite0 import SIZE, bundle, images

DEMO = Path("build/demo/demo.acc")
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Embedded:
    """A collection of labelled photos as latents.

    Args:
        name: What it is.
        codes: ``(n, d) uint8``.
        y: ``(n,)`` classes.
        code: Quantization of the latents; of a bundle that was made without such photos, refitted to 64 of them.
        nothing: ``(m, d) float32`` latents of frames that show nothing of the kind: noise, structured or not, and
            frames of one grey.
    """

    name: str
    codes: Codes
    y: NDArray[np.int64]
    code: LatentCode
    nothing: Float32


def digits_lite0() -> Embedded:
    """UCI digits, those on which nothing was developed, through EfficientNet-Lite0 of ImageNet."""
    digits, rows = load_target(), target_pool()
    return _lite0("digits, ImageNet's backbone", list(digits.images[rows, :, :, 0]), digits.labels[rows])


def cells_lite0() -> Embedded:
    """Photos of solar cells, sure verdicts only: mono or poly, functional or defective; through EfficientNet-Lite0."""
    cells = elpv.load()
    sure = np.flatnonzero((cells.probability == 0) | (cells.probability == 1))
    # Enough of the largest class; the others are all taken.
    y = 2 * cells.poly[sure].astype(np.int64) + (cells.probability[sure] == 1)
    kept = np.concatenate([np.flatnonzero(y == label)[:300] for label in range(4)])
    return _lite0("solar cells, ImageNet's backbone", list(cells.frames[sure[kept]]), y[kept])


def digits_demo() -> Embedded | None:
    """UCI digits through the demo's backbone, which has seen all ten digits of MNIST; None before `acclimate demo`."""
    if not DEMO.exists():
        return None
    digits, rows = load_target(), target_pool()
    rng, shape = np.random.default_rng(0), (60, *digits.images.shape[1:])
    grey = np.broadcast_to(rng.integers(0, 256, (60, 1, 1, 1)), shape).astype(np.uint8)
    nothing = np.concatenate([rng.integers(0, 256, shape).astype(np.uint8), grey])
    with Bundle(DEMO) as opened:
        code = opened.code("onnx")
    latents = embed(DEMO, np.concatenate([digits.images[rows], nothing]))
    n = len(rows)
    return Embedded("digits, the demo's backbone", code.encode(latents[:n]), digits.labels[rows], code, latents[n:])


def photos_lite0(photos: list[NDArray[np.uint8]]) -> Float32:
    """Return the ``(n, d)`` latents of grey photos, ``(h, w) uint8`` each, through EfficientNet-Lite0."""
    path, latents = bundle(), []
    for i in range(0, len(photos), _TOGETHER):
        some = photos[i : i + _TOGETHER]
        resized = [Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for photo in some]
        latents.append(embed(path, np.stack([np.repeat(np.asarray(one)[..., None], 3, axis=2) for one in resized])))
    return np.concatenate(latents)


def embed(path: Path, frames: NDArray[np.uint8]) -> Float32:
    """Return the ``(n, d)`` latents of frames through the backbone of a bundle."""
    with Bundle(path) as opened:
        spec, width = opened.manifest.input, opened.manifest.width
        embedder = load_backbone(opened.backbone("onnx"), "onnx", spec, width)
        return np.concatenate([embedder.embed(frames[i : i + 4]) for i in range(0, len(frames), 4)])


def _lite0(name: str, photos: list[NDArray[np.uint8]], y: NDArray[np.int64]) -> Embedded:
    values = photos_lite0(photos)
    rng, shape = np.random.default_rng(0), (20, SIZE, SIZE, 3)
    grey = np.broadcast_to(rng.integers(0, 256, (20, 1, 1, 1)), shape).astype(np.uint8)
    nothing = np.concatenate([images(40), rng.integers(0, 256, shape).astype(np.uint8), grey])
    code = LatentCode.fit(values[:: max(len(values) // 64, 1)])
    return Embedded(name, code.encode(values), y, code, code.clip(embed(bundle(), nothing)))
