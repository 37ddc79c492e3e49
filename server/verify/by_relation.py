"""What is known of transfer by relation: between samples, and between tasks."""

import numpy as np
import torch
from torch import nn

from ..compress.relational import relational_loss
from ..objectives.gradient_surgery import project_conflicts
from ..objectives.multi_task import weighted
from ..transfer.affinity import TaskLoss, gradient_affinity
from .check import Check, distance


def relation_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("relational distillation", "0 under rotation, shift and scale", "Park et al. 2019", _rotated, 1e-10),
        Check("task affinity", "1, -1, 0: equal, opposite, orthogonal gradients", "Du et al. 2018", _affinity, 1e-10),
        Check("loss weighting", "least at sigma^2 = L", "Kendall, Gal and Cipolla 2018", _uncertainty, 1e-10),
        Check("PCGrad", "two conflicting gradients in the plane", "Yu et al. 2020", _surgery, 1e-12),
    )


def _rotated() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    teacher = draw.normal(size=(10, 5))
    turn = np.linalg.qr(draw.normal(size=(5, 5)))[0]
    student = 3.7 * teacher @ turn + draw.normal(size=5)
    return 0.0, float(relational_loss(torch.from_numpy(student), torch.from_numpy(teacher)))


def _affinity() -> tuple[float, float]:
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)

    def along(x: float, y: float) -> TaskLoss:
        return lambda module: module(torch.tensor([[x, y]], dtype=torch.float64)).sum()

    found = gradient_affinity(model, [along(1, 2), along(2, 4), along(-1, -2), along(-2, 1)])[0]
    return distance(found.detach().numpy(), [1, 1, -1, 0])


def _uncertainty() -> tuple[float, float]:
    losses = torch.tensor([0.2, 1.0, 3.5], dtype=torch.float64)
    log_variances = losses.log().requires_grad_()
    (slope,) = torch.autograd.grad(weighted(losses, log_variances).sum(), log_variances)
    return 0.0, float(slope.abs().max())


def _surgery() -> tuple[float, float]:
    # (1, 0) less its part along (-1, 1) is (1/2, 1/2); (-1, 1) less its part along (1, 0) is (0, 1).
    found = project_conflicts(torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64))
    return distance(found.numpy(), [0.5, 1.5])
