"""A run that adapts, guarded: a model trained on the source alone stands beside it, and is kept where it is to be."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from ...errors import TrainingError
from ...files import write_file
from ..checkpoint import RECORD_FILE, read_record, record_of
from ..compress.captured import captured
from ..config.read import PretrainConfig
from ..data.draws import seed_of
from ..data.split import Data
from ..folder import new_folder, remove_folder
from ..model_folder import MODEL_FOLDER
from ..objectives.adaptation import adapts, places_of, weight_of
from ..objectives.supervised import logits_of
from .guard import Answers, Verdict, judge_adaptation
from .looked_at import blocks_of, drawn_rows, labels_of
from .validators import Float64, Int64

SOURCE_ONLY = "source-only"
ADAPTED = "adapted"
VERDICT_FILE = "adaptation.json"
_NOTE = "adaptation"
# Which kind of draw a seed is for.
_DRAW = 9


def guards(settings: PretrainConfig) -> bool:
    """Return whether a run trains a model on the source alone beside its own."""
    return adapts(settings.objective) and settings.objective.guard and weight_of(settings.objective) > 0


def source_only(settings: PretrainConfig) -> PretrainConfig:
    """Return the settings of the run beside: the same, and nothing of the target."""
    objective = replace(settings.objective, adaptation_weight=0.0, guard=False)
    return replace(settings, objective=objective)


@dataclass(frozen=True, eq=False)
class Pair:
    """Both models of a guarded run.

    Args:
        source_only: Trained on the source alone.
        adapted: The other.
    """

    source_only: nn.Module
    adapted: nn.Module


def judge_models(models: Pair, data: Data, settings: PretrainConfig, device: torch.device) -> Verdict:
    """Decide between two models by what they make of training samples and of the target.

    Args:
        models: Both, on any device; they stay as they are.
        data: Of the run; of each side 2,000 samples at most are drawn, by the run's seed.
        settings: Of the run.
        device: Where to compute.
    """
    labels = labels_of(data.train)
    if data.target is None or not (labels >= 0).any():
        raise TrainingError("expected labelled samples of the source and samples of the target to judge, found none.")
    seed = seed_of(settings.training.seed, 0, 0, _DRAW)
    rows = drawn_rows(np.flatnonzero(labels >= 0), seed)
    others = drawn_rows(np.arange(len(labels_of(data.target))), seed)
    found = []
    for model in (models.source_only, models.adapted):
        places = places_of(model, settings.objective, settings.model.head)
        source = answers(model, data.train.dataset, rows, places, device)
        target = answers(model, data.target.dataset, others, places, device)
        found.append(Answers(*source, *target))
    held: tuple[Float64, Float64, Int64] | None = None
    if data.target_validation is not None:
        known = labels_of(data.target_validation)
        own = np.flatnonzero(known >= 0)
        first, second = (
            answers(model, data.target_validation.dataset, own, (), device)[1]
            for model in (models.source_only, models.adapted)
        )
        held = first, second, known[own]
    return judge_adaptation(found[0], found[1], labels[rows], held=held)


@torch.no_grad()
def answers(
    model: nn.Module, dataset: Dataset[Any], rows: NDArray[np.int64], places: Sequence[str], device: torch.device
) -> tuple[Float64, Float64]:
    """Return features ``(n, d)`` and logits ``(n, k)`` of a model in evaluation mode, unvaried samples.

    Args:
        model: Stays as it is.
        dataset: Gives ``(x, y, key)``.
        rows: ``(n,) int64`` which samples.
        places: Where features are taken; without any they are ``(n, 0)``.
        device: Where to compute.
    """
    was_training, was_on = model.training, next(model.parameters()).device
    model.eval().to(device)
    features: list[Float64] = []
    logits: list[Float64] = []
    try:
        for block in blocks_of(dataset, rows):
            x = block.to(device)
            with captured(model, places) as found:
                outputs = model(x)
            # One task: whatever its width is.
            width = int(getattr(outputs, "logits", outputs).shape[1])
            logits.append(logits_of(outputs, (width,))[0].double().cpu().numpy())
            taken = [found[place].flatten(1).double().cpu().numpy() for place in places]
            features.append(np.concatenate(taken, axis=1) if taken else np.empty((len(x), 0)))
    finally:
        model.train(was_training).to(was_on)
    return np.concatenate(features), np.concatenate(logits)


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Note a verdict in the folder of a run."""
    write_file(folder / VERDICT_FILE, json.dumps(asdict(verdict), indent=2, allow_nan=False).encode() + b"\n")


def read_verdict(folder: Path) -> Verdict | None:
    """Return the verdict that was noted in a folder, or None without any.

    Raises:
        TrainingError: If it is damaged.
    """
    path = folder / VERDICT_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        kept, reason, scores = found["kept"], found["reason"], found["scores"]
        if not isinstance(kept, bool) or not isinstance(reason, str):
            raise TypeError("kept and reason are of other types")
        return Verdict(kept, reason, {str(name): float(value) for name, value in scores.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"expected a verdict in {path}, found that {error}. Remove the file, and resume."
        ) from error


def settle(folder: Path, config: Mapping[str, Any]) -> None:
    """Let the model that a verdict chose be that of the run; whatever was done of it by a process that was killed.

    Args:
        folder: Of the run.
        config: Its settings, which stand beside its model.
    """
    verdict = read_verdict(folder)
    if verdict is None or verdict.kept:
        return
    model = folder / MODEL_FOLDER
    if not (folder / ADAPTED).exists():
        with new_folder(folder / ADAPTED) as part:
            shutil.copytree(model, part, dirs_exist_ok=True)
    if model.exists() and _NOTE in read_record(model).notes:
        return
    beside = folder / SOURCE_ONLY / MODEL_FOLDER
    record = read_record(beside)
    notes: dict[str, Any] = {**record.notes, "config": dict(config), _NOTE: verdict.reason}
    remove_folder(model)
    with new_folder(model) as part:
        shutil.copytree(beside, part, dirs_exist_ok=True)
        (part / RECORD_FILE).write_bytes(record_of(replace(record, notes=notes)))
