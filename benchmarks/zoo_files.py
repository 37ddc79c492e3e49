"""The files of one model of the zoo: in float, then in 8 bits. Needs no torch."""

from collections.abc import Sequence

import numpy as np

from acclimate.converters.original import Original, embed, make_float, open_backbone
from acclimate.manifest import Runtime


class Files:
    """What is made of a model, format by format; what one step made, a later one takes."""

    def __init__(self) -> None:
        self._floats: dict[Runtime, bytes] = {}

    def write(self, runtime: Runtime, original: Original) -> str:
        """Write a file in float and compare."""
        self._floats[runtime], parity = make_float(runtime, original)
        return f"greatest error {parity.whole.error:.0e} of the spread"

    def quantize(self, runtimes: Sequence[Runtime], original: Original) -> str:
        """Quantize in every format that applies; the file has to load and give finite latents.

        Random weights give cosines that mean nothing.
        """
        for runtime in runtimes:
            if runtime not in self._floats:
                raise RuntimeError(f"there is no {runtime} file in float to quantize")
        sizes = []
        for runtime in runtimes:
            content = _quantize(runtime, self._floats[runtime], original)
            latents = embed(open_backbone(content, runtime, original), original.samples)
            if not np.isfinite(latents).all():
                raise RuntimeError(f"the {runtime} file in 8 bits gives latents that are not finite")
            sizes.append(f"{runtime} {len(content) / len(self._floats[runtime]):.2f} of the size in float")
        return ", ".join(sizes)


def _quantize(runtime: Runtime, content: bytes, original: Original) -> bytes:
    if runtime == "onnx":
        from acclimate.converters.quantization.onnx import quantize_onnx

        return quantize_onnx(content, original.samples)
    from acclimate.converters.quantization.tflite import quantize_tflite

    return quantize_tflite(content, original.samples)
