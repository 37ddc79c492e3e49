"""A bundle as a source: its backbone in the device's own runtime, and the head that it ships."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...edge.checks import check_frames
from ...edge.head import LinearHead
from ...edge.runtime.conformance import check_conformance
from ...edge.runtime.runtime import choose_runtime, load_backbone
from .source import Done, Look

_BATCH = 16


class BundleSource:
    """A bundle.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def look(self, frames: NDArray[Any], done: Done) -> Look:
        """Embed samples as a device does: within the range of the bundle's codes. See `Source.look`.

        Grey frames are repeated to three channels where the bundle takes these.
        """
        with Bundle(self.path) as bundle:
            manifest, notes = bundle.manifest, []
            spec, runtime = manifest.input, choose_runtime(bundle)
            if spec.shape[-1:] == (3,) and frames.shape[1:] == (*spec.shape[:-1], 1) and frames.dtype == np.uint8:
                frames = frames.repeat(3, axis=-1)
                notes.append("takes colour: the grey of the frames was given to each channel")
            checked = check_frames(frames, spec)
            maps, code = bundle.map_code(runtime), bundle.code(runtime)
            shape = None if maps is None else maps.shape
            embedder = load_backbone(bundle.backbone(runtime), runtime, spec, manifest.width, map_shape=shape)
            check_conformance(bundle, runtime, embedder, "")
            latents = np.empty((len(checked), manifest.width), np.float32)
            for start in range(0, len(checked), _BATCH):
                part = checked[start : start + _BATCH]
                latents[start : start + len(part)] = code.clip(embedder.embed(part))
                done(start + len(part))
            head = bundle.head(runtime) if manifest.task == "classification" else None
            if head is None or len(manifest.classes) < 2:
                return Look(latents, notes=tuple(notes))
            linear = LinearHead(head, np.arange(len(head.bias)))
            return Look(latents, linear.probabilities(latents), tuple(manifest.classes), tuple(notes))
