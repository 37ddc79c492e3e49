"""The candidates of a compression run: student, pruned and factorised models, each trained in a run of its own."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ..config.model import ModelSettings
from ..config.read import PretrainConfig
from ..data.split import Data
from .low_rank import low_rank
from .narrowed import narrowing_of, with_narrowing
from .prune import prune
from .raw_samples import RawSamples
from .settings import CompressConfig, CompressSettings

if TYPE_CHECKING:
    from ..training.loop import Listener, Progress

RUNS = "runs"
ORIGINAL = "original"


@dataclass(frozen=True, eq=False)
class Work:
    """What candidates are made of.

    Args:
        config: The settings.
        data: What they are trained on.
        samples: What importance and ranks are found on.
        folder: Of the whole.
        original: The model that is compressed.
        architecture: The text from which it is built again.
        device: See `pretrain`.
        stage: Called with the name of what is made next.
        progress: See `pretrain`.
        listener: See `pretrain`.
    """

    config: CompressConfig
    data: Data
    samples: RawSamples
    folder: Path
    original: nn.Module
    architecture: str
    device: str = "auto"
    stage: Callable[[str], None] | None = None
    progress: "Progress | None" = None
    listener: "Listener | None" = None


@dataclass(frozen=True, eq=False)
class Made:
    """A candidate.

    Args:
        name: Its name.
        model: The trained model, in evaluation mode.
        architecture: The text from which its network is built again; None where it cannot be.
        told: What was done to make it, JSON values.
    """

    name: str
    model: nn.Module
    architecture: str | None
    told: Mapping[str, Any]


def names_of(settings: CompressSettings) -> tuple[str, ...]:
    """Return the names of all candidates in the order in which they are made."""
    names, newest = [ORIGINAL], [ORIGINAL]
    for step in settings.steps:
        newest = {
            "distil": ["student"],
            "prune": [_named(base, f"pruned-{ratio:g}") for base in newest for ratio in settings.ratios],
            "low-rank": [_named(base, "low-rank") for base in newest],
            "quantize-aware": [],
        }[step]
        names += newest
    return tuple(names)


def make_candidates(work: Work) -> tuple[tuple[Made, ...], tuple[tuple[str, str], ...]]:
    """Make every candidate; those whose run came to its end are only loaded.

    Args:
        work: What they are made of.

    Returns:
        The candidates, the original first; and names of those that are none, with the reason.

    Raises:
        InputError: If a step does not fit the model.
        TrainingError: If a training fails. Those that ended, and its checkpoints, stay.
    """
    made = [Made(ORIGINAL, work.original, work.architecture, {})]
    newest, skipped = made[:], []
    for step in work.config.compress.steps:
        before, newest = newest, []
        if step == "distil":
            newest = [_student(work)]
        elif step == "prune":
            newest = [_pruned(work, base, ratio) for base in before for ratio in work.config.compress.ratios]
        elif step == "low-rank":
            for base in before:
                found = _factorised(work, base)
                newest.append(base if isinstance(found, str) else found)
                if isinstance(found, str):
                    skipped.append((_named(base.name, "low-rank"), found))
        made += [one for one in newest if one not in made]
    return tuple(made), tuple(skipped)


def rehearse(work: Work) -> None:
    """Go through the steps without training, so that what cannot work is told before hours of it.

    Raises:
        InputError: If a step does not fit the model.
    """
    from .quantize_aware import simulate

    settings = work.config.compress
    model = work.original if settings.student is None else _untrained(work)[0]
    few = work.samples.calibration_x[:32]
    for step in settings.steps:
        if step == "prune":
            cut = [_cut(work, model, ratio, "l2")[0] for ratio in settings.ratios]
            model = cut[0]
        elif step == "low-rank":
            model = low_rank(model, [few], error=settings.rank_error, layers=settings.layers or None)[0]
        elif step == "quantize-aware":
            simulate(model, [few])


def _student(work: Work) -> Made:
    model, architecture = _untrained(work)
    trained = _train(work, "student", model, architecture, after=False)
    return Made("student", trained, architecture, {"parameters": _sizes(work.original, trained)})


def _untrained(work: Work) -> tuple[nn.Module, str]:
    from ..models import architecture_of, build_model

    settings = work.config.compress
    assert settings.student is not None  # noqa: S101  settings were checked
    named = ModelSettings(name=settings.student, code=settings.student_code, seed=work.config.model.seed)
    size = len(work.data.classes)
    return build_model(named, size, work.data.shape), architecture_of(named, size, work.data.shape)


def _pruned(work: Work, base: Made, ratio: float) -> Made:
    name = _named(base.name, f"pruned-{ratio:g}")
    narrow, report = _cut(work, base.model, ratio, work.config.compress.importance)
    architecture = _narrow_architecture(base, narrow)
    trained = _train(work, name, narrow, architecture)
    widths = {one.name: [one.before, one.after] for one in report.layers if one.after < one.before}
    told = {"ratio": ratio, "removed": report.removed, "parameters": list(report.parameters), "widths": widths}
    return Made(name, trained, architecture, told)


def _cut(work: Work, model: nn.Module, ratio: float, importance: str) -> Any:
    settings = work.config.compress
    return prune(
        model,
        work.samples.calibration_x[:2],
        ratio=ratio,
        importance=cast(Literal["l2", "taylor"], importance),
        loss=_loss(work.samples) if importance == "taylor" else None,
        ignored=settings.ignored,
        multiple=settings.multiple,
    )


def _loss(samples: RawSamples) -> Callable[[nn.Module], Tensor]:
    rows = samples.calibration_y >= 0
    if not rows.any():
        raise InputError(
            'expected labelled training samples for compress.importance = "taylor", found none. Set it to "l2".'
        )
    return lambda model: functional.cross_entropy(model(samples.calibration_x[rows]), samples.calibration_y[rows])


def _factorised(work: Work, base: Made) -> Made | str:
    settings = work.config.compress
    name = _named(base.name, "low-rank")
    batches = torch.split(work.samples.calibration_x, work.config.training.batch_size)
    narrow, report = low_rank(base.model, batches, error=settings.rank_error, layers=settings.layers or None)
    if all(layer.whole for layer in report.layers):
        named = ", ".join(layer.name for layer in report.layers)
        return f"two factors would be no smaller than {named} at an error of {settings.rank_error:g}"
    architecture = _narrow_architecture(base, narrow)
    trained = _train(work, name, narrow, architecture)
    ranks = {layer.name: layer.rank for layer in report.layers if not layer.whole}
    return Made(name, trained, architecture, {"ranks": ranks, "parameters": list(report.parameters)})


def _narrow_architecture(base: Made, narrow: nn.Module) -> str | None:
    if base.architecture is None:
        return None
    return with_narrowing(base.architecture, narrowing_of(base.model, narrow))


def _train(work: Work, name: str, model: nn.Module, architecture: str | None, *, after: bool = True) -> nn.Module:
    # It needs this package itself.
    from ..pretrain import pretrain

    config, settings = work.config, work.config.compress
    training = config.training
    if after:
        training = replace(
            training,
            epochs=settings.epochs_after or training.epochs,
            learning_rate=settings.learning_rate_after or training.learning_rate,
        )
    if work.stage is not None:
        work.stage(name)
    run = pretrain(
        PretrainConfig(config.model, config.data, training, config.objective, config.run),
        out=work.folder / RUNS / name,
        resume=True,
        device=work.device,
        progress=work.progress,
        listener=work.listener,
        data=work.data,
        model=copy.deepcopy(model).requires_grad_(True),
        teacher=work.original if config.objective.name == "distillation" else None,
        architecture=architecture or f"compressed {name}",
    )
    return run.model


def _named(base: str, addition: str) -> str:
    return addition if base == ORIGINAL else f"{base}-{addition}"


def _sizes(*models: nn.Module) -> list[int]:
    return [sum(parameter.numel() for parameter in model.parameters()) for model in models]
