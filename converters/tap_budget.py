"""A budget of latent bytes: which taps are worth their bytes, measured on the source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..edge.adaptation.selection import cross_validate
from ..edge.heads import LDA, Problem
from ..errors import InputError
from ..manifest import Tap, Task
from .quantization.fresh_head import judged_rows
from .source_data import Frames, SourceData

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# Samples that taps are judged on: what decides is n x n, whatever the width.
JUDGED_ON = 1_000
# Of the mean spread of a tap, and of the greatest axis: what moves less is noise.
_LEAST_SPREAD, _LEAST_AXIS = 1e-3, 1e-7


@dataclass(frozen=True)
class TapWorth:
    """What a tap is worth beside those that were there when it was judged.

    Args:
        name: Its name.
        bytes: What it takes of a stored sample.
        loss: By how many nats the held-out loss of a head rises without it; below 0, it is better without.
        points: Percentage points of held-out accuracy that are lost without it.
    """

    name: str
    bytes: int
    loss: float
    points: float

    def __str__(self) -> str:
        """One line of figures."""
        return f"{self.name}: {self.bytes:,} bytes, worth {self.loss:.4f} nats and {self.points:.1f} points"


@dataclass(frozen=True)
class TapBudget:
    """Which taps were kept for a budget.

    Args:
        budget: Most bytes of a stored latent.
        bytes: What it takes now.
        dropped: The taps that went, in the order in which they did; each with its worth at that time.
        kept: Those that stayed, the head's input left out; each with its worth in the end.
        accuracy: Class-balanced held-out accuracy of a head on all taps, and on those kept.
        loss: Its class-balanced held-out loss in nats, likewise.
        samples: How many samples it was judged on; 0 where everything fitted.
    """

    budget: int
    bytes: int
    dropped: tuple[TapWorth, ...] = ()
    kept: tuple[TapWorth, ...] = ()
    accuracy: tuple[float, float] = (float("nan"), float("nan"))
    loss: tuple[float, float] = (float("nan"), float("nan"))
    samples: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the taps that stayed, the head's input left out; as `convert` takes them."""
        return [tap.name for tap in self.kept]

    def told(self) -> list[str]:
        """Say in words what was done."""
        start = f"{self.bytes:,} of at most {self.budget:,} bytes of latents"
        if not self.dropped:
            return [f"{start}: every tap fits"]
        (before, after), (first, last) = self.accuracy, self.loss
        return [
            f"{start}, judged on {self.samples:,} samples: accuracy {before:.3f} with every tap, {after:.3f} now, loss "
            f"{first:.3f} and {last:.3f}",
            *(f"  left out {tap}" for tap in self.dropped),
            *(f"  kept {tap}" for tap in self.kept),
        ]


def check_budget(latent_bytes: int | None, task: Task, *, with_source: bool) -> None:
    """Refuse a budget that cannot be kept to, before any work.

    Raises:
        InputError: If it does not fit the other arguments.
    """
    if latent_bytes is None:
        return
    if isinstance(latent_bytes, bool) or not isinstance(latent_bytes, int) or latent_bytes < 1:
        raise InputError(f"expected latent_bytes as a number of bytes from 1, found {latent_bytes!r}.")
    if task != "classification":
        raise InputError(f"expected classification with latent_bytes, found {task!r}. Name the taps to keep instead.")
    if not with_source:
        raise InputError(
            "expected source data with latent_bytes, which taps are judged on, found none. Pass source=(x, y), or name "
            "the taps to keep."
        )


def check_fits(latent_bytes: int, taps: Sequence[Tap]) -> None:
    """Refuse a budget that the head's input alone exceeds.

    Raises:
        InputError: If it does.
    """
    if taps[-1].width > latent_bytes:
        raise InputError(
            f"expected latent_bytes of at least {taps[-1].width:,}, which the head's input {taps[-1].name!r} takes, "
            f"found {latent_bytes:,}. Allow more, or convert a model with a narrower head."
        )


