"""One row of `zoo.toml`: `python -m benchmarks.zoo_row NAME [WHEELS]` prints one JSON object a cell."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from acclimate.converters.onnx_source.file import OnnxFile
from acclimate.converters.onnx_source.split import split_onnx
from acclimate.converters.original import Original, embed, make_float, open_backbone, run_module
from acclimate.converters.quiet import quiet
from acclimate.converters.raw_input import describe_input
from acclimate.converters.splitting.split import split
from acclimate.manifest import Runtime

from .zoo import COLUMNS, TABLE
from .zoo_models import MissingFileError, NoWayError, Subject, subject

_REASON = 400
_STEP_BATCH = 4


class Model:
    """One model on its way through the steps; what one step made, later ones take.

    Args:
        found: The model and its data.
    """

    def __init__(self, found: Subject) -> None:
        self._found = found
        self._original: Original | None = None
        self._floats: dict[Runtime, bytes] = {}

    def cut(self) -> str:
        """Find head and taps."""
        model, samples, options = self._found.model, self._found.samples, self._found.options
        if isinstance(model, OnnxFile):
            onnx = split_onnx(model, samples, keeps_head=False, **options)
            self._original, parts = onnx.original, onnx.split
            said = f"; {onnx.notes[0]}" if not len(parts.weight) else ""
        else:
            raw = describe_input(samples, model, **options)
            with torch.no_grad():
                parts = split(model, raw.preprocess(torch.from_numpy(samples[:4])))
            module = nn.Sequential()
            module.add_module("preprocess", raw.preprocess)
            module.add_module("backbone", parts.backbone)
            module = module.eval()
            self._original = Original(module, raw.spec, parts.taps, samples, run_module(module, samples))
            said = ""
        return f"{parts.cut}, {len(parts.weight)} outputs, {len(parts.taps)} taps{said}"

    def onnx(self) -> str:
        """Write ONNX and compare."""
        return self._float("onnx")

    def tflite(self) -> str:
        """Write TFLite and compare."""
        return self._float("tflite")

    def int8(self) -> str:
        """Quantize in every format that applies; the file has to load and give finite latents.

        Random weights give cosines that mean nothing.
        """
        runtimes: tuple[Runtime, ...] = ("onnx",) if isinstance(self._found.model, OnnxFile) else ("onnx", "tflite")
        for runtime in runtimes:
            if runtime not in self._floats:
                raise RuntimeError(f"there is no {runtime} file in float to quantize")
        original, sizes = self._known(), []
        for runtime in runtimes:
            content = _quantize(runtime, self._floats[runtime], original)
            latents = embed(open_backbone(content, runtime, original), original.samples)
            if not np.isfinite(latents).all():
                raise RuntimeError(f"the {runtime} file in 8 bits gives latents that are not finite")
            sizes.append(f"{runtime} {len(content) / len(self._floats[runtime]):.2f} of the size in float")
        return ", ".join(sizes)

    def step(self) -> str:
        """Compile a training step of the last block, and compare with PyTorch's."""
        from acclimate.converters.splitting.tail import split_tail
        from acclimate.converters.training import compile_training

        model, samples, options = self._found.model, self._found.samples, self._found.options
        assert isinstance(model, nn.Module)  # noqa: S101  the table has no step for others
        raw = describe_input(samples, model, **options)
        with torch.no_grad():
            prepared = raw.preprocess(torch.from_numpy(samples[:_STEP_BATCH]))
            cut = split_tail(model, prepared)
            _, maps = cut.backbone(prepared)
        made = compile_training(cut.tail.module, maps, head=(cut.tail.weight, cut.tail.bias))
        return f"behind {cut.tail.cut}, gradients within {made.difference.gradient:.0e}"

    def _known(self) -> Original:
        if self._original is None:
            raise RuntimeError("the model could not be cut")
        return self._original

    def _float(self, runtime: Runtime) -> str:
        self._floats[runtime], parity = make_float(runtime, self._known())
        return f"greatest error {parity.whole.error:.0e} of the spread"


def _quantize(runtime: Runtime, content: bytes, original: Original) -> bytes:
    if runtime == "onnx":
        from acclimate.converters.quantization.onnx import quantize_onnx

        return quantize_onnx(content, original.samples)
    from acclimate.converters.quantization.tflite import quantize_tflite

    return quantize_tflite(content, original.samples)


def run(name: str, wheels: Path | None, tell: Callable[[dict[str, Any]], None]) -> None:
    """Run every step of a row that applies.

    Args:
        name: The row.
        wheels: A folder with wheels, or None.
        tell: Takes each cell as it is done.
    """
    row = next(row for row in TABLE["row"] if row["name"] == name)
    left = [*TABLE["not_applicable"][row["source"]], *row.get("not_applicable", [])]
    columns = [column for column in COLUMNS if column not in left]
    try:
        model = Model(subject(row, wheels))
    except (MissingFileError, NoWayError) as error:
        state = "skipped" if isinstance(error, MissingFileError) else "failed"
        for column in columns:
            tell({"column": column, "state": state, "note": str(error), "seconds": 0.0})
        return
    for column in columns:
        began, state = time.perf_counter(), "worked"
        try:
            with quiet():
                note = getattr(model, column)()
        # Every step may fail in ways of its own, which is what is asked here.
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            state, note = "failed", f"{type(error).__name__}: {text}"[:_REASON]
        tell({"column": column, "state": state, "note": note, "seconds": time.perf_counter() - began})


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None, lambda cell: print(json.dumps(cell), flush=True))
