"""How far the features of one model are from those of another of the same architecture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .captured import captured

_TINY = 1e-12


class FeatureDistance:
    """The mean squared difference of features, as a share of their variance over the samples; the mean over places.

    Args:
        teacher: In evaluation mode; its features are what they are to be.
        pupil: Has a `model` of the same modules.
        places: Where to look (`captured`).
    """

    def __init__(self, teacher: nn.Module, pupil: nn.Module, places: Sequence[str]) -> None:
        self._teacher, self._pupil, self._places = teacher, pupil, tuple(places)

    def __call__(self, x: Tensor) -> Tensor:
        """Return it for a batch ``(n, ...) float32``, a scalar with gradients for the pupil."""
        with torch.no_grad(), captured(self._teacher, self._places) as wanted:
            self._teacher(x)
        with captured(self._pupil.get_submodule("model"), self._places) as found:
            self._pupil(x)
        return torch.stack([_relative(found[place], wanted[place]) for place in self._places]).mean()

    def mean(self, batches: Sequence[Tensor]) -> float:
        """Return its mean over batches."""
        with torch.no_grad():
            return float(torch.stack([self(x) for x in batches]).mean())


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    found, wanted = found.flatten(1), wanted.flatten(1)
    # Of a single sample there is no variance.
    centre = wanted.mean(0) if len(wanted) > 1 else 0.0
    return (found - wanted).square().mean() / (wanted - centre).square().mean().clamp_min(_TINY)
