"""From a trained Keras 3 model to one bundle, without torch."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import CalibrationError, InputError
from ...extras import require
from ...manifest import RUNTIMES, Runtime, Task
from ..arguments import check_arguments
from ..conversion_report import ConversionReport
from ..finish import Finish
from ..original import ExportedFiles, Original
from ..parity import MOST_LOST, QUANTIZED_COSINE
from ..quantization.calibration import Calibration, check_structure
from ..quantization.wish import FloatConvolutions, Quantize, Wish, check_wish
from ..samples import calibrated_on, check_calibration, frame_spec, made_samples, sample_spec
from ..source import HeadChoice
from ..source_data import Source, SourceData
from ..steps import Steps
from ..tap_pooling import Pooling, check_pooling
from ..tasks import name_outputs
from ..variant import Progress
from .locate import KerasModel, locate
from .parts import read_parts
from .preparation import prepare_samples
from .process import run_worker
from .request import IMAGENET, LATENTS, PREPARATION, SAMPLES, Answer, Request, exported

if TYPE_CHECKING:
    from ..tail_arguments import Train
    from ..tail_plan import TailPlan
    from ..training.objective import Penalty
    from ..training.optimiser import Optimiser


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
    pooling: Pooling = "mean",
    last: int | None = None,
    cut: str | None = None,
    train: "Train" = "all",
    optimiser: "Optimiser" = "sgd",
    penalty: "Penalty" = "l2sp",
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
        pooling: As for `convert`.
        last: As for `convert`: a tail of so many blocks besides the head. Its training is compiled with torch.
        cut: The same, by the name of the layer whose output the tail takes.
        train: As for `convert`; names are those of the exported ONNX file.
        optimiser: As for `convert`.
        penalty: As for `convert`.
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
    _check_tail(last, cut, task, train, optimiser, penalty, head, with_source=source is not None)
    for module in ("tensorflow", "tf2onnx", "onnx", "onnxruntime"):
        require(module, extra="keras", needed_by="converting a Keras model")
    wish = Wish(quantize, calibrate, float_convolutions, least_cosine, most_lost, every_layer)
    check_wish(wish)
    check_pooling(pooling, taps)
    where = cut if cut is not None else last
    check_calibration(calibration)
    check_structure(calibration)
    steps = Steps(progress, runtimes)
    shape = tuple(calibration.shape[1:])
    frames = calibration.dtype == np.uint8
    spec = frame_spec(shape) if frames else sample_spec(shape, axes)
    preparation = prepare_samples(shape, frames=frames, resize=resize, mean=mean, std=std)
    data = None if source is None else SourceData.of(source, spec, task)
    samples = calibrated_on(calibration)
    height, width = resize or (shape[0], shape[1] if len(shape) > 1 else 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, application = locate(model, weights, folder)
        if application is not None and not frames:
            raise CalibrationError(
                f"expected uint8 frames for keras.applications.{application}, found float32 samples."
            )
        request = Request(
            None if file is None else str(file.absolute()),
            application,
            None if weights is None else str(Path(weights).absolute()),
            len(classes) if classes is not None else IMAGENET,
            seed,
            (int(height), int(width), 3),
            taps if isinstance(taps, str) else list(taps),
            mean is not None or std is not None,
            list(runtimes),
            pooling,
            where,
        )
        request.write(folder)
        preparation.write(folder / PREPARATION)
        np.save(folder / SAMPLES, samples, allow_pickle=False)
        answer = run_worker(folder)
        parts = read_parts(answer, folder, task, keeps=head == "keep")
        latents = np.load(folder / LATENTS, allow_pickle=False)
        files = {runtime: _float_file(folder, runtime, answer) for runtime in runtimes}
        plan: TailPlan | None = None
        if where is not None:
            # torch is needed for a tail alone.
            from .tail import plan_keras_tail

            plan = plan_keras_tail(
                folder,
                answer,
                parts,
                samples,
                train=train,
                optimiser=optimiser,
                penalty=penalty,
                runtimes=runtimes,
            )
    return Finish(
        path=path,
        original=Original(
            ExportedFiles(files), spec, parts.taps, samples, latents, None if plan is None else plan.mapped
        ),
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
        plan=plan,
        provenance={"scaling": answer.scaling, **(provenance or {})},
        licence=licence,
        overwrite=overwrite,
        tools=answer.tools,
    ).write(steps, start)


def _check_tail(
    last: int | None,
    cut: str | None,
    task: Task,
    train: "Train",
    optimiser: "Optimiser",
    penalty: "Penalty",
    head: HeadChoice | None,
    *,
    with_source: bool,
) -> None:
    deeper = last is not None or cut is not None
    if not deeper and (train, optimiser, penalty) == ("all", "sgd", "l2sp"):
        return
    if deeper:
        require("torch", extra="convert", needed_by="the tail of a Keras model")
        require("onnxscript", extra="convert", needed_by="the tail of a Keras model")
        from ..tail_arguments import check_tail_arguments, check_training

        check_tail_arguments(last, cut, task, train)
        check_training(optimiser, penalty, head, deeper=True, with_source=with_source)
        return
    raise InputError("expected `train`, `optimiser` and `penalty` beside a tail, found one without. Pass last or cut.")


def _float_file(folder: Path, runtime: Runtime, answer: Answer) -> bytes:
    content = exported(folder, runtime).read_bytes()
    if runtime == "tflite":
        from ..tflite_batch import free_batch

        content = free_batch(content, answer.batch)
    return content
