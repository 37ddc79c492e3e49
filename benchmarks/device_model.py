"""A bundle as a device answers with it: backbone and head in ONNX Runtime, on one thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate import Bundle
from acclimate.bundle import LinearLayer
from acclimate.edge.runtime.runtime import Embedder, load_backbone

from .harness import Cost, alternate

_BATCH = 32


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """A loaded backbone with the head that it was shipped with.

    Args:
        backbone: Computes latents.
        head: Its last layer.
    """

    backbone: Embedder
    head: LinearLayer

    @classmethod
    def open(cls, path: Path) -> "DeviceModel":
        """Load a bundle."""
        with Bundle(path) as bundle:
            head = bundle.head("onnx")
            assert head is not None  # noqa: S101  `convert` keeps the model's own
            width = head.weight.shape[1]
            return cls(load_backbone(bundle.backbone("onnx"), "onnx", bundle.manifest.input, width, threads=1), head)

    def answers(self, frames: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class of each of ``(n, h, w, c) uint8`` frames."""
        logits = self.backbone.embed(frames) @ self.head.weight.T + self.head.bias
        found: NDArray[np.int64] = logits.argmax(axis=1)
        return found


def right(path: Path, frames: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 100 for each frame that a bundle classifies right and 0 for the others, so that their mean is in %."""
    model = DeviceModel.open(path)
    parts = [model.answers(frames[i : i + _BATCH]) for i in range(0, len(frames), _BATCH)]
    found: NDArray[np.float64] = 100.0 * (np.concatenate(parts) == y)
    return found


def costs(paths: Sequence[Path], sample: NDArray[Any], *, repeats: int = 40, times: int = 10) -> list[Cost]:
    """Return what the answer to one sample costs each of some bundles, measured in turn.

    Args:
        paths: The bundles.
        sample: ``(1, h, w, c) uint8``.
        repeats: Turns, of which the median counts.
        times: Samples, one after the other, that a bundle answers in its turn.
    """

    def several(model: DeviceModel) -> None:
        for _ in range(times):
            model.answers(sample)

    found = alternate({str(path): partial(several, DeviceModel.open(path)) for path in paths}, repeats)
    return [Cost(found[str(path)].wall / times, found[str(path)].cpu / times) for path in paths]
