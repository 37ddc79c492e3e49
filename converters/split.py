"""Split a model at its head: a frozen backbone whose output is the latent, and the head's weights."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CutError
from ..manifest import Tap
from .backbone import Backbone
from .head import find_head
from .soundness import check_repeatable, check_sample, check_state, frozen_copy
from .stages import TapPoint, named_point, stage_ends
from .trace import Call, Trace, trace

Float32 = NDArray[np.float32]
Taps = Literal["last", "all"] | Sequence[str]


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
        width = self.taps[-1].offset + self.taps[-1].width
        weight = np.zeros((len(self.weight), width), np.float32)
        weight[:, self.taps[-1].offset :] = self.weight
        return weight


def split(model: nn.Module, sample: Tensor, taps: Taps = "all") -> Split:
    """Split a model at its last linear layer.

    The latent joins averages of activations from several depths with the input of the head, as in Head2Toe (Evci et
    al., 2022, "Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning").

    Args:
        model: A model whose output is that of an ``nn.Linear``. It is not changed.
        sample: ``(n, ...) float32``, at least two samples as the model takes them (after preprocessing).
        taps: ``"last"`` for the cut alone, ``"all"`` for the ends of the stages and the cut, or names of modules.
            ``"name@2"`` means a module's second call in one run, ``"name:input"`` what goes into it.

    Returns:
        Backbone, taps and head.

    Raises:
        CutError: If the model cannot be split; the message says why and what would help.
        InputError: If the sample is not one.
    """
    sample = check_sample(sample)
    frozen = frozen_copy(model)
    check_state(frozen)
    traced = _run(frozen, sample)
    head = find_head(traced)
    points = _choose(traced, head, taps)
    backbone = Backbone(frozen, head.name, points)
    if taps == "all":
        backbone = Backbone(frozen, head.name, _without_repeats(backbone, sample))
    with torch.no_grad():
        parts = backbone.parts(sample)
        check_repeatable(torch.cat(parts, 1), backbone(sample), backbone(sample[:1]))
    names = [*(point.label for point in backbone.points), f"{head.name or 'model'}:input"]
    layer = cast(nn.Linear, head.module)
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return Split(backbone, _layout(names, parts), names[-1], layer.weight.numpy().copy(), bias.numpy().copy())


def _run(model: nn.Module, sample: Tensor) -> Trace:
    try:
        return trace(model, sample)
    # A model may raise anything.
    except Exception as error:
        raise CutError(
            f"expected {type(model).__name__} to run on a batch {tuple(sample.shape)} float32, found "
            f"{type(error).__name__}: {str(error)[:300]}. Check the frame's size, its channels and `resize`."
        ) from error


def _choose(traced: Trace, head: Call, taps: Taps) -> list[TapPoint]:
    if taps == "last":
        return []
    if taps == "all":
        return [
            point for point in stage_ends(traced, head) if not (point.module == head.name and point.side == "input")
        ]
    if isinstance(taps, str):
        raise CutError(f"expected taps 'last', 'all' or a list of module names, found {taps!r}.")
    return [_find(name, traced, head) for name in taps]


def _find(wanted: str, traced: Trace, head: Call) -> TapPoint:
    path, _, side = wanted.partition(":")
    name, _, number = path.partition("@")
    calls = [call for call in _all_calls(traced.root) if call.name == name and call.name]
    if not calls or side not in ("", "input", "output") or (number and not number.isdigit()):
        near = difflib.get_close_matches(name, [known for known in traced.calls if known], n=3, cutoff=0.5)
        raise CutError(f"expected the name of a module that runs as a tap, found {wanted!r}. Close to it: {near}.")
    if not number and len(calls) > 1:
        raise CutError(
            f"expected one call of {name!r} in a run, found {len(calls)}. "
            f"Say which is meant: {name}@1 to {name}@{len(calls)}."
        )
    if int(number or 1) not in range(1, len(calls) + 1):
        raise CutError(f"expected a call from {name}@1 to {name}@{len(calls)}, found {wanted!r}.")
    call = calls[int(number or 1) - 1]
    order = traced.root.leaves()
    if call.contains(head) or order.index(call.leaves()[0]) > order.index(head):
        raise CutError(f"expected a tap in front of the head {head.name!r}, found {wanted!r}, which ends behind it.")
    point = named_point(call, "input" if side == "input" else "output", traced)
    if point is None:
        raise CutError(f"expected {wanted!r} to give one tensor with a batch axis, found something else. Tap another.")
    return point


def _all_calls(call: Call) -> list[Call]:
    return [call, *(inner for child in call.children for inner in _all_calls(child))]


def _without_repeats(backbone: Backbone, sample: Tensor) -> list[TapPoint]:
    with torch.no_grad():
        *parts, cut = backbone.parts(sample)
    kept: list[tuple[TapPoint, Tensor]] = []
    for point, part in zip(backbone.points, parts, strict=True):
        known = [cut, *(other for _, other in kept)]
        # A cut that is a flattened map already holds that map's averages.
        n, width = part.shape
        if cut.shape[1] % width == 0:
            known += [cut.reshape(n, width, -1).mean(2), cut.reshape(n, -1, width).mean(1)]
        size = 1e-5 * float(part.abs().max()) + 1e-12
        if not any(k.shape == part.shape and float((k - part).abs().max()) <= size for k in known):
            kept.append((point, part))
    return [point for point, _ in kept]


def _layout(names: Sequence[str], parts: Sequence[Tensor]) -> tuple[Tap, ...]:
    taps: list[Tap] = []
    offset = 0
    for name, part in zip(names, parts, strict=True):
        taps.append(Tap(name, offset, part.shape[1]))
        offset += part.shape[1]
    return tuple(taps)
