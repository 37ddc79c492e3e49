"""A Keras model of `zoo.toml` on its way through the steps, TensorFlow in a process of its own and without torch."""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.converters.keras_source.preparation import frame_preparation
from acclimate.converters.keras_source.process import run_worker
from acclimate.converters.keras_source.request import HEAD, LATENTS, PREPARATION, SAMPLES, Request, exported
from acclimate.converters.original import ExportedFiles, Original
from acclimate.converters.samples import frame_spec
from acclimate.converters.tflite_batch import free_batch
from acclimate.manifest import RUNTIMES, Runtime, Tap

from .zoo_files import Files
from .zoo_frames import NoWayError, frames

_SIZE, _CLASSES = 224, 1000


class KerasRow:
    """One model of ``keras.applications`` with random weights.

    Args:
        row: Its row.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        for package in ("tensorflow", "tf2onnx"):
            if find_spec(package) is None:
                raise NoWayError(f"{package} is not installed: --keras PYTHON names an interpreter that has it")
        self._name = row["name"]
        self._files = Files()

    def cut(self) -> str:
        """Find head and taps."""
        original, head = self._made()
        return f"{original.taps[-1].name}, {head} outputs, {len(original.taps)} taps"

    def onnx(self) -> str:
        """Write ONNX and compare."""
        return self._files.write("onnx", self._made("onnx")[0])

    def tflite(self) -> str:
        """Write TFLite and compare."""
        return self._files.write("tflite", self._made("tflite")[0])

    def int8(self) -> str:
        """Quantize in both formats."""
        return self._files.quantize(RUNTIMES, self._made()[0])

    def _made(self, *runtimes: Runtime) -> tuple[Original, int]:
        """Return what TensorFlow makes of the model, and how many outputs its head has."""
        samples = frames()
        height, width, channels = samples.shape[1:]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Request(None, self._name, None, _CLASSES, 0, (_SIZE, _SIZE, 3), "all", False, runtimes).write(folder)
            frame_preparation((height, width, channels), (_SIZE, _SIZE), None, None).write(folder / PREPARATION)
            np.save(folder / SAMPLES, samples, allow_pickle=False)
            answer = run_worker(folder)
            offsets = np.cumsum([0, *(width for _, width in answer.taps)])
            taps = tuple(Tap(tap, int(at), width) for (tap, width), at in zip(answer.taps, offsets, strict=False))
            latents = np.load(folder / LATENTS, allow_pickle=False)
            files = {runtime: exported(folder, runtime).read_bytes() for runtime in runtimes}
            with np.load(folder / HEAD, allow_pickle=False) as head:
                outputs = len(head["bias"])
        if "tflite" in files:
            files["tflite"] = free_batch(files["tflite"], answer.batch)
        return Original(ExportedFiles(files), frame_spec(samples.shape[1:]), taps, samples, latents), outputs
