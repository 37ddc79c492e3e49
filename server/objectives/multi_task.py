"""The multi-task objective: several labels a sample, one trunk, losses weighted by learnt uncertainty or equally."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .supervised import logits_of


class MultiTask(nn.Module):
    """The losses of several tasks of one model.

    Args:
        model: Returns logits of every task: a tuple, or one tensor ``(b, k_1 + k_2 + ...)``.
        classes: Classes of each task.
        combine: ``equal`` and ``pcgrad`` give the losses as they are, ``uncertainty`` weights them.
        label_smoothing: As in `Supervised`.
    """

    def __init__(
        self, model: nn.Module, classes: tuple[int, ...], combine: str = "uncertainty", label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.model, self.classes, self.label_smoothing = model, classes, label_smoothing
        self.projects = combine == "pcgrad"
        first = next(model.parameters())
        self.log_variances = (
            nn.Parameter(torch.zeros(len(classes), dtype=first.dtype, device=first.device))
            if combine == "uncertainty"
            else None
        )

    def forward(self, x: Tensor, y: tuple[Tensor, ...] | None = None) -> Tensor | tuple[Tensor, ...]:
        """Return the losses of the tasks ``(tasks,)``, or without labels the logits of each.

        Args:
            x: What the model takes.
            y: For each task ``(b,) int64``, -1 for unlabelled.
        """
        logits = logits_of(self.model(x), self.classes)
        if y is None:
            return logits
        losses = torch.stack([self._loss(found, labels) for found, labels in zip(logits, y, strict=True)])
        return losses if self.log_variances is None else weighted(losses, self.log_variances)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        summed = functional.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, ignore_index=-1, reduction="sum"
        )
        # A batch without a label of this task has no loss in it, and a gradient of 0.
        return summed / (labels >= 0).sum().clamp(min=1)


def weighted(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Return losses weighted by uncertainty: ``L / (2 σ²) + ln(σ²) / 2``, least at ``σ² = L``.

    Args:
        losses: ``(tasks,)``.
        log_variances: ``(tasks,)`` ln σ², learnt.

    References:
        Kendall, Gal and Cipolla 2018, "Multi-task learning using uncertainty to weigh losses".
    """
    return (losses * torch.exp(-log_variances) + log_variances) / 2
