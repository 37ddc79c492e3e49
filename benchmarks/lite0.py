"""The bundle that benchmarks share: EfficientNet-Lite0 with ImageNet weights, int8, all taps, no head."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("build/bench")
SIZE = 224


def images(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return ``(n, 224, 224, 3) uint8`` random images with structure at every scale."""
    rng = np.random.default_rng(seed)
    total = np.zeros((n, SIZE, SIZE, 3), np.float32)
    for side in (7, 14, 28, 56, 112, 224):
        noise = rng.normal(size=(n, side, side, 3)).astype(np.float32)
        total += noise.repeat(SIZE // side, axis=1).repeat(SIZE // side, axis=2)
    return np.clip(128 + 25 * total, 0, 255).astype(np.uint8)


def bundle() -> Path:
    """Return the bundle's path; it is made once, which takes a minute or two."""
    path = FOLDER / "lite0.acc"
    if path.exists():
        return path
    from examples.efficientnet_lite0 import pretrained

    from acclimate.converters import convert

    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"making {path} ...", file=sys.stderr)
    convert(pretrained(), images(64), out=path, head=None, quantize=True, mean=127 / 255, std=128 / 255)
    return path
