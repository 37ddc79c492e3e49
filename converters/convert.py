"""From a trained torch model to one bundle."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..manifest import RUNTIMES, Runtime, Task
from .arguments import check_arguments
from .conversion_report import ConversionReport
from .finish import Finish
from .onnx_source.file import OnnxFile
from .onnx_source.split import split_onnx
from .original import Original, run_module
from .parity import MOST_LOST, QUANTIZED_COSINE
from .quantization.calibration import WATCHED, Calibration, check_structure
from .quantization.trained_ranges import watching
from .quantization.wish import FloatConvolutions, Quantize, Wish, check_wish
from .raw_input import describe_input, synthetic_samples
from .samples import calibrated_on
from .source import HeadChoice
from .source_data import Source, SourceData
from .splitting.split import Taps, split
from .steps import Steps
from .tail_arguments import Train, check_tail_arguments, check_training
from .tail_plan import compile_plan, plan_tail
from .tap_budget import budget_for, check_budget
from .tap_pooling import Pooling, check_pooling
from .tasks import Outputs, name_outputs
from .training.objective import Penalty
from .training.optimiser import Optimiser
from .variant import Progress

_TFLITE = ("litert_torch", "ai_edge_quantizer", "ai_edge_litert")


def convert(
    model: nn.Module | OnnxFile,
    calibration: NDArray[Any],
    *,
    out: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    task: Task = "classification",
    targets: Sequence[str] | None = None,
    source: Source | None = None,
    head: HeadChoice | None = "keep",
    taps: Taps = "all",
    pooling: Pooling = "mean",
    latent_bytes: int | None = None,
    last: int | None = None,
    cut: str | None = None,
    train: Train = "all",
    optimiser: Optimiser = "sgd",
    penalty: Penalty = "l2sp",
    runtimes: Sequence[Runtime] = RUNTIMES,
    quantize: Quantize = "auto",
    calibrate: Calibration = "minmax",
    float_convolutions: FloatConvolutions = "auto",
    least_cosine: float = QUANTIZED_COSINE,
    most_lost: float = MOST_LOST,
    every_layer: bool = False,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    axes: Sequence[str] | None = None,
    provenance: Mapping[str, str] | None = None,
    licence: str = "",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """Convert a trained model into a bundle that a device can open and adapt.

    Args:
        model: A torch module that ends in an ``nn.Linear``. It is not changed.
        calibration: ``(n, height, width, channels) uint8`` frames as the device's sensor gives them, of the size that
            the bundle is to take, or ``(n, ...) float32`` samples of another kind. A few dozen, at least 8; of more
            than 256, evenly spaced ones are used.
        out: Where to write; the suffix ``.acc`` is usual.
        classes: Names of the classes in the order of the model's outputs; by default "0", "1", ..., or the labels of
            `source` where the head is not kept.
        task: ``"classification"``, or ``"regression"`` where the outputs are values.
        targets: For regression, names of the values in the order of the model's outputs; by default "value", or
            "value 0", "value 1", ...
        source: Samples like `calibration`, with labels, for regression ``(n,)`` or ``(n, t)`` numbers: their statistics
            travel in the bundle, and with a shipped head what it calls unknown. Two arrays ``(x, y)``; or, of any size,
            batches ``(x, y)`` in something that can be gone through more than once and then gives the same (a
            DataLoader that does not shuffle), or a function that returns it. They are read two times and once for each
            runtime, once more for `latent_bytes` and for ``"ewc"``, and their latents lie in a temporary file where
            they are many. Statistics are of all samples; a
            head is fitted on, and what is unknown told from, at most 20,000 of them, drawn evenly from the classes.
        head: ``"keep"`` ships the model's own last layer, ``"fit"`` one fitted on all taps of `source`; None ships
            none, and the device defines its classes.
        taps: ``"all"``, ``"last"`` or names of modules (`split`).
        pooling: ``"mean"``, or ``"mean-max"`` for the maxima of each tapped map beside its means.
        latent_bytes: Most bytes of a stored latent, one a dimension: taps that are worth the least for their bytes are
            left out until it fits, judged by a head on `source` (`prune_taps`). The maps of a tail come on top.
        last: Give the bundle a tail of so many blocks besides the head, which a device can train.
        cut: The same, by the name of the module whose output the tail takes (`list_cuts`).
        train: Which parameters of the tail train beside its head: ``"all"``, or names and patterns such as
            ``"layer4.1.*"``.
        optimiser: What trains the tail: ``"sgd"`` with momentum, or ``"adam"``, which keeps twice the state.
        penalty: What holds its parameters at the shipped ones: ``"l2sp"`` all alike, ``"ewc"`` each as much as the
            Fisher information of `source` says, which then travels in the bundle, or ``"none"``.
        runtimes: ``"onnx"``, ``"tflite"`` or both.
        quantize: ``"auto"`` keeps 8-bit weights and activations, unless they lose more than the bounds below allow, or
            are slower than float on this processor by more than a tenth: then 8-bit weights with float activations, or
            float. True insists on 8 bits, ``"weights"`` on 8-bit weights, False on float.
        calibrate: How the ranges of activations are found in `calibration`: ``"minmax"`` takes all that was seen,
            ``"percentile"`` leaves out the rarest, ``"entropy"`` what costs the least information.
        float_convolutions: What stays in float: ``"auto"`` for the layers that lose the most, the fewest that the
            bounds need; ``"ladder"`` for the first 0, 3 or 6 convolutions; a number for so many of the first.
        least_cosine: Least mean of the centred cosine between the quantized latents and the original's.
        most_lost: Percentage points of accuracy that a fresh head on quantized latents may lose against one on float
            latents, cross-validated on `source` (classification).
        every_layer: Measure what each layer costs even where all can be in 8 bits, for the report.
        resize: Height and width that the model takes, if frames have another size.
        mean: Mean of the model's normalisation: per channel, with pixel values in 0 to 1, for frames.
        std: Its standard deviation.
        axes: Names of the axes of a float32 sample, for example ``("channel", "time")``.
        provenance: Where model and data came from. Versions of the tools are added.
        licence: Licence of the weights.
        progress: Called with the number of steps done and of all.
        overwrite: Replace a file that is there.

    Returns:
        The report.

    Raises:
        CutError: If the model cannot be split.
        CalibrationError: If the calibration data does not fit.
        ParityError: If a converted backbone does not do what the model did.
        ConversionError: If an exporter or a quantizer fails.
        InputError: If another argument does not fit.
        MissingExtraError: If a package is not installed.
        OutputExistsError: If `out` is there and `overwrite` is false.
    """
    start = perf_counter()
    path = check_arguments(
        out, runtimes, head, source, overwrite, _TFLITE, task=task, licence=licence, provenance=provenance
    )
    check_tail_arguments(last, cut, task, train)
    check_budget(latent_bytes, task, with_source=source is not None)
    check_pooling(pooling, taps)
    deeper = last is not None or cut is not None
    check_training(optimiser, penalty, head, deeper=deeper, with_source=source is not None)
    wish = Wish(quantize, calibrate, float_convolutions, least_cosine, most_lost, every_layer)
    check_wish(wish)
    steps = Steps(progress, runtimes)
    where, plan = cut if cut is not None else last, None

    def named(data: SourceData | None, bias: NDArray[Any]) -> Outputs:
        kept = len(bias) if head == "keep" else None
        return name_outputs(task, classes, targets, None if data is None else data.given, kept)

    if isinstance(model, OnnxFile):
        divide = partial(
            split_onnx,
            model,
            calibration,
            keeps_head=head == "keep",
            runtimes=runtimes,
            where=where,
            resize=resize,
            mean=mean,
            std=std,
            axes=axes,
        )
        given = divide(taps=taps, pooling=pooling)
        data = None if source is None else SourceData.of(source, given.raw.spec, task)
        outputs = named(data, given.split.bias)
        embed = partial(run_module, given.split.backbone)
        budget = budget_for(latent_bytes, given.split.taps, embed, data, outputs.labels)
        if budget is not None and budget.dropped:
            given = divide(taps=budget.names)
        raw, parts, original = given.raw, given.split, given.original
        if given.tail is not None and original.mapped is not None:
            plan = compile_plan(given.tail, original.mapped, train=train, optimiser=optimiser, penalty=penalty)
    else:
        raw = describe_input(calibration, model, resize=resize, mean=mean, std=std, axes=axes)
        check_structure(calibration)
        data = None if source is None else SourceData.of(source, raw.spec, task)
        samples = calibrated_on(calibration)
        with torch.no_grad():
            few = raw.preprocess(torch.from_numpy(np.ascontiguousarray(samples[:4])))
            parts = split(model, few, taps, pooling)
        outputs = named(data, parts.bias)
        embed = partial(run_module, nn.Sequential(raw.preprocess, parts.backbone))
        budget = budget_for(latent_bytes, parts.taps, embed, data, outputs.labels)
        if budget is not None and budget.dropped:
            # Maxima have names of their own among them.
            taps, pooling = budget.names, "mean"
            parts = split(model, few, taps)
        module = nn.Sequential()
        module.add_module("preprocess", raw.preprocess)
        module.add_module("backbone", parts.backbone)
        if where is not None:
            plan = plan_tail(
                model,
                parts,
                raw.preprocess,
                samples,
                cut=where,
                taps=taps,
                pooling=pooling,
                train=train,
                optimiser=optimiser,
                penalty=penalty,
                runtimes=runtimes,
            )
        mapped = None if plan is None else plan.mapped
        with watching(model) as trained:
            if trained:
                run_module(nn.Sequential(raw.preprocess, model), samples[:WATCHED])
        latents = run_module(module.eval(), samples)
        original = Original(module, raw.spec, parts.taps, samples, latents, mapped, trained)
    finish = Finish(
        path=path,
        original=original,
        probes=synthetic_samples(raw),
        parts=parts,
        outputs=outputs,
        head=head,
        source=data,
        runtimes=runtimes,
        wish=wish,
        plan=plan,
        budget=budget,
        provenance=provenance,
        licence=licence,
        overwrite=overwrite,
    )
    return finish.write(steps, start)
