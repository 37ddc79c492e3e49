"""Blocks of compression, one after the other."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...errors import InputError

Train = Callable[[nn.Module], object]


@dataclass(frozen=True)
class Step:
    """One block with its settings.

    Args:
        name: What it is called in reports.
        run: Takes a model and returns another one with a report: a block with all but its model bound, as
            ``partial(prune, sample=x, ratio=0.3)``.
        train: Whether the model is trained after it. Not after quantization-aware training, whose ranges would no
            longer be right.
    """

    name: str
    run: Callable[[nn.Module], tuple[nn.Module, Any]]
    train: bool = True


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Args:
        name: Of the step.
        report: The block's own report.
        parameters: Number of the model's parameters after it.
        trained: What `train` returned; None where the model was not trained.
    """

    name: str
    report: Any
    parameters: int
    trained: object = None


def compress(
    model: nn.Module,
    steps: Sequence[Step],
    *,
    train: Train | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, tuple[StepReport, ...]]:
    """Run blocks of compression in order, and train the model after those that ask for it.

    Args:
        model: The model. It is not changed.
        steps: What to do; quantization-aware training last, since every other block refuses its ranges.
        train: Trains a model in place; needed where a step asks for training.
        progress: Called with steps done and steps in total.

    Returns:
        The model in evaluation mode, and a report of each step.

    Raises:
        InputError: If there is no step, or training is asked for and `train` is missing.
    """
    if not steps:
        raise InputError("expected one step or more, found none.")
    asking = [step.name for step in steps if step.train]
    if train is None and asking:
        raise InputError(
            f"expected a function that trains the model after {asking[0]!r}, found none. Give `train`, or "
            f"the step with train=False."
        )
    model = copy.deepcopy(model)
    reports = []
    for number, step in enumerate(steps, 1):
        model, report = step.run(model)
        trained = train(model) if train is not None and step.train else None
        model.eval()
        size = sum(parameter.numel() for parameter in model.parameters())
        reports.append(StepReport(step.name, report, size, trained))
        if progress is not None:
            progress(number, len(steps))
    return model, tuple(reports)
