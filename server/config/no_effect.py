"""Settings that change nothing, given the others and the data: each is told once, before a run begins."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model_folder import model_folder
from ..training.settings import ADAPTATION
from .read import PretrainConfig, as_json

SELF_SUPERVISED = ("simclr", "barlow-twins")
_ADAPTATION = "objective.adaptation_weight objective.layers objective.target_batch objective.guard"


@dataclass(frozen=True)
class Circumstances:
    """What besides the settings decides whether one has an effect.

    Args:
        form: What a sample of the data is: image, sound, series, table, tensor, or shards; None where that is unknown.
        validated: Whether there are validation samples.
        own_data: Whether data was handed over, so that the settings name none.
        own_model: Whether a model was handed over, likewise.
    """

    form: str | None = None
    validated: bool = True
    own_data: bool = False
    own_model: bool = False


Reason = Callable[[PretrainConfig, Circumstances], str | None]


def told_in_vain(config: PretrainConfig, around: Circumstances) -> tuple[str, ...]:
    """Return a sentence for each setting that differs from its default and changes nothing.

    Args:
        config: The settings.
        around: What else decides.
    """
    values, usual = as_json(config), _defaults(config)
    told: list[str] = []
    seen: set[str] = set()
    for names, why in RULES:
        reason = why(config, around)
        for name in names.split() if reason else ():
            section, _, key = name.partition(".")
            # The first reason is enough.
            if values[section][key] != usual[section][key] and name not in seen:
                seen.add(name)
                told.append(f"{name} has no effect: {reason}.")
    return tuple(told)


def _defaults(config: PretrainConfig) -> dict[str, dict[str, Any]]:
    return {
        part.name: {
            field.name: None if field.default is dataclasses.MISSING else _plain(field.default)
            for field in dataclasses.fields(getattr(config, part.name))
        }
        for part in dataclasses.fields(config)
    }


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _when(test: Callable[[PretrainConfig, Circumstances], bool], reason: str) -> Reason:
    return lambda config, around: reason if test(config, around) else None


def _form(*forms: str) -> Callable[[PretrainConfig, Circumstances], bool]:
    """Whether samples are known, and none of these."""
    return lambda config, around: around.form not in (None, "shards", *forms)


def _without(augment: str) -> Reason:
    return _when(lambda config, around: augment not in config.data.augment, f"data.augment names no {augment}")


def _other_objective(*names: str) -> Reason:
    return lambda config, around: (
        None if config.objective.name in names else f"it is of the objective {' and '.join(names)}"
    )


def _listed(config: PretrainConfig) -> bool:
    return Path(config.data.train).suffix.lower() in (".csv", ".tsv")


_DATA = (
    "kind validation validation_share classes labels group target target_validation domain path_column root features "
    "standardise size channels mean std most_pixels augment crop_scale shift rand_augment erase sample_rate seconds "
    "mels window_ms hop_ms noise masks window stride jitter scale time_warp samples shuffle"
)
_DISTILLATION = (
    "objective.teacher_code objective.distil_temperature objective.hard_weight objective.hint_weight "
    "objective.distance_weight objective.angle_weight"
)
# Settings, with blanks between, and why they have no effect, if so.
RULES: tuple[tuple[str, Reason], ...] = (
    ("model.weights model.code model.seed", _when(lambda c, a: a.own_model, "the model was handed over")),
    (
        "model.weights",
        _when(lambda c, a: model_folder(c.model.name) is not None, "model.name is a checkpoint, which has its own"),
    ),
    ("model.code", _when(lambda c, a: model_folder(c.model.name) is None, "model.name is no checkpoint")),
    (
        " ".join(f"data.{name}" for name in _DATA.split()),
        _when(lambda c, a: a.own_data, "the data was handed over"),
    ),
    ("data.validation_share", _when(lambda c, a: c.data.validation is not None, "data.validation is given")),
    ("data.size data.channels data.most_pixels", _when(_form("image"), "the samples are no images")),
    ("data.mean data.std", _when(_form("image", "sound"), "the samples are neither images nor sounds")),
    ("data.standardise", _when(_form("table", "series"), "only tables and series are standardised")),
    (
        "data.sample_rate data.seconds data.mels data.window_ms data.hop_ms",
        _when(_form("sound"), "the samples are no sounds"),
    ),
    ("data.window data.stride", _when(_form("series"), "the samples are no series")),
    ("data.stride", _when(lambda c, a: c.data.window is None, "data.window is not set")),
    (
        "data.samples data.shuffle",
        _when(lambda c, a: a.form not in (None, "shards"), "the samples are not in shards"),
    ),
    ("data.path_column data.features", _when(lambda c, a: not _listed(c), "data.train is no .csv file")),
    ("data.root", _when(lambda c, a: c.data.path_column is None, "data.path_column is not set")),
    (
        "data.labels data.group",
        _when(
            lambda c, a: a.form in ("image", "sound") and Path(c.data.train).is_dir(),
            "labels of a folder are the names of its folders, and it tells no groups",
        ),
    ),
    ("data.group", _when(lambda c, a: a.form == "shards", "shards tell no groups")),
    ("data.crop_scale", _without("crop")),
    ("data.shift", _without("shift")),
    ("data.rand_augment", _without("rand-augment")),
    ("data.erase", _without("erase")),
    ("data.noise", _without("noise")),
    ("data.masks", _without("spec-augment")),
    ("data.jitter", _without("jitter")),
    ("data.scale", _without("scale")),
    ("data.time_warp", _without("time-warp")),
    (
        "training.warmup",
        _when(lambda c, a: c.training.schedule == "one-cycle", 'training.schedule = "one-cycle" has its own rise'),
    ),
    (
        "training.label_smoothing training.mixup training.cutmix training.patience training.monitor",
        _when(lambda c, a: c.objective.name in SELF_SUPERVISED, "the objective learns without labels"),
    ),
    (
        "training.mixup training.cutmix",
        _when(lambda c, a: c.objective.name == "multi-task", "samples of several tasks are not blended"),
    ),
    (
        "training.label_smoothing",
        _when(lambda c, a: c.objective.name == "distillation", "the answers of a teacher are soft already"),
    ),
    (
        "training.weight_decay",
        _when(lambda c, a: c.transfer.penalty == "l2-sp", "l2-sp draws weights towards the source's instead"),
    ),
    (
        "transfer.penalty_weight transfer.new_layers",
        _when(lambda c, a: c.transfer.penalty == "none", "there is no transfer.penalty"),
    ),
    ("transfer.new_weight", _when(lambda c, a: c.transfer.penalty != "l2-sp", "it is of l2-sp")),
    ("transfer.source_data transfer.fisher_samples", _when(lambda c, a: c.transfer.penalty != "ewc", "it is of ewc")),
    (
        "transfer.lora_alpha transfer.lora_layers",
        _when(lambda c, a: not c.transfer.lora_rank, "transfer.lora_rank is 0"),
    ),
    ("transfer.rate_factor", _when(lambda c, a: c.transfer.train_last == 1, "the last block alone trains")),
    (
        "training.patience training.monitor",
        _when(lambda c, a: not a.validated, "there are no validation samples"),
    ),
    (
        "training.mixup training.cutmix",
        _when(lambda c, a: c.objective.name in ADAPTATION, "samples of two domains are not blended"),
    ),
    (
        "training.patience training.monitor",
        _when(
            lambda c, a: c.objective.name in ADAPTATION,
            "an objective that adapts keeps the last weights, as what is best in the source is not in the target",
        ),
    ),
    (f"data.target data.target_validation data.domain {_ADAPTATION}", _other_objective(*ADAPTATION)),
    ("objective.bandwidths", _other_objective("dan", "jan")),
    ("objective.domain_units", _other_objective("dann")),
    (
        "data.target data.target_validation data.domain objective.layers objective.target_batch objective.bandwidths "
        "objective.domain_units objective.guard",
        _when(lambda c, a: c.objective.adaptation_weight == 0, "objective.adaptation_weight is 0"),
    ),
    ("data.target_validation", _when(lambda c, a: not c.objective.guard, "objective.guard is false")),
    ("objective.combine", _other_objective("multi-task")),
    ("objective.projection objective.hidden objective.probe_share", _other_objective(*SELF_SUPERVISED)),
    ("objective.temperature", _other_objective("simclr")),
    ("objective.redundancy", _other_objective("barlow-twins")),
    (_DISTILLATION, _other_objective("distillation")),
    ("objective.hint_weight", _when(lambda c, a: not c.objective.hints, "objective.hints names no modules")),
    (
        "objective.distance_weight objective.angle_weight",
        _when(lambda c, a: c.objective.relations is None, "objective.relations names no modules"),
    ),
)
