"""A student's features follow its teacher's, whatever the widths of both."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError


class FeatureMatch(nn.Module):
    """Projects a student's features linearly to the width of its teacher's; the projection is trained with the student.

    Args:
        student_width: Channels of the student's features.
        teacher_width: Channels of the teacher's.
        seed: Fixes the first weights.

    References:
        Romero et al. 2015, "FitNets: hints for thin deep nets".
    """

    def __init__(self, student_width: int, teacher_width: int, *, seed: int = 0) -> None:
        super().__init__()
        self.projection = nn.Linear(student_width, teacher_width)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.projection.weight.normal_(0, student_width**-0.5, generator=generator)
            self.projection.bias.zero_()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `feature_loss` of the projected features, a scalar.

        Args:
            student: ``(n, s)`` or ``(n, s, ...) float32``.
            teacher: ``(n, t)`` or ``(n, t, ...) float32``, with as many axes; the finer map is averaged to the size of
                the coarser one. No gradient flows into it.
        """
        if student.dim() != teacher.dim() or len(student) != len(teacher):
            raise InputError(
                f"expected features of teacher and student for the same samples with as many axes, found "
                f"{tuple(teacher.shape)} and {tuple(student.shape)}. Name places of the same kind."
            )
        student, teacher = _same_size(student, teacher.detach())
        projected = self.projection(student.movedim(1, -1)).movedim(-1, 1)
        return feature_loss(projected, teacher)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared distance of features, those of each sample scaled to length 1: 0 to 4, a scalar.

    Args:
        student: ``(n, ...) float32``.
        teacher: The same; no gradient flows into it.
    """
    a, b = (functional.normalize(features.flatten(1), dim=1) for features in (student, teacher.detach()))
    return (a - b).square().sum(1).mean()


def _same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape[2:] == b.shape[2:]:
        return a, b
    pools = {3: functional.adaptive_avg_pool1d, 4: functional.adaptive_avg_pool2d, 5: functional.adaptive_avg_pool3d}
    if a.dim() not in pools:
        raise InputError(f"expected maps of 1 to 3 axes of positions, found {tuple(a.shape)} and {tuple(b.shape)}.")
    size: Any = tuple(min(x, y) for x, y in zip(a.shape[2:], b.shape[2:], strict=True))
    pool = pools[a.dim()]
    return pool(a, size), pool(b, size)
