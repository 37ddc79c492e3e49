"""The backbone: a frozen model that returns its latent instead of its logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .pooled import kept_tokens, pooled
from .stages import TapPoint
from .watch import watched


class Backbone(nn.Module):
    """A frozen model that returns the tapped activations, pooled, then the input of its head.

    The head stays in the model; nothing depends on its result, so exporters leave it out.

    Args:
        model: The frozen model.
        head: Name of its head.
        points: Where to tap, in order of depth, the cut not included.
    """

    def __init__(self, model: nn.Module, head: str, points: Sequence[TapPoint]) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.points = tuple(points)
        self.train(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the latents ``(n, d) float32`` of a batch as the model takes it, ``(n, ...) float32``."""
        return torch.cat(self.parts(x), 1)

    def parts(self, x: Tensor) -> list[Tensor]:
        """Return what the latent consists of, one ``(n, width) float32`` per tap, the cut last."""
        cut = TapPoint(self.head, 1, "input", 1, "cut")
        points = (*self.points, cut)
        kept = kept_tokens(self.model, x, points)
        with watched(self.model, points, lambda at, value: pooled(value, at, kept)) as found:
            self.model(x)
        return [found[point] for point in points]


class BackboneWithMap(nn.Module):
    """A backbone that also returns the activation at a cut in front of the last blocks.

    What lies behind that cut is still run, since the latent has taps there.

    Args:
        backbone: What gives the latent.
        cut: Where the map is taken.
    """

    def __init__(self, backbone: Backbone, cut: TapPoint) -> None:
        super().__init__()
        self.backbone = backbone
        self.cut = cut
        self.train(False)

    def train(self, mode: bool = True) -> "BackboneWithMap":
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents ``(n, d) float32`` and the maps ``(n, *shape) float32`` of a batch."""
        # An operation behind the cut may overwrite the map.
        with watched(self.backbone.model, (self.cut,), lambda at, value: value.clone()) as found:
            latents = self.backbone(x)
        return latents, found[self.cut]
