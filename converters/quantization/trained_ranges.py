"""Ranges of activations that training has chosen: a model trained quantization-aware keeps them.

Such a model has modules with an `activation_range`, through which the activation passes that is held in 8 bits within
this range; while it is evaluated they pass it on unchanged. Exporters rename and fuse what a model consists of, each in
its own way; what the values of an activation are, they leave alone. So the tensor of a file that belongs to a module is
the one with the same values on the same samples.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, ConversionError
from .calibration import Range

if TYPE_CHECKING:
    import torch
    from torch import nn

# Of the spread of the values: the most by which figures of one activation differ between runtimes.
_SAME = 1e-3


@dataclass
class Figures:
    """What tells one activation from another: least and greatest value, mean and root mean square, added up."""

    low: float = float("inf")
    high: float = float("-inf")
    total: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Take in one batch of values."""
        exact = values.astype(np.float64)
        self.low, self.high = min(self.low, float(exact.min())), max(self.high, float(exact.max()))
        self.total, self.squares = self.total + float(exact.sum()), self.squares + float((exact * exact).sum())
        self.count += exact.size

    def apart(self, other: "Figures") -> float:
        """Return the greatest difference between figures, as a share of the other's spread."""
        spread = max(other.high - other.low, 1e-12)
        return float(np.abs(np.subtract(self._key(), other._key())).max()) / spread

    def _key(self) -> tuple[float, float, float, float]:
        return self.low, self.high, self.total / self.count, (self.squares / self.count) ** 0.5


@dataclass(frozen=True)
class TrainedRange:
    """One range that training has chosen.

    Args:
        name: Path of its module.
        kept: Its lower and upper end, 0 between them.
        figures: Of the activation, over the first calibration samples (`calibration.WATCHED`).
    """

    name: str
    kept: Range
    figures: Figures = field(default_factory=Figures)


@contextmanager
def watching(model: "nn.Module") -> Iterator[tuple[TrainedRange, ...]]:
    """Take in the activations that pass through a model's ranges while it runs.

    Args:
        model: A model, some modules of which may have an attribute `activation_range`, two numbers.

    Yields:
        Its ranges, in the order of its modules; none where it was not trained quantization-aware.

    Raises:
        CalibrationError: If a range is none, or does not hold 0, which 8 bits must show exactly.
    """
    found, hooks = [], []
    for name, module in model.named_modules():
        ends = getattr(module, "activation_range", None)
        if ends is None:
            continue
        trained = TrainedRange(name, _checked(name, ends))
        found.append(trained)
        hooks.append(module.register_forward_hook(_taking_in(trained.figures)))
    try:
        yield tuple(found)
    finally:
        for hook in hooks:
            hook.remove()


def keep_trained(
    ranges: Mapping[str, Range],
    activations: Iterable[Mapping[str, NDArray[np.float32]]],
    trained: Sequence[TrainedRange],
) -> dict[str, Range]:
    """Put the ranges that training has chosen into the place of those that calibration has found.

    Args:
        ranges: What calibration has found, by tensor.
        activations: The tensors, batch by batch, over the samples that `watching` saw.
        trained: What `watching` found.

    Returns:
        The ranges, by tensor, also of tensors that calibration left out.

    Raises:
        ConversionError: If no tensor of the file has the values that passed through a module with a range.
    """
    seen: dict[str, Figures] = {}
    for batch in activations:
        for name, values in batch.items():
            seen.setdefault(name, Figures()).add(values)
    kept = dict(ranges)
    for one in trained:
        same = [name for name, figures in seen.items() if figures.apart(one.figures) < _SAME]
        if not same:
            raise ConversionError(
                f"expected an activation in the exported file for the trained range of {one.name!r}, found none with "
                f"its values. Let the range stand directly behind an operation, or take it out of the model."
            )
        kept |= dict.fromkeys(same, one.kept)
    return kept


def _checked(name: str, ends: Any) -> Range:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"expected two numbers as the range of {name!r}, found {str(ends)[:100]}.") from error
    if not (np.isfinite((low, high)).all() and low <= 0 <= high and low < high):
        raise CalibrationError(
            f"expected a range around 0 for the activation {name!r}, found {low:g} to {high:g}. Train it again."
        )
    return low, high


def _taking_in(figures: Figures) -> Any:
    def hook(module: "nn.Module", args: object, output: "torch.Tensor") -> None:
        figures.add(output.detach().numpy())

    return hook
