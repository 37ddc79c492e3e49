"""Settings of compression: section [compress], beside those of pretraining."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..config.fields import check, setting
from ..config.model import ModelSettings
from ..config.read import config_from, read_sections
from ..data.settings import DataSettings
from ..training.settings import ObjectiveSettings, RunSettings, TrainingSettings
from .budget import Budget

STEPS = ("distil", "prune", "low-rank", "quantize-aware")
_OBJECTIVES = ("distillation", "supervised")


@dataclass(frozen=True)
class CompressSettings:
    """What is done to the model, how candidates are measured, and what the one that is taken may cost."""

    steps: tuple[str, ...] = setting(
        ("prune", "quantize-aware"),
        "What is done, in this order: distil (into student) comes first, quantize-aware, which all candidates go "
        "through for 8 bits, last; without the latter 8 bits are static.",
        choices=STEPS,
    )
    student: str | None = setting(None, "The model that distil trains, written as model.name.")
    student_code: str | None = setting(None, "The function that builds it, if it is a checkpoint that one builds.")
    ratios: tuple[float, ...] = setting(
        (0.3, 0.5), "Share of the channels that prune takes out; each makes a candidate.", above=0, below=1
    )
    importance: str = setting(
        "l2",
        "How prune judges channels: l2 by the norm of their weights, taylor by what the loss would change.",
        choices=("l2", "taylor"),
    )
    multiple: int = setting(8, "Widths are rounded to multiples of this by prune.", unit="channels", low=1)
    ignored: tuple[str, ...] = setting((), "Modules whose outputs prune leaves as they are.")
    layers: tuple[str, ...] = setting((), "Linear layers that low-rank factorises; empty takes the last.")
    rank_error: float = setting(
        0.05,
        "Most error of what such a layer returns.",
        unit="share of its spread over the calibration samples",
        low=0,
        below=1,
    )
    epochs_after: int | None = setting(
        None, "Epochs of training after prune and after low-rank; none takes training.epochs.", unit="epochs", low=1
    )
    learning_rate_after: float | None = setting(
        None, "Peak of the learning rate in those; none takes training.learning_rate.", above=0
    )
    quantize_steps: int = setting(
        300,
        "Steps of quantize-aware, one batch each; 0 keeps the ranges that were seen.",
        unit="steps",
        low=0,
    )
    quantize_rate: float = setting(1e-4, "Peak of the learning rate of quantize-aware.", above=0)
    calibration: int = setting(
        256,
        "Training samples, unvaried, that ranges, ranks and importance are found on.",
        unit="samples",
        low=8,
    )
    evaluation: int = setting(
        2_000, "Most validation samples that candidates are compared on, drawn by training.seed.", unit="samples", low=1
    )
    runtime: str = setting("onnx", "The device runtime that candidates are measured on.", choices=("onnx", "tflite"))
    max_latency_ms: float | None = setting(
        None, "Most time for one sample, one thread, on the machine that measures; none for any.", unit="ms", above=0
    )
    max_size_mb: float | None = setting(None, "Most size of the bundle; none for any.", unit="MB (10^6 bytes)", above=0)
    max_drop: float | None = setting(
        None,
        "Most accuracy that may be lost against the original in float; none for any.",
        unit="percentage points",
        low=0,
    )

    def __post_init__(self) -> None:
        """Check the fields, each and together."""
        check(self)
        steps = self.steps
        if not steps or len(set(steps)) < len(steps) or "distil" in steps[1:] or "quantize-aware" in steps[:-1]:
            raise InputError(
                f"expected compress.steps as each step once at most, distil first and quantize-aware last, found "
                f"{list(steps)}."
            )
        if ("distil" in steps) != (self.student is not None):
            raise InputError(
                'expected compress.student with the step "distil" and none without it, found '
                f"{self.student!r} with {list(steps)}. Name the smaller model, as model.name is written."
            )
        if "prune" in steps and (not self.ratios or len(set(self.ratios)) < len(self.ratios)):
            raise InputError(f"expected compress.ratios that differ, one or more, found {list(self.ratios)}.")

    @property
    def budget(self) -> Budget:
        """What the model may cost."""
        return Budget(self.max_latency_ms, self.max_size_mb, self.max_drop)


@dataclass(frozen=True)
class CompressConfig:
    """Everything that decides what compression gives.

    Args:
        model: What is compressed.
        data: What it is trained, calibrated and judged on.
        training: How a candidate is trained.
        objective: What is minimised then: distillation, with the original as teacher, or supervised.
        run: Logs and checkpoints of those runs.
        compress: What is done.
    """

    model: ModelSettings
    data: DataSettings
    training: TrainingSettings = field(default_factory=TrainingSettings)
    objective: ObjectiveSettings = field(default_factory=lambda: ObjectiveSettings(name="distillation"))
    run: RunSettings = field(default_factory=RunSettings)
    compress: CompressSettings = field(default_factory=CompressSettings)

    def __post_init__(self) -> None:
        if self.objective.name not in _OBJECTIVES or self.objective.teacher is not None:
            raise InputError(
                f"expected objective.name out of {', '.join(_OBJECTIVES)} without objective.teacher to compress a "
                f"model, which is the teacher itself, found {self.objective.name!r} and {self.objective.teacher!r}."
            )


def read_compress_config(path: Path | str, overrides: Sequence[str] = ()) -> CompressConfig:
    """Read settings from a file: the sections of pretraining, and [compress]. `objective.name` is distillation.

    Args:
        path: As for `read_config`.
        overrides: Likewise.

    Raises:
        InputError: Likewise.
    """
    raw = read_sections(path, overrides, CompressConfig)
    return compress_config_of(raw, Path(path).name)


def compress_config_of(raw: Mapping[str, Any], document: str = "the settings") -> CompressConfig:
    """Make settings from sections of plain values. Errors are those of `read_config`."""
    objective = raw.get("objective", {})
    if isinstance(objective, Mapping):
        objective = {"name": "distillation", **objective}
    return config_from(CompressConfig, {**raw, "objective": objective}, document)
