"""What a run trains, made of its settings: model, objective, optimiser, penalty, each on its device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from ..errors import InputError
from .config.read import PretrainConfig
from .data import Data
from .objectives.make import SELF_SUPERVISED, make_objective
from .training.optimizer import make_optimizer
from .training.paired import domain_numbers
from .training.sharding import shard
from .training.steps import Trainee
from .transfer.origin import Origin
from .transfer.penalty import Anchored, Penalty
from .transfer.tuning import Tuned, make_penalty, new_parameters, tuned

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_trainee(
    model: nn.Module,
    settings: PretrainConfig,
    classes: tuple[int, ...],
    data: Data,
    running: "Accelerator",
    *,
    teacher: nn.Module | None,
    origin: Origin,
    measure: bool,
) -> tuple[Trainee, Callable[[dict[str, Tensor]], dict[str, Tensor]]]:
    """Make what a run trains.

    Args:
        model: Trained as it is, not a copy of it; adapters are put into it where settings ask for them.
        settings: Of the run.
        classes: Of each task.
        data: To train on.
        running: Devices and processes.
        teacher: Of the objective distillation.
        origin: What fine-tuning needs of where the model comes from.
        measure: Whether a penalty is measured; if not, a checkpoint has it.

    Returns:
        What is trained, and what makes of its weights those that are kept.

    Raises:
        InputError: If settings, model and processes do not fit each other.
    """
    tuning = tuned(
        model,
        settings.transfer,
        outputs=sum(classes),
        head=settings.model.head,
        seed=settings.training.seed,
    )
    objective = make_objective(
        model,
        settings.objective,
        classes,
        label_smoothing=settings.training.label_smoothing,
        head=settings.model.head,
        seed=settings.training.seed,
        teacher=teacher,
        shape=data.shape,
        sources=max(domain_numbers(data.train) or [1]),
    )
    sharded = settings.run.sharding == "fsdp"
    if getattr(objective, "projects", False) and (sharded or settings.training.precision == "float16"):
        raise InputError(
            'expected objective.combine = "pcgrad" with whole models in float32 or bfloat16, found '
            f"run.sharding = {settings.run.sharding!r}, training.precision = {settings.training.precision!r}."
        )
    validation = data.validation
    if sharded and validation is not None and isinstance(validation.dataset, IterableDataset):
        # Sharded models are run by all processes at once, and streams have other numbers of batches in each.
        raise InputError(
            'expected validation data in files or arrays with run.sharding = "fsdp", found shards. Name such data '
            'as data.validation, or set run.sharding = "none".'
        )
    if sharded and running.num_processes == 1:
        raise InputError('expected several processes for run.sharding = "fsdp", found one. Start them with torchrun.')
    objective.to(running.device)
    penalty = _penalty(model, settings, data, running, origin, measure=measure)
    if sharded:
        shard(objective, running.device)
    if isinstance(penalty, Anchored):
        penalty = penalty.placed(model)
    # Of a sharded module the engine sees to precision alone.
    prepared = running.prepare_model(objective, evaluation_mode=sharded)
    l2_sp = settings.transfer.penalty == "l2-sp"
    optimizer = make_optimizer(
        objective,
        learning_rate=settings.training.learning_rate,
        weight_decay=0.0 if l2_sp else settings.training.weight_decay,
        factor_of=_factor_of(tuning, settings),
    )
    optimizer = running.prepare_optimizer(optimizer)
    return Trainee(objective, prepared, optimizer, running, model, penalty, tuning.still), tuning.plain


def _factor_of(tuning: Tuned, settings: PretrainConfig) -> Callable[[str], float]:
    prefix = "projected.model." if settings.objective.name in SELF_SUPERVISED else "model."
    return lambda name: tuning.factors.get(name.removeprefix(prefix), 1.0)


def _penalty(
    model: nn.Module, settings: PretrainConfig, data: Data, running: "Accelerator", origin: Origin, *, measure: bool
) -> Penalty | None:
    if origin.penalty is not None or settings.transfer.penalty == "none":
        return origin.penalty
    train = data.train
    new = new_parameters(model, origin.model, settings.transfer)
    made = make_penalty(
        model,
        settings.transfer,
        new=new,
        source=origin.model,
        data=origin.data,
        count=int(getattr(train.dataset, "samples", 0)) if train.labels is None else len(train.labels),
        seed=settings.training.seed,
        measure=measure,
        tell=running.is_main_process,
    )
    if made is not None and running.num_processes > 1:
        for tensor in made.tensors().values():
            # Processes must not differ in it by rounding.
            torch.distributed.broadcast(tensor, 0)
    return made
