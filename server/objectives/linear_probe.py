"""The linear probe: how well a linear classifier on frozen features does."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...errors import InputError


def fit_linear(features: Tensor, labels: Tensor, classes: int, *, penalty: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression on standardised features.

    The minimum of ``mean cross-entropy + penalty / 2 · |W|²`` is unique; L-BFGS in float64 finds it.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``, 0 to classes - 1.
        classes: k.
        penalty: Weight of the squared weights of standardised features.

    Returns:
        Weights ``(k, d)`` and biases ``(k,)`` for the features as they are, float64.

    Raises:
        InputError: If there is no sample.
    """
    if len(features) == 0:
        raise InputError(
            "expected labelled samples for the linear probe, found none. Label some, or raise probe_share."
        )
    x = features.double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    # A feature that is always the same says nothing; 1 leaves it at 0.
    deviation = torch.where(deviation > 1e-12 * mean.abs() + 1e-30, deviation, torch.ones_like(deviation))
    x = (x - mean) / deviation
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(x @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weight / deviation
        return scaled.clone(), bias - scaled @ mean


def probe_rows(labels: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.int64]:
    """Return labelled rows for a probe: a share of each class, at least one, drawn by a seed.

    Args:
        labels: ``(n,) int64``, -1 for unlabelled.
        share: Share of each class, above 0 to 1.
        seed: Fixes the draw.
    """
    draws = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        chosen.append(draws.permutation(rows)[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
