"""Coral's on-device training of a softmax layer: time to the loss that its 500 steps of gradient descent reach.

Mean cross-entropy without a penalty on 1,024 x 1,024 float32 latents of 16 Gaussian classes, batches of 100, the best
of five learning rates. The classes' means are 6 or 2 standard deviations apart, about as in the tests of Coral's
library: far from one another, and close. The descent is written in numpy, as Coral's is. No solver is charged for
finding out when to stop.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from acclimate.edge.heads.conjugate import minimise
from acclimate.edge.heads.logistic import Objective

from .harness import Row, alternate, finish

SAMPLES, WIDTH, CLASSES = 1_024, 1_024, 16
STEPS, BATCH = 500, 100
RATES = (0.001, 0.01, 0.1, 1.0, 10.0)
DISTANCES = (6.0, 2.0)
MOST = 1_000
Float32 = NDArray[np.float32]
Labels = NDArray[np.int64]


def main() -> None:
    """Measure and print."""
    rows: list[Row] = []
    usual = len(os.sched_getaffinity(0))
    for distance in DISTANCES:
        x, y = _clusters(distance)
        losses = {rate: _loss(x, y, _descend(x, y, rate)) for rate in RATES}
        rate = min(losses, key=lambda rate: losses[rate])
        reached = losses[rate]
        steps = _fewest(lambda n: _loss(x, y, _ours(x, y, n)), reached)  # noqa: B023
        works: dict[str, Callable[[], object]] = {
            "ours": lambda: _ours(x, y, steps),  # noqa: B023
            "numpy": lambda: _descend(x, y, rate),  # noqa: B023
        }
        if find_spec("torch") is not None:
            works |= _torch(x, y, rate, reached)
        for threads in (1, None):
            with _limit(threads, usual):
                cost = alternate(works, 5)
            where = "one thread" if threads else "all threads"
            note = f"loss {reached:.2g} at rate {rate:g}; {steps} of our steps"
            rows += [
                Row(
                    f"classes {distance:g} apart, {where}, against {name}",
                    cost["ours"].wall * 1e3,
                    "ms",
                    cost[name].wall * 1e3,
                    goal="time" if name == "numpy" and threads else "",
                    note=f"{note}; CPU {cost['ours'].cpu * 1e3:.1f} against {cost[name].cpu * 1e3:.1f} ms",
                )
                for name in list(works)[1:]
            ]
    finish("coral", rows, ["torch"] if find_spec("torch") is not None else [])


def _clusters(distance: float) -> tuple[Float32, Labels]:
    """Gaussian classes of unit variance, their means so far apart on average."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(SAMPLES) % CLASSES)
    means = rng.normal(size=(CLASSES, WIDTH)) * distance / np.sqrt(2 * WIDTH)
    return (means[y] + rng.normal(size=(SAMPLES, WIDTH))).astype(np.float32), y


def _loss(x: Float32, y: Labels, theta: Float32) -> float:
    logits = x.astype(np.float64) @ theta[:, :-1].T + theta[:, -1]
    logits -= logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]))


def _ours(x: Float32, y: Labels, steps: int) -> Float32:
    shape = (CLASSES, 1, WIDTH + 1)
    # Next to no penalty: there is a minimum, and nothing of it is seen at these losses.
    penalty = np.full((1, *shape[1:]), 1e-9, np.float32)
    start = np.zeros(shape, np.float32)
    weight = np.full(SAMPLES, 1 / SAMPLES, np.float32)
    found: Float32 = minimise(Objective(x, y, weight, penalty, start), start, 0.0, steps)[:, 0].astype(np.float32)
    return found


def _descend(x: Float32, y: Labels, rate: float) -> Float32:
    """Stochastic gradient descent in numpy."""
    rng = np.random.default_rng(0)
    weight = (0.01 * rng.normal(size=(WIDTH, CLASSES))).astype(np.float32)
    bias, own = np.zeros(CLASSES, np.float32), np.arange(BATCH)
    for _ in range(STEPS):
        rows = rng.integers(0, SAMPLES, BATCH)
        batch = x[rows]
        error = batch @ weight
        error += bias
        error -= error.max(axis=1, keepdims=True)
        np.exp(error, out=error)
        error /= error.sum(axis=1, keepdims=True)
        error[own, y[rows]] -= 1
        error *= rate / BATCH
        weight -= batch.T @ error
        bias -= error.sum(axis=0)
    return np.hstack([weight.T, bias[:, None]])


def _torch(x: Float32, y: Labels, rate: float, reached: float) -> dict[str, Callable[[], object]]:
    """PyTorch's descent with the same batches and rate, and its L-BFGS to the same loss."""
    import torch
    from torch.nn import functional

    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def theta(layer: torch.nn.Linear) -> Float32:
        with torch.no_grad():
            return np.hstack([layer.weight.numpy(), layer.bias.numpy()[:, None]])

    def zeros() -> torch.nn.Linear:
        layer = torch.nn.Linear(WIDTH, CLASSES)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        return layer

    def descend() -> Float32:
        rng, layer = np.random.default_rng(0), zeros()
        optimiser = torch.optim.SGD(layer.parameters(), lr=rate)
        for _ in range(STEPS):
            rows = torch.from_numpy(rng.integers(0, SAMPLES, BATCH))
            optimiser.zero_grad()
            functional.cross_entropy(layer(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return theta(layer)

    def lbfgs(steps: int) -> Float32:
        layer = zeros()
        optimiser = torch.optim.LBFGS(
            layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe", history_size=10
        )
        optimiser.param_groups[0].update(tolerance_grad=0.0, tolerance_change=0.0)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = functional.cross_entropy(layer(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return theta(layer)

    steps = _fewest(lambda n: _loss(x, y, lbfgs(n)), reached)
    return {"PyTorch SGD": descend, "PyTorch L-BFGS": lambda: lbfgs(steps)}


def _fewest(loss: Callable[[int], float], enough: float) -> int:
    """Return about the least number of steps that brings a loss down so far: every step goes down."""
    low, high = 0, 1
    while loss(high) > enough:
        low, high = high, 2 * high
        if high > MOST:
            raise ValueError(f"{MOST} steps do not reach the loss")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= enough else (middle, high)
    return high


def _limit(threads: int | None, usual: int) -> AbstractContextManager[object]:
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads or usual)
    return nullcontext() if threads is None else threadpool_limits(threads)


if __name__ == "__main__":
    main()
