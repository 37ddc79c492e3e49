"""Which layers lose the most in 8 bits, and the fewest of them that must stay in float.

A layer's cost is what the latents lose with this layer alone in 8 bits and every other one in float. Two cheaper or
more usual measures order layers worse: on EfficientNet-Lite0 and photos of solar cells, with 5 of 49 layers back in
float, the centred cosine rises from .940 to .990 by this one, to .976 by what each layer alone in float gains (errors
of neighbours cancel), to .982 for the first 5 convolutions, and not at all by how far the tensors of the float and the
8-bit run are apart at each layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[int, int], None]
# At most this share of the layers goes back to float: more would cost the speed that 8 bits are for.
MOST_IN_FLOAT = 0.25


class Quantized(Protocol):
    """A model in float and in 8 bits, layer by layer."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are in 8 bits, in the order of the graph."""

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Those of them that are convolutions."""

    @property
    def labels(self) -> tuple[str, ...]:
        """For each layer the path of the module that it was made from, as far as the file tells it."""

    def content(self, kept: Sequence[str] = ()) -> bytes:
        """Return the file with some layers in float."""

    def corrected(self, content: bytes) -> bytes | None:
        """Return such a file with its biases corrected, or None where they are to stay as they are."""


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Args:
        name: The layer.
        lost: What the latents lose of their centred cosine with this layer alone in 8 bits.
        kept: Whether it stayed in float.
    """

    name: str
    lost: float
    kept: bool = False


def layer_costs(
    quantized: Quantized, cosine: Callable[[bytes], float], progress: Progress | None = None
) -> tuple[LayerCost, ...]:
    """Measure what each layer costs.

    Args:
        quantized: The model.
        cosine: Gives the centred cosine between a file's latents and the original's.
        progress: Called with the number of layers done and of all.

    Returns:
        Their costs, in the order of the graph; one below 0 is chance.
    """
    names = quantized.layers
    best, found = cosine(quantized.content(names)), []
    for i, name in enumerate(names):
        found.append(LayerCost(name, best - cosine(quantized.content([other for other in names if other != name]))))
        if progress is not None:
            progress(i + 1, len(names))
    return tuple(found)


def fewest_in_float(
    costs: Sequence[LayerCost], good: Callable[[Sequence[str]], bool], share: float = MOST_IN_FLOAT
) -> tuple[str, ...]:
    """Return the costliest layers, the fewest that are good enough in float; all that may be where none are.

    Args:
        costs: The layers' costs.
        good: Whether a model with these layers in float is good enough. Asked for 1, 2, 3, 4, 6, 8, 12, 16, ... layers.
        share: Greatest share of the layers.
    """
    names = [layer.name for layer in sorted(costs, key=lambda layer: -layer.lost)]
    most = int(share * len(names))
    for count in _counts(most):
        if good(names[:count]):
            return tuple(names[:count])
    return tuple(names[:most])


def _counts(most: int) -> list[int]:
    counts: list[int] = []
    count = 1
    while count < most:
        counts.append(count)
        # 1, 2, 3, 4, 6, 8, 12, 16, 24, ...
        count += 2 ** max(count.bit_length() - 2, 0)
    return [*counts, most] if most else []