def budget_for(
    latent_bytes: int | None,
    taps: Sequence[Tap],
    embed: Callable[[Frames], Float32],
    data: SourceData | None,
    labels: Callable[[Any, int], NDArray[Any]],
) -> TapBudget | None:
    """Find the taps that fit a budget, on some of the source: of each class as many, where there are enough.

    Args:
        latent_bytes: The budget, or None.
        taps: What the latent consists of.
        embed: From raw samples to latents, of the original model.
        data: The source.
        labels: Turns its labels into classes.

    Returns:
        What was kept and what went; None without a budget.

    Raises:
        InputError: If the budget is too small, or the source does not do to judge taps.
    """
    if latent_bytes is None or data is None:
        return None
    check_fits(latent_bytes, taps)
    width = sum(tap.width for tap in taps)
    if width <= latent_bytes:
        return TapBudget(latent_bytes, width)
    y = data.labels(labels)
    rows = judged_rows(y, JUDGED_ON)
    latents = np.concatenate([embed(frames) for frames in data.batches(rows)])
    return prune_taps(latents, y[rows], taps, latent_bytes)


def prune_taps(latents: Float32, y: Int64, taps: Sequence[Tap], latent_bytes: int) -> TapBudget:
    """Leave out taps until a latent fits, each time the one that is worth least for the bytes that it gives back.

    Backward elimination: what a tap is worth is the held-out loss of a discriminant head without it, less that with it,
    cross-validated as a device does (`LDA`). Bytes beyond what has to go count for nothing, so a small tap that is
    enough goes before a large one that is worth more; and what fits again in the end comes back, the last that went
    first, for on another place it may be worth more than on the source. The head's input, the last tap, always stays.

    Args:
        latents: ``(n, d) float32`` of the original model on source samples.
        y: ``(n,)`` their classes.
        taps: What the latent consists of, more than `latent_bytes` wide.
        latent_bytes: Most bytes of a stored latent, one a dimension; at least the width of the last tap.

    Returns:
        What was kept and what went.

    Raises:
        InputError: If the budget is too small, or if there are not two classes with two samples each.
    """
    check_fits(latent_bytes, taps)
    if (np.bincount(y) >= 2).sum() < 2:
        raise InputError(
            "expected two classes with two source samples each to judge taps on, found fewer. Pass more samples, or "
            "name the taps to keep."
        )
    classes = np.unique(y, return_inverse=True)[1]
    products = {tap.name: _products(latents[:, tap.offset : tap.offset + tap.width]) for tap in taps}
    width = {tap.name: tap.width for tap in taps}
    left = [tap.name for tap in taps]
    first = _judge(products, left, classes)

    def worth(whole: tuple[float, float]) -> dict[str, tuple[TapWorth, tuple[float, float]]]:
        found = {}
        for name in left[:-1]:
            accuracy, loss = without = _judge(products, [other for other in left if other != name], classes)
            found[name] = (TapWorth(name, width[name], loss - whole[1], 100 * (whole[0] - accuracy)), without)
        return found

    whole, dropped = first, list[TapWorth]()
    while (excess := sum(width[name] for name in left) - latent_bytes) > 0:
        judged = worth(whole)
        least = min((tap for tap, _ in judged.values()), key=lambda tap: tap.loss / min(tap.bytes, excess))
        dropped.append(least)
        left.remove(least.name)
        whole = judged[least.name][1]
    for tap in dropped[::-1]:
        if sum(width[name] for name in left) + tap.bytes <= latent_bytes:
            dropped.remove(tap)
            left = [name for name in width if name in (*left, tap.name)]
            whole = _judge(products, left, classes)
    kept = tuple(tap for tap, _ in worth(whole).values())
    accuracy, loss = (first[0], whole[0]), (first[1], whole[1])
    size = sum(width[name] for name in left)
    return TapBudget(latent_bytes, size, tuple(dropped), kept, accuracy, loss, len(y))


def _products(part: Float32) -> Float64:
    """Return ``(n, n)`` products of standardised samples: they add up over taps, and say all that is needed of them."""
    rows = part.astype(np.float64)
    spread = rows.std(axis=0)
    x = (rows - rows.mean(axis=0)) / np.maximum(spread, _LEAST_SPREAD * spread.mean() + 1e-30)
    found: Float64 = x @ x.T
    return found


def _judge(products: Mapping[str, Float64], names: Sequence[str], y: Int64) -> tuple[float, float]:
    """Return held-out accuracy and loss of a head on some taps, at the strength with the least loss."""
    values, vectors = np.linalg.eigh(np.sum([products[name] for name in names], axis=0))
    real = values > _LEAST_AXIS * max(float(values[-1]), 1e-30)
    x = vectors[:, real] * np.sqrt(values[real])
    trials = cross_validate(Problem(x, y, int(y.max()) + 1), (LDA(),)).trials
    best = min(trials, key=lambda trial: trial.loss)
    return best.accuracy, best.loss
