"""What is known of transfer by model: heads, weights that are held where they started."""

import numpy as np
import torch
from torch import Tensor, nn

from ...edge.heads import Problem, Ridge, Setting, Softmax
from ..transfer.ewc import ewc
from ..transfer.fisher import fisher_diagonal
from ..transfer.l2_sp import l2_sp
from .check import Check, distance

_EWC = "Kirkpatrick et al. 2017"


def model_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("ridge head", "weights = scikit-learn's Ridge", "Hoerl and Kennard 1970; scikit-learn", _ridge, 1e-9),
        Check("softmax head", "weights = scikit-learn's LogisticRegression", "scikit-learn", _softmax, 1e-4),
        Check("L2-SP", "ridge: (A'A + a I)^-1 (A'b + a w0) is stationary", "Li et al. 2018", _l2_sp, 1e-9),
        Check("EWC", "Fisher of a softmax head: mean((p - y)^2 (x) x^2)", _EWC, _fisher, 1e-10),
        Check("EWC", "Fisher does not depend on the batch size", _EWC, _batches, 1e-10),
        Check("EWC", "two quadratic tasks: the joint minimiser is stationary", _EWC, _two_tasks, 1e-9),
    )


def _ridge() -> tuple[float, float]:
    from sklearn.linear_model import Ridge as Oracle

    draw = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20).astype(np.int64)
    x = draw.normal(size=(60, 5)) + draw.normal(size=(3, 5))[y]
    (found,) = Ridge().solve(Problem(x, y, 3), (Setting("ridge", 0.5),))
    means = np.stack([x[y == c].mean(axis=0) for c in range(3)])
    unit = float(((x - means[y]) ** 2).sum() / 5)
    other = Oracle(alpha=0.5 * unit).fit(x, np.eye(3)[y])
    return distance(np.c_[found.weight, found.bias], np.c_[other.coef_, other.intercept_])


def _softmax() -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    draw, r = np.random.default_rng(0), 0.1
    y = np.repeat([0, 1, 2], 20).astype(np.int64)
    x = draw.normal(size=(60, 5)) + draw.normal(size=(3, 5))[y]
    (found,) = Softmax().solve(Problem(x, y, 3), (Setting("softmax", r),))
    other = LogisticRegression(C=1 / (r * float((x**2).sum())), tol=1e-12, max_iter=100_000).fit(x, y)
    return distance(found.weight / np.abs(other.coef_).max(), other.coef_ / np.abs(other.coef_).max())


def _linear(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.random.default_rng(1).normal(size=(classes, width))))
    return layer


def _slope(layer: nn.Linear, loss: Tensor) -> tuple[float, float]:
    (found,) = torch.autograd.grad(loss, layer.weight)
    return 0.0, float(found.abs().max())


def _l2_sp() -> tuple[float, float]:
    draw, layer, alpha = np.random.default_rng(0), _linear(4, 1), 0.7
    a, b = draw.normal(size=(20, 4)), draw.normal(size=20)
    start = layer.weight.detach().numpy()[0].copy()
    penalty = l2_sp(layer, alpha=alpha)
    best = np.linalg.solve(a.T @ a + alpha * np.eye(4), a.T @ b + alpha * start)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(best[None]))
    error = layer(torch.from_numpy(a))[:, 0] - torch.from_numpy(b)
    return _slope(layer, error.square().sum() / 2 + penalty(layer))


def _fisher() -> tuple[float, float]:
    layer, x, y = _labelled()
    share = torch.softmax(layer(x), dim=1).detach().numpy() - np.eye(3)[y.numpy()]
    expected = np.einsum("nk,nd->kd", share**2, x.numpy() ** 2) / len(x)
    return distance(fisher_diagonal(layer, x, y)["weight"].numpy(), expected)


def _batches() -> tuple[float, float]:
    layer, x, y = _labelled()
    alone, together = (fisher_diagonal(layer, x, y, block=block)["weight"].numpy() for block in (1, len(x)))
    return distance(together, alone)


def _labelled() -> tuple[nn.Linear, Tensor, Tensor]:
    draw = np.random.default_rng(2)
    return _linear(4, 3), torch.from_numpy(draw.normal(size=(25, 4))), torch.from_numpy(draw.integers(0, 3, 25))


def _two_tasks() -> tuple[float, float]:
    draw, layer = np.random.default_rng(3), _linear(6, 1)
    information, other = draw.uniform(0.1, 2, (2, 1, 6))
    first, second = layer.weight.detach().numpy().copy(), draw.normal(size=(1, 6))
    penalty = ewc(layer, {"weight": torch.from_numpy(information)})
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy((information * first + other * second) / (information + other)))
    loss = (torch.from_numpy(other) * (layer.weight - torch.from_numpy(second)).square()).sum() / 2
    return _slope(layer, loss + penalty(layer))
