"""Cut a model in front of its last blocks: a backbone that gives the map at the cut, and a tail that can be trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ...errors import CutError
from ...manifest import Tap
from ..tap_pooling import Pooling
from .blocks import Survey, dropouts_behind, survey, taps_around
from .examine import Examined, Taps, examine, find_point
from .extract import extract, nest
from .graph import place
from .map_backbone import MapBackbone
from .separation import separators, shared_parameters, sides
from .soundness import check_repeatable
from .split import layout
from .stages import TapPoint

_PARITY = 1e-5


@dataclass(frozen=True, eq=False)
class Tail:
    """The last blocks of a model and its head, as a module with parameters of its own.

    Args:
        module: ``(n, *map_shape) float32 -> (n, k) float32`` logits, in evaluation mode; its parameters have the names
            that they have in the model and take gradients, its buffers (running statistics) stay as they are.
        with_taps: The same with ``(logits, latent)`` as outputs: the second, ``(n, d) float32``, holds `taps`. It
            shares parameters and buffers with `module`.
        cut: Name of the cut.
        map_shape: Shape of one sample's map.
        axis: The channel axis of a batch of maps.
        taps: The taps behind the cut, which are recomputed; the head's input is the last.
        weight: Name of the head's weight ``(k, c)``.
        bias: Name of the head's bias ``(k,)``, or None if it has none.
        notes: What a user should know about training it, in words.
    """

    module: nn.Module
    with_taps: nn.Module
    cut: str
    map_shape: tuple[int, ...]
    axis: int
    taps: tuple[Tap, ...]
    weight: str
    bias: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TailSplit:
    """A model in two parts, the second with more than the head.

    Args:
        backbone: Frozen, in evaluation mode: raw batch to latent ``(n, d) float32`` and map ``(n, *map_shape)``.
        taps: What the backbone's latent consists of.
        tail: What follows the map.
    """

    backbone: MapBackbone
    taps: tuple[Tap, ...]
    tail: Tail


def split_tail(
    model: nn.Module, sample: Tensor, cut: str | int = 1, taps: Taps = "all", pooling: Pooling = "mean"
) -> TailSplit:
    """Split a model in front of its last blocks.

    Args:
        model: A model that `split` takes. It is not changed.
        sample: ``(n, ...) float32`` or token ids ``(n, ...) int64``, at least two samples as the model takes them.
        cut: How many blocks the tail has besides the head, or the name of the cut: a module whose output it is;
            ``"name@2"`` means a module's second call in one run, ``"name:input"`` what goes into it.
        taps: As for `split`. Those behind the cut are recomputed by the tail, the others belong to the backbone.
        pooling: As for `split`.

    Returns:
        Backbone and tail.

    Raises:
        CutError: If the model cannot be split there; the message names the node and cuts that are possible.
        InputError: If the sample is not one.
    """
    examined = examine(model, sample, taps, pooling)
    if isinstance(cut, str):
        point = find_point(cut, examined.traced, examined.head, "a cut")
        found = survey(examined, point)
    else:
        found = survey(examined)
        point = _last_blocks(found, cut)
    node = found.graph.at[point]
    _check_separates(found, point)
    parts = sides(found.graph, node)
    shared = shared_parameters(found.graph, parts)
    if shared:
        raise CutError(
            f"expected weights behind the cut {point.label!r} that nothing in front of it uses, found that "
            f"{', '.join(shared[:3])} serve both sides, so the tail cannot be trained alone. Cut elsewhere, or give "
            f"the modules weights of their own."
        )
    front, rest = taps_around(found, point)
    # Which tokens are padding is known from the input alone, which a tail has not.
    rest = [at for at in rest if not at.masked]
    backbone = MapBackbone(examined.model, front, point)
    with torch.no_grad():
        latents, maps = backbone.parts(examined.sample)
        check_repeatable(maps, backbone(examined.sample)[1], backbone(examined.sample[:1])[1])
    tail = _make_tail(found, point, rest, maps)
    with torch.no_grad():
        known = dict(
            zip((*examined.backbone.points, found.head), examined.backbone.parts(examined.sample), strict=True)
        )
    _check_parity(tail, examined, maps, torch.cat([known[at] for at in rest], 1))
    return TailSplit(backbone, layout([at.label for at in front], latents), tail)


def _last_blocks(found: Survey, count: int) -> TapPoint:
    if isinstance(count, bool) or count not in range(1, len(found.ends)):
        raise CutError(
            f"expected a tail of 1 to {len(found.ends) - 1} blocks, found {count}. "
            f"Possible cuts, from the head: {[at.label for at in found.ends[1:9]]}."
        )
    return found.ends[count]


def _check_separates(found: Survey, point: TapPoint) -> None:
    graph = found.graph
    node = graph.at[point]
    if node in (graph.input, graph.at[found.head]):
        what = "the model's input: nothing is left in front"
        what = what if node is graph.input else "the head's input, so the head alone: leave the cut out"
        raise CutError(f"expected a cut between the input and the head, found {point.label!r}, which is {what}.")
    if node in separators(graph):
        return
    order = {node: i for i, node in enumerate(graph.graph.nodes)}
    near = sorted(found.ends[1:], key=lambda at: abs(order[graph.at[at]] - order[node]))[:3]
    passing = sides(graph, node).passing
    reason = "nothing of the output depends on it" if passing is None else f"{place(passing)} passes by it"
    help_ = f"Cuts near it that do: {[at.label for at in near]}." if near else "The model has no cut but its head."
    raise CutError(
        f"expected a cut that all of the output depends through, found {point.label!r}: {reason} (a shortcut, a branch "
        f"or a second input). {help_}"
    )


def _make_tail(found: Survey, cut: TapPoint, taps: Sequence[TapPoint], maps: Tensor) -> Tail:
    model, node = found.graph, found.graph.at[cut]
    pooled = [model.pooled[at] for at in taps]
    names: set[str] = set()
    plain = extract(model, node, [model.logits], names)
    tapped = extract(model, node, [model.logits, *pooled], names)
    state = nest(model, names)
    module = fx.GraphModule(state, plain, "Tail").eval()
    with_taps = fx.GraphModule(state, tapped, "TailWithTaps").eval()
    with torch.no_grad():
        _, latent = with_taps(maps)
    widths = [model.pooled[at].meta["val"].shape[1] for at in taps]
    parts = latent.split(widths, 1)
    head = f"{found.examined.head.name}." if found.examined.head.name else ""
    bias = f"{head}bias" if f"{head}bias" in names else None
    return Tail(
        module,
        with_taps,
        cut.label,
        tuple(maps.shape[1:]),
        cut.axis,
        layout([at.label for at in taps], parts),
        f"{head}weight",
        bias,
        notes_on(found, cut),
    )


def notes_on(found: Survey, cut: TapPoint) -> tuple[str, ...]:
    """Say what behaves otherwise in the tail than where the model was trained."""
    behind = sides(found.graph, found.graph.at[cut]).behind
    norms = sum("batch_norm" in str(node.target) for node in behind)
    dropouts = dropouts_behind(found.examined, cut)
    notes = []
    if norms:
        notes.append(f"{norms} batch normalisations keep their running statistics.")
    if dropouts:
        notes.append(f"dropout is off while the tail trains: {', '.join(dropouts[:5])}.")
    return tuple(notes)


def _check_parity(tail: Tail, examined: Examined, maps: Tensor, latent: Tensor) -> None:
    with torch.no_grad():
        expected = examined.model(examined.sample)
        size = float(expected.abs().max()) + 1e-12
        for rows in (slice(None), slice(0, 1)):
            logits = tail.module(maps[rows])
            again, found = tail.with_taps(maps[rows])
            worst = max(float((logits - expected[rows]).abs().max()), float((again - expected[rows]).abs().max()))
            taps = float((found - latent[rows]).abs().max()) / (float(latent.abs().max()) + 1e-12)
            if not max(worst / size, taps) <= _PARITY:
                raise CutError(
                    f"expected the tail behind {tail.cut!r} to give the model's logits within {_PARITY} of their "
                    f"greatest value, found {worst / size:.1e}, and its taps {taps:.1e}. Cut elsewhere."
                )
