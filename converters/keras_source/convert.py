"""From a trained Keras 3 model to one bundle, without torch."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import CalibrationError, CutError, InputError
from ...extras import require
from ...manifest import MAX_WIDTH, RUNTIMES, Runtime, Tap, Task
from ..conversion_report import ConversionReport
from ..finish import Finish, Steps, check_arguments
from ..original import ExportedFiles, Original
from ..padding import pad_weight
from ..parity import MOST_LOST, QUANTIZED_COSINE
from ..quantization.calibration import Calibration, check_structure
from ..quantization.wish import FloatConvolutions, Quantize, Wish, check_wish
from ..samples import calibrated_on, check_calibration, frame_spec, made_samples, sample_spec
from ..source import HeadChoice
from ..source_data import Source, SourceData
from ..tasks import name_outputs
from ..variant import Progress
from .archive import check_archive
from .preparation import frame_preparation, sample_preparation
from .process import run_worker
from .request import HEAD, LATENTS, PREPARATION, SAMPLES, Answer, Request, exported

Float32 = NDArray[np.float32]
_IMAGENET = 1000
_WEIGHTS = (".h5", ".hdf5", ".keras")
_RANDOM = "random"


class KerasModel(Protocol):
    """A Keras model in this process."""

    def save(self, path: str) -> None:
        """Write it into a ``.keras`` file."""


@dataclass(frozen=True, eq=False)
class KerasParts:
    """Taps, cut and head of a Keras model (`finish.Parts`).

    Args:
        taps: What the latent consists of; the cut is the last.
        cut: Name of the cut.
        weight: ``(k, c) float32``, the head's weight on the cut.
        bias: ``(k,) float32``.
    """

    taps: tuple[Tap, ...]
    cut: str
    weight: Float32
    bias: Float32

    def padded_weight(self) -> Float32:
        """Return the head's weight on the whole latent, ``(k, d) float32``: zero for every tap but the cut."""
        return pad_weight(self.weight, self.taps)


