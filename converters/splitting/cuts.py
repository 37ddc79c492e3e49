"""List the places where a model may be cut, with what each would cost a device, and recommend one for a budget."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import CutError, InputError
from ..tap_pooling import Pooling
from .blocks import Survey, survey
from .examine import Taps, examine
from .separation import parameters_of, shared_parameters, sides
from .stages import TapPoint
from .tail import notes_on
from .workload import kept_values, multiply_adds

LATENT_BYTES, COMPUTE_SHARE = 32_768, 0.25
TRAINING_BATCH = 32
_FLOAT = 4


@dataclass(frozen=True)
class Cut:
    """A place where a model may be cut.

    Args:
        name: What `split_tail` takes as `cut`; the first of a list is the head's input, which `split` cuts at.
        blocks: How many blocks of the list lie behind it besides the head; 0 at the head.
        map_shape: Shape of one sample's map; that of the head's input at the head.
        latent_bytes: Size of what a device stores of one sample: all taps and the map, 8 bits each.
        parameters: Number of trainable parameters behind it.
        parameter_share: That as a share of the model's.
        multiply_adds: Of a forward pass behind it, for one sample (`workload.multiply_adds` says what is counted).
        compute_share: That as a share of the model's: what the device repeats per sample in every epoch.
        activation_bytes: Rough size of the results that one training step at a batch of 32 keeps behind it, in float32.
        activation_share: That as a share of what training the whole model would keep.
        shared: Names of parameters behind it that the front uses too; with any the cut cannot be used.
        notes: What behaves otherwise while the tail is trained on a device, in words.
    """

    name: str
    blocks: int
    map_shape: tuple[int, ...]
    latent_bytes: int
    parameters: int
    parameter_share: float
    multiply_adds: int
    compute_share: float
    activation_bytes: int
    activation_share: float
    shared: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the cut in plain types, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Recommendation:
    """A cut for a budget.

    Args:
        cut: The cut.
        reason: Why it and no deeper one, in words.
    """

    cut: Cut
    reason: str


def list_cuts(model: nn.Module, sample: Tensor, taps: Taps = "all", pooling: Pooling = "mean") -> tuple[Cut, ...]:
    """Find the ends of blocks at which a model separates, from the head backwards.

    A tensor separates a model if everything behind it depends on the input only through it. The first cut is the head's
    input; each further one leaves a block more to the device.

    Args:
        model: A model that `split` takes. It is not changed.
        sample: ``(n, ...) float32`` or token ids ``(n, ...) int64``, at least two samples as the model takes them.
        taps: As for `split`.
        pooling: Likewise.

    Returns:
        The cuts.

    Raises:
        CutError: If the model cannot be split at all.
        InputError: If the sample is not one.
    """
    found = survey(examine(model, sample, taps, pooling))
    graph = found.graph
    whole = [node for node in graph.graph.nodes if node.op == "call_function"]
    inside = sides(graph, graph.logits).front
    used = {node for node in whole if node in inside}
    parameters = _count(found, set(graph.parameters))
    return tuple(
        _measure(found, point, i, parameters, multiply_adds(used), kept_values(used))
        for i, point in enumerate(found.ends)
    )


def _measure(found: Survey, point: TapPoint, blocks: int, parameters: int, products: int, kept: int) -> Cut:
    graph = found.graph
    node = graph.at[point]
    parts = sides(graph, node)
    shape = tuple(int(axis) for axis in node.meta["val"].shape[1:])
    # All taps, those behind the cut too: heads go on learning from them. At the head the last tap is the map.
    taps = [*found.examined.backbone.points, found.head]
    width = sum(int(graph.pooled[at].meta["val"].shape[1]) for at in taps)
    stored = width if point == found.head else width + math.prod(shape)
    trained = _count(found, parameters_of(graph, parts.behind))
    work, values = multiply_adds(parts.behind), kept_values(parts.behind)
    return Cut(
        name=point.label,
        blocks=blocks,
        map_shape=shape,
        latent_bytes=stored,
        parameters=trained,
        parameter_share=trained / max(1, parameters),
        multiply_adds=work,
        compute_share=work / max(1, products),
        activation_bytes=TRAINING_BATCH * _FLOAT * values,
        activation_share=values / max(1, kept),
        shared=shared_parameters(graph, parts),
        notes=notes_on(found, point),
    )


def _count(found: Survey, names: set[str]) -> int:
    tensors = {found.graph.tensors[name].data_ptr(): found.graph.tensors[name] for name in names}
    return sum(tensor.numel() for tensor in tensors.values())


def recommend(
    cuts: Sequence[Cut], *, latent_bytes: int = LATENT_BYTES, compute_share: float = COMPUTE_SHARE
) -> Recommendation:
    """Choose the deepest cut within a budget.

    Args:
        cuts: From `list_cuts`, the head's input first.
        latent_bytes: Most bytes that a device may store per sample.
        compute_share: Largest share of the model's multiply-adds that may be left behind the cut, in 0 to 1.

    Returns:
        The cut and the reason; the head's input if no deeper cut fits.

    Raises:
        CutError: If there is no cut.
        InputError: If a budget is not a positive number.
    """
    if not cuts:
        raise CutError("expected at least one cut, found none. List them with `list_cuts`.")
    if latent_bytes < 1 or not 0 < compute_share <= 1:
        raise InputError(
            f"expected a budget of at least 1 byte per sample and a share in 0 to 1, found {latent_bytes} bytes and "
            f"{compute_share}."
        )
    fitting = [
        cut
        for cut in cuts[1:]
        if not cut.shared and cut.latent_bytes <= latent_bytes and cut.compute_share <= compute_share
    ]
    budget = f"{latent_bytes:,} bytes per sample and {compute_share:.0%} of the compute"
    if not fitting:
        reason = f"no deeper cut stays within {budget}" + (f": {_why_not(cuts[1:], latent_bytes)}" if cuts[1:] else "")
        return Recommendation(cuts[0], f"the head alone: {reason}.")
    best = max(fitting, key=lambda cut: cut.blocks)
    shown = f"{best.latent_bytes:,} bytes per sample, {best.compute_share:.1%} of the compute behind it"
    return Recommendation(best, f"the deepest cut within {budget}: {shown}.")


def _why_not(cuts: Sequence[Cut], latent_bytes: int) -> str:
    usable = [cut for cut in cuts if not cut.shared]
    if not usable:
        return "their weights serve both sides"
    least = min(usable, key=lambda cut: cut.latent_bytes)
    if least.latent_bytes > latent_bytes:
        return f"the smallest, {least.name!r}, needs {least.latent_bytes:,} bytes"
    return f"{least.name!r} needs {least.latent_bytes:,} bytes and leaves {least.compute_share:.0%} to the device"
