"""The supervised objective: cross-entropy with labels of one task."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError


class Supervised(nn.Module):
    """Cross-entropy of a classifier.

    Args:
        model: Takes a batch and returns logits ``(b, k)``.
        classes: k.
        label_smoothing: Share of the targets that is spread evenly over the classes.
    """

    projects = False

    def __init__(self, model: nn.Module, classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self.classes, self.label_smoothing = model, (classes,), label_smoothing

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Return the losses of the tasks ``(1,)``, or without labels the logits of each, as a tuple of one.

        Args:
            x: What the model takes.
            y: ``(b,) int64``, -1 for unlabelled, or targets ``(b, k)``.
        """
        logits = logits_of(self.model(x), self.classes)
        if y is None:
            return logits
        loss = functional.cross_entropy(logits[0], y, label_smoothing=self.label_smoothing, ignore_index=-1)
        # A view of one number would upset sharded modules.
        return torch.stack([loss])


def logits_of(outputs: object, classes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return a model's outputs as one tensor of logits per task.

    Args:
        outputs: What it returned: a tensor, a tuple of them, a mapping of them, or an object with ``logits``.
        classes: Classes of each task. One tensor for several tasks is cut along its last axis.

    Raises:
        InputError: If they are not logits ``(b, k)`` of every task.
    """
    found = getattr(outputs, "logits", outputs)
    if isinstance(found, dict):
        found = tuple(found.values())
    if isinstance(found, Tensor) and len(classes) > 1 and found.dim() == 2 and found.shape[1] == sum(classes):
        found = torch.split(found, list(classes), 1)
    tensors = (found,) if isinstance(found, Tensor) else tuple(found) if isinstance(found, tuple | list) else ()
    shapes = [tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__ for t in tensors]
    if [s[1:] if isinstance(s, tuple) else s for s in shapes] != [(k,) for k in classes]:
        raise InputError(
            f"expected the model to return logits of {', '.join(f'(b, {k})' for k in classes)}, found "
            f"{shapes or type(outputs).__name__}. Give it one output per class of each task."
        )
    return tensors