def convert_keras(
    model: "str | os.PathLike[str] | KerasModel",
    calibration: NDArray[Any],
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    task: Task = "classification",
    targets: Sequence[str] | None = None,
    source: Source | None = None,
    head: HeadChoice | None = "keep",
    taps: str | Sequence[str] = "all",
    runtimes: Sequence[Runtime] = RUNTIMES,
    quantize: Quantize = "auto",
    calibrate: Calibration = "minmax",
    float_convolutions: FloatConvolutions = "auto",
    least_cosine: float = QUANTIZED_COSINE,
    most_lost: float = MOST_LOST,
    every_layer: bool = False,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    axes: Sequence[str] | None = None,
    provenance: Mapping[str, str] | None = None,
    licence: str = "",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """Convert a trained Keras 3 model into a bundle that a device can open and adapt.

    TensorFlow runs in a process of its own, which loads the model in safe mode, splits it, computes its latents and
    exports it; nothing that a file holds is run as code.

    Args:
        model: A ``.keras`` file, ``"keras:NAME"`` for one of ``keras.applications`` with `weights`,
            ``"keras:NAME@random"`` for an untrained one, or a model in this process. It must be Sequential or
            functional and end in a Dense layer or a 1x1 convolution, with softmax or sigmoid at most behind it.
        calibration: As for `convert`.
        out: Where to write; the suffix ``.acc`` is usual.
        weights: For ``"keras:NAME"``, an ``.h5`` or ``.keras`` file of weights.
        seed: Fixes the weights of an untrained model.
        classes: Names of the classes in the order of the model's outputs; of a model with one output, first what an
            output below 0.5 means, then what one above does.
        task: As for `convert`.
        targets: As for `convert`.
        source: As for `convert`.
        head: As for `convert`.
        taps: ``"all"`` for the last layer of each spatial resolution and the cut, ``"last"`` for the cut alone, or
            names of layers.
        runtimes: As for `convert`.
        quantize: As for `convert`.
        calibrate: As for `convert`.
        float_convolutions: As for `convert`.
        least_cosine: As for `convert`.
        most_lost: As for `convert`.
        every_layer: As for `convert`.
        resize: Height and width that the model takes, if frames have another size.
        mean: Mean of the normalisation as for `convert`. Without mean and std, an application's own normalisation is
            used; a file's pixel values are 0 to 255 if a layer of the model scales them, else 0 to 1.
        std: Its standard deviation.
        axes: As for `convert`.
        provenance: As for `convert`.
        licence: Licence of the weights.
        progress: Called with the number of steps done and of all.
        overwrite: Replace a file that is there.

    Returns:
        The report.

    Raises:
        CutError: If the model cannot be split, or holds code.
        CalibrationError: If the calibration data does not fit.
        ParityError: If a converted backbone does not do what the model did.
        ConversionError: If the file is none of Keras, or an exporter or a quantizer fails.
        InputError: If another argument does not fit.
        MissingExtraError: If a package is not installed.
        OutputExistsError: If `out` is there and `overwrite` is false.
    """
    start = perf_counter()
    path = check_arguments(
        out,
        runtimes,
        head,
        source,
        overwrite,
        ("ai_edge_quantizer", "ai_edge_litert"),
        "keras",
        task=task,
        licence=licence,
        provenance=provenance,
    )
    for module in ("tensorflow", "tf2onnx", "onnx", "onnxruntime"):
        require(module, extra="keras", needed_by="converting a Keras model")
    wish = Wish(quantize, calibrate, float_convolutions, least_cosine, most_lost, every_layer)
    check_wish(wish)
    check_calibration(calibration)
    check_structure(calibration)
    steps = Steps(progress, runtimes)
    shape = tuple(calibration.shape[1:])
    frames = calibration.dtype == np.uint8
    spec = frame_spec(shape) if frames else sample_spec(shape, axes)
    if frames:
        preparation = frame_preparation((shape[0], shape[1], shape[2]), resize, mean, std)
    elif resize is not None:
        raise InputError("expected resize=None for float32 samples: only uint8 frames are resized.")
    else:
        preparation = sample_preparation(shape, mean, std)
    data = None if source is None else SourceData.of(source, spec, task)
    samples = calibrated_on(calibration)
    height, width = resize or (shape[0], shape[1] if len(shape) > 1 else 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, application = _locate(model, weights, folder)
        if application is not None and not frames:
            raise CalibrationError(
                f"expected uint8 frames for keras.applications.{application}, found float32 samples."
            )
        request = Request(
            None if file is None else str(file.absolute()),
            application,
            None if weights is None else str(Path(weights).absolute()),
            len(classes) if classes is not None else _IMAGENET,
            seed,
            (int(height), int(width), 3),
            taps if isinstance(taps, str) else list(taps),
            mean is not None or std is not None,
            list(runtimes),
        )
        request.write(folder)
        preparation.write(folder / PREPARATION)
        np.save(folder / SAMPLES, samples, allow_pickle=False)
        answer = run_worker(folder)
        parts = _parts(answer, folder, task, keeps=head == "keep")
        latents = np.load(folder / LATENTS, allow_pickle=False)
        files = {runtime: _float_file(folder, runtime, answer) for runtime in runtimes}
    return Finish(
        path=path,
        original=Original(ExportedFiles(files), spec, parts.taps, samples, latents),
        probes=made_samples(spec, preparation.scale, preparation.shift),
        parts=parts,
        outputs=name_outputs(
            task,
            classes,
            targets,
            None if data is None else data.given,
            len(parts.bias) if head == "keep" else None,
        ),
        head=head,
        source=data,
        runtimes=runtimes,
        wish=wish,
        provenance={"scaling": answer.scaling, **(provenance or {})},
        licence=licence,
        overwrite=overwrite,
        tools=answer.tools,
    ).write(steps, start)


def _locate(
    model: "str | os.PathLike[str] | KerasModel", weights: str | os.PathLike[str] | None, folder: Path
) -> tuple[Path | None, str | None]:
    """Return the file to load, or the application to build."""
    text = os.fspath(model) if isinstance(model, str | os.PathLike) else ""
    if text.startswith("keras:"):
        return None, _application(text.removeprefix("keras:"), weights)
    if weights is not None:
        raise InputError("expected weights only for keras:NAME, found them for a whole model. Leave weights out.")
    if not isinstance(model, str | os.PathLike):
        if not callable(getattr(model, "save", None)):
            raise CutError(f"expected a Keras model, found {type(model).__name__}. Pass the model itself or its file.")
        file = folder / "model.keras"
        model.save(str(file))
    else:
        file = Path(text)
        if file.suffix.lower() != ".keras":
            raise InputError(
                f"expected keras:NAME or a .keras file, found {text!r}. Save the model with model.save('model.keras')."
            )
    check_archive(file)
    return file, None


def _application(name: str, weights: str | os.PathLike[str] | None) -> str:
    name, _, wanted = name.partition("@")
    if not re.fullmatch(r"[A-Za-z]\w{0,60}", name, re.ASCII):
        raise InputError(f"expected keras:NAME with a name of keras.applications, found {name!r}.")
    if wanted not in ("", _RANDOM) or bool(wanted) == (weights is not None):
        raise InputError(
            f"expected weights for keras:{name} from a file, or keras:{name}@random for none, found "
            f"{'both' if wanted and weights is not None else repr(wanted) if wanted else 'neither'}. For those of "
            f"ImageNet: python -c \"import keras; keras.applications.{name}().save('model.keras')\", then convert that."
        )
    if weights is not None:
        file = Path(weights)
        if not file.is_file() or file.suffix.lower() not in _WEIGHTS:
            found = "another kind" if file.is_file() else "no file"
            raise InputError(f"expected weights in a .h5 or .keras file, found {found} at {file}. Check the path.")
        if file.suffix.lower() == ".keras":
            check_archive(file)
    return name


def _parts(answer: Answer, folder: Path, task: Task, *, keeps: bool) -> KerasParts:
    taps, offset = [], 0
    for name, width in answer.taps:
        taps.append(Tap(name, offset, width))
        offset += width
    if offset > MAX_WIDTH:
        raise CutError(
            f"expected a latent of at most {MAX_WIDTH:,} dimensions, found {offset:,}: {list(answer.taps)}. "
            f"Convert with taps='last', or name fewer."
        )
    with np.load(folder / HEAD, allow_pickle=False) as head:
        weight, bias = head["weight"], head["bias"]
    if keeps and task == "regression" and answer.activation != "linear":
        raise CutError(
            f"expected a head for regression without an activation, found {answer.activation}. "
            f"Convert with head='fit' or head=None."
        )
    if task == "classification" and len(bias) == 1:
        # What tells one class from the other, as two outputs: softmax of (0, z) is sigmoid of z.
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    elif keeps and answer.activation == "sigmoid":
        raise CutError(
            f"expected one class per sample, found {len(bias)} outputs with a sigmoid each, any number of which may be "
            f"true. Convert with head='fit' or head=None."
        )
    return KerasParts(tuple(taps), taps[-1].name, weight, bias)


def _float_file(folder: Path, runtime: Runtime, answer: Answer) -> bytes:
    content = exported(folder, runtime).read_bytes()
    if runtime == "tflite":
        from ..tflite_batch import free_batch

        content = free_batch(content, answer.batch)
    return content
