"""One step of training: forward and backward passes, clipping, the optimiser."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import TrainingError
from ..data.draws import seed_of
from ..objectives.gradient_surgery import project_conflicts
from ..transfer.layers import hold_still
from .batches import Batch
from .failures import why_not
from .memory import is_out_of_memory, what_fits
from .mixing import mix
from .settings import TrainingSettings
from .sharding import full, is_sharded

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from ..transfer.penalty import Penalty

# Which kind of draw a seed is for, so that no two kinds share their numbers.
_STEP, _SURGERY = 2, 3
# Steps whose numbers a GPU may still be computing; looking at each at once would make it wait.
_UNSEEN_STEPS = 16


@dataclass(frozen=True, eq=False)
class Trainee:
    """What is trained.

    Args:
        module: The objective.
        prepared: The same as the engine calls it: with processes and precision around it.
        optimizer: Of the module's parameters, prepared.
        engine: Device and processes.
        model: What the penalty is of, a part of the module; None without a penalty.
        penalty: Added to the loss, of the parameters alone; None for none.
        still: Modules that stay in evaluation mode.
    """

    module: nn.Module
    prepared: nn.Module
    optimizer: "AcceleratedOptimizer"
    engine: "Accelerator"
    model: nn.Module | None = None
    penalty: "Penalty | None" = None
    still: tuple[nn.Module, ...] = ()

    def begin_training(self) -> None:
        """Go to training mode, but for what stays in evaluation mode."""
        self.prepared.train()
        hold_still(self.still)


@dataclass(frozen=True)
class Taken:
    """What a step gave.

    Args:
        step: Which, counted from 0.
        loss: Of this process's samples.
        norm: Length of the gradient before it was shortened.
    """

    step: int
    loss: float
    norm: float


class Steps:
    """Takes steps, and stops at the first number that is not finite.

    Args:
        trainee: What is trained.
        settings: How.
        schedule: Share of the learning rate at a step.
        classes: Classes of each task.
        name_of: Turns a key of a sample into what messages call it.
    """

    def __init__(
        self,
        trainee: Trainee,
        settings: TrainingSettings,
        schedule: Callable[[int], float],
        classes: tuple[int, ...],
        name_of: Callable[[Any], str] = str,
    ) -> None:
        self.trainee, self.settings, self.schedule = trainee, settings, schedule
        self._classes, self._name_of = classes, name_of
        self._parameters = [p for p in trainee.module.parameters() if p.requires_grad]
        self._unseen: list[tuple[int, Tensor, Tensor, list[Any]]] = []
        self._unseen_steps = 1 if trainee.engine.device.type == "cpu" else _UNSEEN_STEPS

    def take(self, step: int, parts: Sequence[Batch]) -> list[Taken]:
        """Take a step on the parts of its batch; return those steps whose numbers have been looked at by now.

        Raises:
            TrainingError: If a loss or gradient is not finite, memory runs out, or the model cannot be trained so.
        """
        trainee, settings = self.trainee, self.settings
        rate = settings.learning_rate * self.schedule(step)
        for group in trainee.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        try:
            loss = self._projected(step, parts) if trainee.module.projects else self._backward(step, parts)
        except (RuntimeError, ValueError, MemoryError) as error:
            if is_out_of_memory(error):
                raise TrainingError(what_fits(trainee, parts[0], settings)) from error
            if told := why_not(error, trainee.module, len(parts[0][0])):
                raise TrainingError(told) from error
            raise
        trainee.engine.unscale_gradients(trainee.optimizer)
        if trainee.penalty is not None:
            loss = loss + self._penalised(trainee.penalty)
        norm = nn.utils.clip_grad_norm_(self._parameters, settings.gradient_norm)
        norm = norm.full_tensor() if is_sharded(norm) else norm  # type: ignore[attr-defined]
        self._unseen.append((step, loss, norm, [key for part in parts for key in part[2]]))
        # On a processor, before the parameters change; on a GPU, before anything is written.
        seen = self.look() if len(self._unseen) >= self._unseen_steps else []
        trainee.optimizer.step()
        trainee.optimizer.zero_grad()
        return seen

    def look(self) -> list[Taken]:
        """Return the steps not looked at yet.

        Raises:
            TrainingError: If a loss or gradient is not finite.
        """
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return []
        numbers = torch.stack([torch.stack([loss, norm.to(loss.dtype)]) for _, loss, norm, _ in unseen]).tolist()
        taken = [Taken(step, *pair) for (step, *_), pair in zip(unseen, numbers, strict=True)]
        for one, (_, _, _, keys) in zip(taken, unseen, strict=True):
            # In float16 the scaler expects gradients that overflow now and then, and skips those steps.
            if not math.isfinite(one.loss) or not (math.isfinite(one.norm) or self.trainee.engine.scaler):
                raise TrainingError(self._not_finite(one, keys))
        return taken

    def _backward(self, step: int, parts: Sequence[Batch]) -> Tensor:
        engine, prepared = self.trainee.engine, self.trainee.prepared
        total: Tensor | None = None
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else engine.no_sync(prepared):
                loss = prepared(*self._inputs(step, number, part)).sum() / len(parts)
                engine.backward(loss)
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None  # noqa: S101 - a step has one part or more
        return total

    def _penalised(self, penalty: "Penalty") -> Tensor:
        """Add the penalty's gradient to that of the step, which parts and processes are added up in by now."""
        assert self.trainee.model is not None  # noqa: S101 - a penalty is of a model
        value = penalty(self.trainee.model)
        if value.requires_grad:
            found = torch.autograd.grad(value, self._parameters, allow_unused=True)
            for parameter, slope in zip(self._parameters, found, strict=True):
                if slope is not None:
                    parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        return value.detach()

    def _projected(self, step: int, parts: Sequence[Batch]) -> Tensor:
        """Fill in the gradients of PCGrad: those of each task are added up over parts and processes, then projected."""
        engine, prepared = self.trainee.engine, self.trainee.prepared
        sums: list[list[Tensor | None]] = []
        total = torch.zeros((), device=engine.device)
        for number, part in enumerate(parts):
            with engine.no_sync(prepared):
                losses = prepared(*self._inputs(step, number, part)) / len(parts)
            total = total + losses.detach().sum()
            for task, loss in enumerate(losses):
                found = torch.autograd.grad(
                    loss, self._parameters, retain_graph=task < len(losses) - 1, allow_unused=True
                )
                if number == 0:
                    sums.append(list(found))
                else:
                    sums[task] = [_sum(a, b) for a, b in zip(sums[task], found, strict=True)]
        # Only what two tasks or more share can be in conflict.
        shared = [sum(one[i] is not None for one in sums) > 1 for i in range(len(self._parameters))]
        flat = torch.stack([self._flat(one, shared) for one in sums])
        rest = torch.stack([self._flat(one, [not s for s in shared]) for one in sums]).sum(0)
        if engine.num_processes > 1:
            flat, rest = engine.reduce(flat, "mean"), engine.reduce(rest, "mean")
        generator = torch.Generator().manual_seed(seed_of(self.settings.seed, step, 0, _SURGERY))
        merged = project_conflicts(flat, generator)
        pieces = {
            True: iter(torch.split(merged, self._sizes(shared))),
            False: iter(torch.split(rest, self._sizes([not s for s in shared]))),
        }
        for parameter, is_shared in zip(self._parameters, shared, strict=True):
            parameter.grad = next(pieces[is_shared]).view_as(parameter).clone()
        return total

    def _flat(self, gradients: Sequence[Tensor | None], wanted: Sequence[bool]) -> Tensor:
        pieces = [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g, want in zip(self._parameters, gradients, wanted, strict=True)
            if want
        ]
        return torch.cat(pieces) if pieces else self._parameters[0].new_zeros(0)

    def _sizes(self, wanted: Sequence[bool]) -> list[int]:
        return [p.numel() for p, want in zip(self._parameters, wanted, strict=True) if want]

    def _inputs(self, step: int, number: int, part: Batch) -> tuple[Tensor, Any]:
        """Return a part on the device, mixed; all that is random in it depends on seed, step, part and process."""
        engine, settings = self.trainee.engine, self.settings
        place = number * engine.num_processes + engine.process_index
        seed = seed_of(settings.seed, step, place, _STEP)
        # torch.manual_seed would seed every kind of device, which takes a third of a millisecond.
        torch.default_generator.manual_seed(seed)
        if engine.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        x, y, _ = part
        x = x.to(engine.device, non_blocking=True)
        # Some versions of torch make a list of a tuple whose memory they pin.
        y = y.to(engine.device) if isinstance(y, Tensor) else tuple(t.to(engine.device, non_blocking=True) for t in y)
        if isinstance(y, Tensor) and (settings.mixup or settings.cutmix):
            return mix(x, y, self._classes[0], mixup=settings.mixup, cutmix=settings.cutmix)
        return x, y

    def _not_finite(self, taken: Taken, keys: list[Any]) -> str:
        names = ", ".join(self._name_of(key) for key in keys[:4])
        return (
            f"expected a finite loss and gradient, found loss {taken.loss} and gradient norm {taken.norm} in step "
            f"{taken.step + 1} (samples {names}{', ...' if len(keys) > 4 else ''}). Nothing was written since the last "
            f"checkpoint. Lower training.learning_rate of {self.settings.learning_rate:g} or mend these samples, and "
            f"begin anew in another folder."
        )


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def whole(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state whole and on the processor; every process has to ask at the same time."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = full(tensor).contiguous()
        # Files of weights have no tensor twice, and models that share modules have.
        found[name] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return found
