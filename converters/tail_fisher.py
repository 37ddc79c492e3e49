"""Fisher information of a tail on the source: how much the source says of each of its parameters."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.func import grad, vmap

from ..errors import ConversionError
from .training.capture import Captured, capture
from .training.classes import loosen
from .training.fold import fold

Float32 = NDArray[np.float32]
Parameters = Mapping[str, Tensor]
Logits = Callable[[Parameters, Tensor], Tensor]
# Gradients of single samples that are taken; of a large tail each costs a tenth of a second.
MOST_GRADIENTS = 1_000
# Numbers of gradients that are held at a time: 64 MB. For fewer samples than this at once, one by one is quicker.
_HELD, _FEW = 2**24, 8


def folded_tail(tail: nn.Module, maps: Tensor, head: tuple[str, ...]) -> Captured:
    """Return a tail as its training is compiled: BatchNorm folded, the number of classes free.

    Args:
        tail: From maps to logits, in evaluation mode.
        maps: ``(n, ...) float32`` maps, at least two.
        head: Names of the head's parameters, whose first axis is that of the classes.
    """
    captured = fold(capture(tail, maps))
    loosen(captured, head, len(captured.tensors[head[0]]))
    return captured


def logits_of(captured: Captured) -> Logits:
    """Return a function from parameters by name and maps ``(n, ...)`` to logits ``(n, k)``; the rest is constant."""
    graph = fx.GraphModule(nn.Module(), captured.graph)
    placeholders = [node for node in captured.graph.nodes if node.op == "placeholder"]
    named = [None if node is captured.source else captured.names[node] for node in placeholders]

    def run(parameters: Parameters, maps: Tensor) -> Tensor:
        tensors = {**captured.tensors, **parameters}
        logits: Tensor = graph(*(maps if name is None else tensors[name] for name in named))[0]
        return logits

    return run


def fisher_diagonals(
    logits: Logits, parameters: Mapping[str, Float32], maps: Iterable[Float32], k: int, samples: int, seed: int = 0
) -> dict[str, Float32]:
    """Compute the diagonal of the true Fisher information: classes as the tail itself expects them, not as labelled.

    ``F = mean_i E[(d log p(y | x_i) / d theta)^2]`` with ``y`` from the tail's own probabilities ``p_i``: a mean of
    squared gradients sample by sample, which no batch size enters. With ``H = diag(p) - p p^T = L L^T`` and
    ``L = diag(sqrt p) - p sqrt(p)^T`` the expectation is the sum of the squares of ``J^T L e_c`` over the classes
    ``c``. Where that takes more than `MOST_GRADIENTS` gradients, it is the mean of squares of ``J^T L v`` with signs
    ``v`` drawn at random, whose expectation is the same: as many of each sample as there are gradients for, one at
    least. Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural
    networks"; Martens 2020, "New insights and perspectives on the natural gradient method"; Kunstner et al. 2019,
    "Limitations of the empirical Fisher approximation", for the tail's own classes instead of the labels.

    Args:
        logits: From parameters and maps to logits.
        parameters: ``float32`` values by name, as shipped.
        maps: Batches ``(n, ...) float32``, at least one sample in all; read once.
        k: Number of classes.
        samples: About how many samples there are.
        seed: Draws the signs.

    Returns:
        Diagonals in the parameters' shapes, at least 0.

    Raises:
        ConversionError: If a gradient is not finite.
    """
    shipped = {name: torch.from_numpy(np.array(values)) for name, values in parameters.items()}
    total = {name: torch.zeros(values.shape, dtype=torch.float64) for name, values in shipped.items()}
    rows = _HELD // max(1, sum(values.numel() for values in shipped.values()))
    rows, along_each = rows if rows >= _FEW else 1, max(1, MOST_GRADIENTS // max(samples, 1))
    random, seen = torch.Generator().manual_seed(seed), 0

    def along(now: Parameters, x: Tensor, direction: Tensor) -> Tensor:
        found = logits(now, x[None])[0]
        root = torch.softmax(found.detach(), 0).sqrt()
        away = direction * root - (direction @ root) * root**2
        return (found * away).sum()

    single = grad(along)
    for batch in _parts(maps, rows):
        x = torch.from_numpy(batch)
        for directions in _directions(len(x), k, along_each, random):
            for found in _each(single, shipped, x, directions):
                for name, values in found.items():
                    total[name] += values.double().square().sum(0)
        seen += len(x)
    diagonals: dict[str, Float32] = {name: (sums / max(seen, 1)).float().numpy() for name, sums in total.items()}
    for name, diagonal in diagonals.items():
        if not np.isfinite(diagonal).all():
            raise ConversionError(
                f"expected finite gradients of the tail on the source, found others of {name!r}. Cut elsewhere, or "
                f"use penalty='l2sp'."
            )
    return diagonals


def _parts(batches: Iterable[Float32], rows: int) -> Iterator[Float32]:
    for batch in batches:
        for start in range(0, len(batch), rows):
            yield np.ascontiguousarray(batch[start : start + rows])


def _directions(n: int, k: int, most: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield ``(n, k)`` directions, at most so many: their outer products add up to the identity, or do on average."""
    if k <= most:
        for unit in torch.eye(k):
            yield unit.expand(n, k)
        return
    for _ in range(most):
        yield (2.0 * torch.randint(2, (n, k), generator=random) - 1) / most**0.5


def _each(
    single: Callable[[Parameters, Tensor, Tensor], dict[str, Tensor]],
    parameters: Parameters,
    x: Tensor,
    directions: Tensor,
) -> Iterator[dict[str, Tensor]]:
    """Yield gradients of single samples, ``(n, *shape)`` by name: all at once where every operation allows it."""
    if len(x) > 1:
        try:
            yield vmap(single, (None, 0, 0))(parameters, x, directions)
        # An operation without a rule for batches, or one that looks at values.
        except RuntimeError:
            pass
        else:
            return
    for row, direction in zip(x, directions, strict=True):
        yield {name: values[None] for name, values in single(parameters, row, direction).items()}
