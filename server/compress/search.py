"""Search for the best model within a budget: every candidate is exported and measured on the device's runtime."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...bundle import Bundle, LinearLayer
from ...edge.runtime.runtime import Embedder, load_backbone
from ...errors import AcclimateError, InputError
from ...extras import require
from ...files import refuse_overwrite
from ...manifest import Runtime
from ..full_disk import told_if_full
from .budget import Budget, Choice, MeasuredModel, choose

_BATCH = 32
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_KINDS = ("float", "int8")


@dataclass(frozen=True)
class Candidate:
    """A model that may be taken.

    Args:
        name: Its name in the table and of its file: letters, digits, dots, dashes and underscores.
        make: Returns it, trained: the original, one that was pruned and trained again, a student.
        make_int8: Returns it trained for 8 bits; where None `quantize_aware` of the search does, if there is one.
    """

    name: str
    make: Callable[[], nn.Module]
    make_int8: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class SearchReport:
    """What a search found.

    Args:
        models: Every model that was exported, the candidates in order, float before 8 bits.
        choice: Which of them to take, or why none.
        paths: Their bundles.
        failed: Candidates that could not be exported, with the reason.
    """

    models: tuple[MeasuredModel, ...]
    choice: Choice
    paths: tuple[Path, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def chosen(self) -> Path | None:
        """The bundle to take, or None."""
        return None if self.choice.chosen is None else self.paths[self.choice.chosen]


def search(
    candidates: Sequence[Candidate],
    calibration: NDArray[Any],
    evaluation: tuple[NDArray[Any], NDArray[np.int64]],
    budget: Budget,
    *,
    folder: str | os.PathLike[str],
    runtime: Runtime = "onnx",
    quantize_aware: Callable[[nn.Module], nn.Module] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchReport:
    """Export every candidate in float and in 8 bits, measure all on this machine, and choose within a budget.

    Latency is that of the bundle's backbone and head for one sample, by the runtime that devices use, all models in
    turn: what else the machine does slows all alike. Measure on the device, or on a machine like it.

    Args:
        candidates: What there is; the first one in float is what `max_drop` counts from.
        calibration: See `acclimate.converters.convert`.
        evaluation: Raw samples like `calibration` with classes ``(n,) int64``, 0 to k - 1; neither trained on nor
            reported on afterwards, since the choice is made on them.
        budget: What the model may cost.
        folder: Where the bundles are written; made if it is missing.
        runtime: ``"onnx"`` or ``"tflite"``.
        quantize_aware: Returns a candidate trained for 8 bits, as ``lambda model: quantize_aware(model, batches)[0]``;
            without it 8 bits are static.
        options: Further arguments of `acclimate.converters.convert`, as normalisation.
        progress: Called with the number of exports done and of all.

    Returns:
        The table, the choice and the bundles.

    Raises:
        InputError: If the arguments do not fit.
        ConversionError: If the first candidate cannot be exported in float, or another error of `convert`.
        OutputExistsError: If a bundle of that name is there.
        TrainingError: If the disk is full.
    """
    require("onnx", extra="convert", needed_by="acclimate.server.compress.search")
    target = Path(folder)
    _check(candidates, evaluation, budget)
    for candidate in candidates:
        for kind in _KINDS:
            refuse_overwrite(target / f"{candidate.name}-{kind}.acc", overwrite=False)
    target.mkdir(parents=True, exist_ok=True)
    found: list[MeasuredModel] = []
    loaded: dict[Path, _Answering] = {}
    failed: list[tuple[str, str]] = []
    for number, candidate in enumerate(candidates):
        made = candidate.make()
        for turn, kind in enumerate(_KINDS):
            path = target / f"{candidate.name}-{kind}.acc"
            try:
                model = _for_8_bits(candidate, made, quantize_aware) if kind == "int8" else made
                _export(model, calibration, path, runtime, {**(options or {}), "quantize": kind == "int8"})
            except AcclimateError as error:
                # Without the first one there is nothing to count the drop from; a full disk fails them all.
                if not found or isinstance(error.__cause__, OSError):
                    raise
                failed.append((path.stem, str(error)))
            else:
                loaded[path] = _open(path, runtime)
                accuracy = _accuracy(loaded[path], *evaluation)
                drop = 100 * (found[0].accuracy - accuracy) if found else 0.0
                size, count = path.stat().st_size / 1e6, sum(parameter.numel() for parameter in model.parameters())
                found.append(MeasuredModel(candidate.name, kind == "int8", math.nan, size, accuracy, drop, count))
            if progress is not None:
                progress(len(_KINDS) * number + turn + 1, len(_KINDS) * len(candidates))
    models = _timed(found, loaded, evaluation[0][:1])
    return SearchReport(models, choose(models, budget), tuple(loaded), tuple(failed))


def _for_8_bits(
    candidate: Candidate, made: nn.Module, quantize_aware: Callable[[nn.Module], nn.Module] | None
) -> nn.Module:
    if candidate.make_int8 is not None:
        return candidate.make_int8()
    return made if quantize_aware is None else quantize_aware(made)


@dataclass(frozen=True, eq=False)
class _Answering:
    """A backbone with its head: what a prediction costs."""

    backbone: Embedder
    head: LinearLayer

    @property
    def description(self) -> str:
        return self.backbone.description

    def embed(self, frames: NDArray[np.generic]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self.backbone.embed(frames) @ self.head.weight.T + self.head.bias
        return logits

    def embed_with_maps(self, frames: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.backbone.embed_with_maps(frames)


def _export(
    model: nn.Module, calibration: NDArray[Any], path: Path, runtime: Runtime, options: Mapping[str, Any]
) -> None:
    from ...converters import convert

    with told_if_full("a candidate", path):
        convert(model, calibration, out=path, runtimes=(runtime,), **options)


def _open(path: Path, runtime: Runtime) -> _Answering:
    with Bundle(path) as bundle:
        head = bundle.head(runtime)
        assert head is not None  # noqa: S101  `convert` keeps the model's own
        width = head.weight.shape[1]
        return _Answering(load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, width, 1), head)


def _accuracy(model: Embedder, x: NDArray[Any], y: NDArray[np.int64]) -> float:
    hits = [model.embed(x[i : i + _BATCH]).argmax(axis=1) == y[i : i + _BATCH] for i in range(0, len(x), _BATCH)]
    return float(np.concatenate(hits).mean())


def _timed(
    models: Sequence[MeasuredModel], loaded: Mapping[Path, Embedder], sample: NDArray[Any]
) -> tuple[MeasuredModel, ...]:
    from ...converters.quantization.latency import latencies

    seconds = latencies(list(loaded.values()), sample)
    return tuple(replace(one, latency_ms=1e3 * found) for one, found in zip(models, seconds, strict=True))


def _check(candidates: Sequence[Candidate], evaluation: tuple[NDArray[Any], NDArray[np.int64]], budget: Budget) -> None:
    names = [one.name for one in candidates]
    if not names or len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise InputError(
            f"expected candidates with different names of letters, digits, dots, dashes and underscores, found {names}."
        )
    x, y = evaluation
    if not len(x) or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise InputError(f"expected samples with one class each, found {x.shape} with {y.dtype} {y.shape}.")
    if not budget.limits():
        raise InputError("expected max_latency_ms, max_size_mb or max_drop, found no limit. Set at least one.")
