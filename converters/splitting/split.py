"""Split a model at its head: a frozen backbone whose output is the latent, and the head's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...manifest import Tap
from ..padding import pad_weight
from ..tap_pooling import Pooling
from .backbone import Backbone
from .examine import Taps as Taps
from .examine import examine
from .soundness import check_repeatable

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """A model in two parts.

    Args:
        backbone: Frozen, in evaluation mode; returns the latent ``(n, d) float32``.
        taps: What the latent consists of, in its order; the cut is the last.
        cut: Name of the cut.
        weight: ``(k, c) float32``, the head's weight; it acts on the last c dimensions of the latent.
        bias: ``(k,) float32``, the head's bias.
    """

    backbone: Backbone
    taps: tuple[Tap, ...]
    cut: str
    weight: Float32
    bias: Float32

    def padded_weight(self) -> Float32:
        """Return the head's weight on the whole latent, ``(k, d) float32``: zero for every tap but the cut."""
        return pad_weight(self.weight, self.taps)


def split(model: nn.Module, sample: Tensor, taps: Taps = "all", pooling: Pooling = "mean") -> Split:
    """Split a model at its last linear layer.

    The latent joins averages of activations from several depths with the input of the head, as in Head2Toe (Evci et
    al., 2022, "Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning").

    Args:
        model: A model whose output is that of an ``nn.Linear``, or of a layer that can be written as one: a 1x1
            convolution with pooling, a cosine layer, either with a temperature. It is not changed.
        sample: ``(n, ...) float32`` or token ids ``(n, ...) int64``, at least two samples as the model takes them
            (after preprocessing).
        taps: ``"last"`` for the cut alone, ``"all"`` for the ends of the stages and the cut, or names of modules.
            ``"name@2"`` means a module's second call in one run, ``"name:input"`` what goes into it, ``"name:max"`` the
            maxima over positions in place of the means, and of a sequence of tokens, which is pooled as the model's
            head does it, ``"name:mean"`` the mean over all tokens.
        pooling: ``"mean-max"`` puts the maxima of each tapped map beside its means; the head's input stays as it is.

    Returns:
        Backbone, taps and head.

    Raises:
        CutError: If the model cannot be split; the message says why and what would help.
        InputError: If the sample is not one.
    """
    examined = examine(model, sample, taps, pooling)
    backbone, sample = examined.backbone, examined.sample
    with torch.no_grad():
        parts = backbone.parts(sample)
        check_repeatable(torch.cat(parts, 1), backbone(sample), backbone(sample[:1]))
    names = [*(point.label for point in backbone.points), examined.label]
    layer = cast(nn.Linear, examined.head.module)
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return Split(backbone, layout(names, parts), names[-1], layer.weight.numpy().copy(), bias.numpy().copy())


def layout(names: Sequence[str], parts: Sequence[Tensor]) -> tuple[Tap, ...]:
    """Return what a latent consists of: ``(n, width)`` parts behind one another."""
    taps: list[Tap] = []
    offset = 0
    for name, part in zip(names, parts, strict=True):
        taps.append(Tap(name, offset, part.shape[1]))
        offset += part.shape[1]
    return tuple(taps)
