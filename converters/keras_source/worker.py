"""The start of TensorFlow's process: reads the request in a folder, and leaves an answer there.

`process.run_worker` runs it; torch is never imported here.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import errors
from ..mapped_samples import mapped_samples
from .backbone import Backbone
from .blocks import find_cut
from .cuts import measure_cuts
from .export import telling_batch, write_onnx, write_tflite
from .models import load_model
from .preparation import Preparation, for_channels
from .request import HEAD, LATENTS, MAPS, PREPARATION, SAMPLES, Answer, Request, exported
from .scaling import model_scaling
from .unroll import check_structure

Float32 = NDArray[np.float32]
_TOOLS = ("tensorflow", "tensorflow-cpu", "keras", "tf2onnx")


def main(folder: Path) -> None:
    """Do what the request asks. What goes wrong with the model is told in the answer."""
    try:
        request = Request.read(folder)
        answer = list_cuts(request, folder) if request.lists_cuts else convert(request, folder)
    except errors.AcclimateError as error:
        answer = Answer(type(error).__name__, str(error))
    answer.write(folder)


def list_cuts(request: Request, folder: Path) -> Answer:
    """Load and split a model, and measure where it may be cut.

    Raises:
        AcclimateError: Whatever the model or the request is refused for.
    """
    backbone, _, scaling = _split(request, folder)
    return Answer(taps=backbone.taps, scaling=scaling, cuts=measure_cuts(backbone))


def convert(request: Request, folder: Path) -> Answer:
    """Load, split, run and export a model, and write what was made into the folder.

    Raises:
        AcclimateError: Whatever the model or the request is refused for.
    """
    backbone, samples, scaling = _split(request, folder)
    latents = backbone.run(samples)
    _check(latents, backbone.run(samples[:2]))
    np.save(folder / LATENTS, latents, allow_pickle=False)
    np.savez(folder / HEAD, allow_pickle=False, weight=backbone.head.weight, bias=backbone.head.bias)
    batch = telling_batch(backbone.axes())
    if "onnx" in request.runtimes:
        write_onnx(backbone.whole, exported(folder, "onnx"))
    if "tflite" in request.runtimes:
        write_tflite(backbone.whole, batch, exported(folder, "tflite"))
    cut = "" if request.cut is None else _write_tail(backbone, request, samples, folder, batch)
    return Answer(None, "", backbone.taps, backbone.head.activation, batch, scaling, _tools(), cut)


def _split(request: Request, folder: Path) -> tuple[Backbone, NDArray[np.generic], str]:
    """Return the split model, the samples, and how they are scaled, in words."""
    samples = np.load(folder / SAMPLES, allow_pickle=False)
    preparation = Preparation.read(folder / PREPARATION)
    model = load_model(request)
    check_structure(model)
    scaling = "as asked for"
    if samples.dtype == np.uint8:
        preparation = for_channels(preparation, samples.shape[1:], model.inputs[0].shape[-1])
        if not request.own_scale:
            preparation, scaling = model_scaling(request.application, model, preparation)
    return Backbone(model, samples[:4], preparation, request.taps, request.pooling), samples, scaling


def _write_tail(backbone: Backbone, request: Request, samples: NDArray[np.generic], folder: Path, batch: int) -> str:
    """Write what gives maps, and the maps of the samples; return the name of the cut."""
    assert request.cut is not None  # noqa: S101  said by the caller
    cut = find_cut(backbone.steps, backbone.head.step.inputs[0], request.cut)
    np.save(folder / MAPS, backbone.run_maps(cut.output, mapped_samples(samples)), allow_pickle=False)
    # The tail is made from this file, whatever the runtimes.
    write_onnx(backbone.with_map(cut.output, features=True), exported(folder, "onnx", mapped=True))
    if "tflite" in request.runtimes:
        write_tflite(backbone.with_map(cut.output), batch, exported(folder, "tflite", mapped=True))
    return cut.name


def _check(latents: Float32, again: Float32) -> None:
    if not np.isfinite(latents).all():
        raise errors.CutError(
            "expected finite latents, found NaN or infinity on the calibration samples. Check mean, std and weights."
        )
    if np.abs(latents[: len(again)] - again).max() > 1e-3 * max(float(np.abs(latents).max()), 1e-12):
        raise errors.CutError(
            "expected a model that gives the same again, found other latents in a second run. Take out what is random."
        )


def _tools() -> dict[str, str]:
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
