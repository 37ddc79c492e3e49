"""A student keeps how its teacher's samples lie to each other: their distances and angles, not where they are."""

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import InputError

_TINY = 1e-12


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the distances between samples, as shares of their mean.

    Zero for embeddings that a rotation, reflection, shift and change of scale make equal; their widths may differ.

    Args:
        student: ``(n, ...) float32``, two samples or more.
        teacher: ``(n, ...) float32``; no gradient flows into it.

    Returns:
        The mean Huber loss over pairs of samples, a scalar.

    References:
        Park et al. 2019, "Relational knowledge distillation".
    """
    a, b = _flat(student, teacher, least=2)
    return functional.huber_loss(_distances(a), _distances(b))


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the cosines of the angles at each sample between the directions to two others.

    Zero where `distance_loss` is.

    Args:
        student: ``(n, ...) float32``, three samples or more.
        teacher: ``(n, ...) float32``; no gradient flows into it.

    Returns:
        The mean Huber loss over triples of different samples, a scalar; its memory grows with the cube of n.

    References:
        Park et al. 2019, "Relational knowledge distillation".
    """
    a, b = _flat(student, teacher, least=3)
    return functional.huber_loss(_cosines(a), _cosines(b))


def relational_loss(
    student: Tensor, teacher: Tensor, *, distance_weight: float = 1.0, angle_weight: float = 2.0
) -> Tensor:
    """Return the weighted sum of `distance_loss` and `angle_loss`; by default weighted as in the paper, 1 to 2."""
    loss = distance_weight * distance_loss(student, teacher)
    return loss if angle_weight == 0 else loss + angle_weight * angle_loss(student, teacher)


def _flat(student: Tensor, teacher: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    if len(student) != len(teacher) or len(student) < least:
        raise InputError(
            f"expected embeddings of the same {least} samples or more, found {len(student)} of the student and "
            f"{len(teacher)} of the teacher. Take larger batches."
        )
    return student.flatten(1), teacher.detach().flatten(1)


def _distances(x: Tensor) -> Tensor:
    # Products of samples would lose the small distances, and have no gradient where samples are equal.
    found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    found = found[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    return found / found.mean().clamp_min(_TINY)


def _cosines(x: Tensor) -> Tensor:
    directions = functional.normalize(x[None] - x[:, None], dim=2, eps=_TINY)
    cosines = directions @ directions.transpose(1, 2)
    same = torch.eye(len(x), dtype=torch.bool, device=x.device)
    return cosines[~(same[:, :, None] | same[:, None, :] | same[None])]
