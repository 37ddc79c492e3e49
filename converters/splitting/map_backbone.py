"""The backbone of a model that is cut in front of its last blocks: it returns the map at the cut beside the latent."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .pooled import kept_tokens, pooled
from .stages import TapPoint
from .watch import watched


class MapBackbone(nn.Module):
    """A frozen model that returns the tapped activations, pooled, and the activation at the cut.

    What lies behind the cut stays in the model; nothing depends on its result, so exporters leave it out.

    Args:
        model: The frozen model.
        points: Where to tap, in order of depth, none behind the cut, at least one.
        cut: Where the map is taken.
    """

    def __init__(self, model: nn.Module, points: Sequence[TapPoint], cut: TapPoint) -> None:
        super().__init__()
        self.model = model
        self.points = tuple(points)
        self.cut = cut
        self.train(False)

    def train(self, mode: bool = True) -> "MapBackbone":
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents ``(n, d) float32`` and maps ``(n, ...) float32`` of a batch as the model takes it."""
        parts, maps = self.parts(x)
        return torch.cat(parts, 1), maps

    def parts(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what the latent consists of, one ``(n, width) float32`` per tap, and the maps."""
        kept = kept_tokens(self.model, x, self.points)
        # An operation behind the cut may overwrite the map.
        with watched(self.model, (*self.points, self.cut), lambda at, v: (pooled(v, at, kept), v.clone())) as found:
            self.model(x)
        return [found[point][0] for point in self.points], found[self.cut][1]
