"""Task affinity: whether a step that helps one task helps another, measured on the parameters that they share."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...errors import InputError

# Takes the model and returns the loss of one task, a scalar.
TaskLoss: TypeAlias = Callable[[nn.Module], Tensor]


def gradient_affinity(model: nn.Module, losses: Sequence[TaskLoss], names: Sequence[str] = ()) -> Tensor:
    """Return the cosines between the gradients of tasks: 1 for the same direction, -1 for opposite ones, 0 for neither.

    Args:
        model: Of all tasks; stays as it is, statistics of BatchNorm in training mode included. Its mode is the caller's
            choice.
        losses: Of each task.
        names: Parameters that count; all that every task has a gradient of where empty.

    Returns:
        ``(tasks, tasks)``; 0 where a gradient is 0.

    Raises:
        InputError: If tasks share no parameter that trains, a name is none of one, or a loss or gradient is no finite
            one of the model.

    References:
        Du et al. 2018, "Adapting auxiliary losses using gradient similarity".
    """
    with _buffers_kept(model):
        shared = _gradients(model, losses, names)
    flat = torch.stack([torch.cat([g.flatten() for g in found.values()]) for found in shared])
    directions = nn.functional.normalize(flat, dim=1)
    return (directions @ directions.T).clamp(-1, 1)


def lookahead_affinity(
    model: nn.Module, losses: Sequence[TaskLoss], *, rate: float = 1e-2, names: Sequence[str] = ()
) -> Tensor:
    """Return by what share a step on one task lowers the loss of another: ``1 - L_j(θ - rate g_i) / L_j(θ)``.

    Args:
        model: Of all tasks; stays as it is.
        losses: Of each task; above 0.
        rate: Length of the step, in gradients.
        names: As for `gradient_affinity`; the step is one of these parameters.

    Returns:
        ``(tasks, tasks)``: in row i and column j what a step on task i does for task j.

    Raises:
        InputError: As for `gradient_affinity`, or if a loss is not above 0, or the rate is not.

    References:
        Fifty et al. 2021, "Efficiently identifying task groupings for multi-task learning".
    """
    if not math.isfinite(rate) or rate <= 0:
        raise InputError(f"expected a finite rate above 0, found {rate}.")
    with _buffers_kept(model):
        return _looked_ahead(model, losses, rate, names)


def _looked_ahead(model: nn.Module, losses: Sequence[TaskLoss], rate: float, names: Sequence[str]) -> Tensor:
    shared = _gradients(model, losses, names)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        before = torch.stack([loss(model) for loss in losses])
        if not bool((before > 0).all()):
            raise InputError(f"expected losses above 0, found {before.tolist()}. Their ratio says nothing otherwise.")
        rows = []
        for found in shared:
            kept = {name: parameters[name].detach().clone() for name in found}
            try:
                for name, slope in found.items():
                    parameters[name].sub_(rate * slope)
                after = torch.stack([loss(model) for loss in losses])
            finally:
                for name, value in kept.items():
                    parameters[name].copy_(value)
            rows.append(1 - after / before)
    return torch.stack(rows)


def _gradients(model: nn.Module, losses: Sequence[TaskLoss], names: Sequence[str]) -> list[Mapping[str, Tensor]]:
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad and (not names or name in names)}
    missing = sorted(set(names) - parameters.keys())
    if missing or len(losses) < 2:
        raise InputError(
            f"expected two tasks or more and names of parameters that train, found {len(losses)} tasks and "
            f"{', '.join(missing) or 'no other name'}."
        )
    if not parameters:
        raise InputError("expected parameters that train, found none. Let the trunk of the tasks train.")
    found = [
        torch.autograd.grad(_checked(loss(model), at), list(parameters.values()), allow_unused=True)
        for at, loss in enumerate(losses)
    ]
    shared = [at for at in range(len(parameters)) if all(task[at] is not None for task in found)]
    if not shared:
        raise InputError("expected parameters that every task has a gradient of, found none. Share a trunk first.")
    keys = list(parameters)
    for number, task in enumerate(found):
        broken = [keys[at] for at in shared if not bool(task[at].isfinite().all())]
        if broken:
            raise InputError(f"expected finite gradients, found others of {broken[0]!r} from task {number}.")
    return [{keys[at]: task[at] for at in shared} for task in found]


def _checked(loss: Tensor, task: int) -> Tensor:
    if loss.numel() != 1 or not loss.requires_grad or not bool(loss.isfinite().all()):
        state = "attached to" if loss.requires_grad else "detached from"
        raise InputError(
            f"expected a finite scalar that follows from parameters that train as the loss of task {task}, found "
            f"values of shape {tuple(loss.shape)}, {state} them: {loss.detach().flatten()[:3].tolist()}."
        )
    return loss


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put the buffers of a model back: in training mode BatchNorm moves its statistics with each loss."""
    kept = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in kept:
                    buffer.copy_(kept[name])
