"""What is known of the losses of training: discrepancies with a gradient, reversal, views of a sample."""

import math

import numpy as np
import torch

from ...edge.transfer import mmd as arrays
from ..objectives.barlow_twins import barlow_loss
from ..objectives.simclr import nt_xent
from ..transfer.adversarial import gaussian_a_distance, ramp, reversed_gradient
from ..transfer.coral_loss import coral_loss
from ..transfer.discrepancy import mmd
from ..transfer.joint import joint_mmd
from .check import Check, distance


def loss_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("MK-MMD loss", "value = the statistic's, n and m differ", "Long et al. 2015 (DAN)", _mmd, 1e-10),
        Check("JMMD loss", "one layer and a constant one = MMD", "Long et al. 2017 (JAN)", _joint, 1e-10),
        Check("CORAL loss", "|C_s - C_t|^2 / (4 d^2)", "Sun and Saenko 2016", _coral, 1e-12),
        Check("DANN", "gradient = -lambda times the plain one", "Ganin et al. 2016", _reversal, 1e-12),
        Check("DANN", "lambda = 2 / (1 + exp(-10 p)) - 1", "Ganin et al. 2016", _ramp, 1e-12),
        Check("proxy-A distance", "N(0, I) and N(m, I): 2 - 4 Phi(-|m| / 2)", "Ben-David et al. 2007", _proxy, 1e-12),
        Check("NT-Xent", "identical pairs, orthogonal to the others", "Chen et al. 2020", _contrast, 1e-10),
        Check("Barlow Twins", "0 where the correlation is the identity", "Zbontar et al. 2021", _twins, 1e-8),
    )


def _samples() -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.normal(size=(20, 4))), torch.from_numpy(draw.normal(size=(13, 4)) + 0.5)


def _mmd() -> tuple[float, float]:
    source, target = _samples()
    widths = (0.5, 1.0, 2.0)
    expected = arrays.unbiased(source.numpy(), target.numpy(), arrays.Gaussians(widths))
    return expected, float(mmd(source, target, widths))


def _joint() -> tuple[float, float]:
    source, target = _samples()
    ones = torch.ones_like(source), torch.ones_like(target)
    expected = arrays.unbiased(source.numpy(), target.numpy(), arrays.Gaussians((1.0,)))
    return expected, float(joint_mmd([ones[0], source], [ones[1], target], [(1.0,), (1.0,)]))


def _coral() -> tuple[float, float]:
    source, target = _samples()
    apart = np.cov(source.numpy().T) - np.cov(target.numpy().T)
    return float((apart**2).sum() / (4 * 4**2)), float(coral_loss(source, target + 100))


def _reversal() -> tuple[float, float]:
    x = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
    (plain,) = torch.autograd.grad(torch.sin(3 * x).sum(), x)
    (found,) = torch.autograd.grad(torch.sin(3 * reversed_gradient(x, 0.3)).sum(), x)
    return distance(found.numpy(), -0.3 * plain.numpy())


def _ramp() -> tuple[float, float]:
    progress = torch.linspace(0, 1, 11, dtype=torch.float64)
    return distance(ramp(progress).numpy(), 2 / (1 + np.exp(-10 * progress.numpy())) - 1)


def _proxy() -> tuple[float, float]:
    from scipy.stats import norm

    return float(2 - 4 * norm.cdf(-0.65)), gaussian_a_distance(1.3)


def _contrast() -> tuple[float, float]:
    pairs, temperature = 4, 0.5
    views = torch.eye(pairs, dtype=torch.float64)
    # Of 2 b - 1 others one is the same, and the rest are orthogonal.
    expected = math.log(math.exp(1 / temperature) + 2 * pairs - 2) - 1 / temperature
    return expected, float(nt_xent(views, 3 * views, temperature))


def _twins() -> tuple[float, float]:
    # Columns of a Hadamard matrix: mean 0, variance 1, uncorrelated.
    rows = np.array([[1.0]])
    for _ in range(3):
        rows = np.block([[rows, rows], [rows, -rows]])
    views = torch.from_numpy(rows[:, 1:])
    return 0.0, float(barlow_loss(views, 2 * views + 1, 0.005))
