"""Look at a model before it is split: where its head is, and where it is tapped."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...errors import CutError
from ..tap_pooling import MAX, MEAN, Pooling, check_pooling, require_maxima
from .backbone import Backbone
from .head import run_to_head
from .linearise import write_out_parametrizations
from .pooled import named_maximum, with_maxima
from .reading import Reading, read_tokens
from .soundness import check_sample, check_state, frozen_copy
from .stages import TapPoint, find_stages, named_point
from .trace import Call, Trace

Taps = Literal["last", "all"] | Sequence[str]


@dataclass(frozen=True, eq=False)
class Examined:
    """A model that was run once: its head and its taps are known.

    Args:
        model: A frozen copy, in evaluation mode, that ends in an ``nn.Linear`` and returns the logits.
        sample: ``(n, ...)``, the batch it was run on.
        traced: The run.
        head: The call of its head.
        backbone: The model with its taps, in order of depth, the input of the head last.
    """

    model: nn.Module
    sample: Tensor
    traced: Trace
    head: Call
    backbone: Backbone

    @property
    def label(self) -> str:
        """Name of the head's input."""
        return f"{self.head.name or 'model'}:input"


def examine(model: nn.Module, sample: Tensor, taps: Taps = "all", pooling: Pooling = "mean") -> Examined:
    """Find a model's head and its taps. Arguments and errors are those of `split`."""
    check_pooling(pooling, taps)
    sample = check_batch(sample)
    frozen = frozen_copy(model)
    check_state(frozen)
    write_out_parametrizations(frozen)
    traced, head = _run(frozen, sample)
    points = [] if taps == "last" else _choose(traced, head, taps, read_tokens(frozen, sample, traced, head))
    if taps == "all":
        points = _without_repeats(Backbone(frozen, head.name, points), sample)
    if pooling != "mean":
        points = with_maxima(points, traced)
        require_maxima([point.label for point in points], any(point.pool == "max" for point in points))
    backbone = Backbone(frozen, head.name, points)
    return Examined(frozen, sample, traced, head, backbone)


def check_batch(x: Tensor) -> Tensor:
    """Check the sample batch that a model is looked at with: numbers, or the ids of tokens.

    Args:
        x: ``(n, ...) float32`` or ``(n, ...) int64``, at least two samples.

    Returns:
        It, on the CPU.

    Raises:
        InputError: If it is anything else.
    """
    if isinstance(x, Tensor) and x.dtype == torch.int64 and x.dim() >= 2 and len(x) >= 2:
        return x.detach().cpu()
    return check_sample(x)


def _run(model: nn.Module, sample: Tensor) -> tuple[Trace, Call]:
    try:
        return run_to_head(model, sample)
    except CutError:
        raise
    # A model may raise anything.
    except Exception as error:
        raise CutError(
            f"expected {type(model).__name__} to run on a batch {tuple(sample.shape)} "
            f"{str(sample.dtype).removeprefix('torch.')}, found {type(error).__name__}: {str(error)[:300]}. "
            f"Check the frame's size, its channels and `resize`."
        ) from error


def _choose(traced: Trace, head: Call, taps: Taps, reading: Reading) -> list[TapPoint]:
    if taps == "all":
        stages = find_stages(traced, head)
        points = [
            point
            for stage in stages
            for point in (*(reading.taken(at, traced) for at in stage.inner), reading.whole(stage.end, traced))
        ]
        return [point for point in points if not (point.module == head.name and point.side == "input")]
    if isinstance(taps, str):
        raise CutError(f"expected taps 'last', 'all' or a list of module names, found {taps!r}.")
    return [_named(name, traced, head, reading) for name in taps]


def _named(wanted: str, traced: Trace, head: Call, reading: Reading) -> TapPoint:
    if wanted.endswith(MAX):
        return named_maximum(_named(wanted.removesuffix(MAX), traced, head, reading), traced)
    point = find_point(wanted.removesuffix(MEAN), traced, head)
    return reading.whole(point, traced) if wanted.endswith(MEAN) else reading.taken(point, traced)


def find_point(wanted: str, traced: Trace, head: Call, what: str = "a tap") -> TapPoint:
    """Find the point that a name means: ``"name"``, ``"name@2"``, ``"name:input"``.

    Raises:
        CutError: If it means none, or one behind the head.
    """
    path, _, side = wanted.partition(":")
    name, _, number = path.partition("@")
    calls = [call for call in traced.root.all() if call.name == name and call.name]
    if not calls or side not in ("", "input", "output") or (number and not number.isdigit()):
        known = [module for module in traced.calls if module]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:10]
        raise CutError(f"expected the name of a module that runs as {what}, found {wanted!r}. Close to it: {near}.")
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
        raise CutError(f"expected {what} in front of the head {head.name!r}, found {wanted!r}, which ends behind it.")
    point = named_point(call, "input" if side == "input" else "output", traced)
    if point is None:
        raise CutError(f"expected {wanted!r} to give one tensor with a batch axis, found something else. Name another.")
    return point


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
