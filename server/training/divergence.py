"""Training that ran away: scores and weights that are numbers no longer, and losses that grew."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...errors import TrainingError
from .metrics import Metrics

_SCORES = ("loss", "accuracy", "macro_f1", "calibration_error")
# Losses near nought that grow by less say nothing.
_LEAST_GROWTH = 0.1

_log = logging.getLogger(__name__)


def require_scores(tasks: Sequence[Metrics], step: int, learning_rate: float) -> None:
    """Refuse scores of weights whose answers are no numbers.

    Args:
        tasks: The scores, one per task.
        step: Steps taken.
        learning_rate: As the settings have it.

    Raises:
        TrainingError: If one is not finite.
    """
    for number, one in enumerate(tasks, start=1):
        found = next((name for name in _SCORES if not math.isfinite(getattr(one, name))), None)
        if found is not None:
            task = f" of task {number}" if len(tasks) > 1 else ""
            raise TrainingError(
                f"expected finite validation scores, found {found.replace('_', ' ')} {getattr(one, found)}{task} after "
                f"step {step}: the training diverged, or its weights answer validation samples with NaN or infinity. "
                f"{_advice(learning_rate)}"
            )


def require_weights(weights: Mapping[str, Tensor], step: int) -> None:
    """Refuse weights that nothing can go on from.

    Args:
        weights: By name.
        step: Steps taken.

    Raises:
        TrainingError: If one is not finite.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"expected finite weights, found NaN or infinity in {name!r} after step {step}: the training "
                f"diverged. {_advice(None)}"
            )


def grown_loss(epochs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a sentence where the loss of the last epoch is far above that of the first; None where it is not.

    Args:
        epochs: The log's record of each epoch.
    """
    known: list[tuple[int, float]] = []
    for epoch, one in enumerate(epochs, start=1):
        loss = one.get("loss")
        if isinstance(loss, int | float) and not isinstance(loss, bool) and math.isfinite(loss):
            known.append((epoch, float(loss)))
    if len(known) < 2:
        return None
    (first, was), (last, now) = known[0], known[-1]
    if now - was <= max(abs(was), _LEAST_GROWTH):
        return None
    return (
        f"the loss grew from {was:.4g} in epoch {first} to {now:.4g} in epoch {last}: the training diverged. Lower "
        f"training.learning_rate, and begin anew in another folder."
    )


def warn_of_growth(epochs: Sequence[Mapping[str, Any]]) -> None:
    """Log the sentence of `grown_loss`, if there is one."""
    if (told := grown_loss(epochs)) is not None:
        _log.warning("%s", told)


def _advice(learning_rate: float | None) -> str:
    rate = "" if learning_rate is None else f" of {learning_rate:g}"
    return (
        f"Nothing was written since the last checkpoint. Lower training.learning_rate{rate}, and begin anew in another "
        f"folder."
    )
