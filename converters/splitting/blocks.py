"""Where a model may be cut: in front of each of its blocks."""

from dataclasses import dataclass

from torch import Tensor, fx, nn

from .examine import Examined
from .graph import ModelGraph, trace_graph
from .separation import dependents, separators
from .stages import TapPoint, named_point, spine_of
from .trace import Call, Trace


@dataclass(frozen=True, eq=False)
class Survey:
    """A model's graph with the places where it may be cut.

    Args:
        examined: The model.
        graph: Its operations.
        head: The point in front of the head.
        ends: The points in front of blocks that separate the model, from the head, which is the first, backwards.
    """

    examined: Examined
    graph: ModelGraph
    head: TapPoint
    ends: tuple[TapPoint, ...]


def survey(examined: Examined, *further: TapPoint) -> Survey:
    """Record a model's graph and find where it may be cut.

    Args:
        examined: The model.
        further: Points that are to be found in the graph beside those in front of blocks and the taps.

    Raises:
        CutError: If the model cannot be recorded as a graph.
    """
    traced, call = examined.traced, examined.head
    head = TapPoint(call.name, call.number, "input", 1, examined.label)
    candidates = _in_front_of_blocks(traced, call)
    points = list(dict.fromkeys([head, *candidates, *examined.backbone.points, *further]))
    graph = trace_graph(examined.model, examined.sample, points)
    separating = separators(graph)
    order = {node: i for i, node in enumerate(separating)}
    ends: dict[fx.Node, TapPoint] = {}
    for point in [head, *candidates]:
        node = graph.at[point]
        if node in order and _has_batch_axis(node, graph):
            ends.setdefault(node, point)
    return Survey(examined, graph, head, tuple(ends[node] for node in sorted(ends, key=order.__getitem__)[::-1]))


def taps_around(found: Survey, cut: TapPoint) -> tuple[list[TapPoint], list[TapPoint]]:
    """Tell the taps that a backbone gives from those behind a cut, which its tail recomputes.

    Returns:
        The taps in front of the cut and at it, and those behind it, the head's input the last. Where no tap is in front
        the cut becomes one, since a latent has at least one dimension.
    """
    behind = dependents(found.graph, found.graph.at[cut])
    points = [*found.examined.backbone.points, found.head]
    front = [at for at in points if found.graph.at[at] not in behind]
    return front or [cut], [at for at in points if found.graph.at[at] in behind]


def _has_batch_axis(node: fx.Node, graph: ModelGraph) -> bool:
    value = node.meta["val"]
    return isinstance(value, Tensor) and value.dim() >= 2 and bool(value.shape[0] == graph.input.meta["val"].shape[0])


def _in_front_of_blocks(traced: Trace, head: Call) -> list[TapPoint]:
    spine = spine_of(traced.root, head)
    # A stage on the spine may hold blocks of its own; what passes by inside a block is sorted out by the graph.
    inner = [call for call in traced.root.all() if len(call.layers()) >= 2 and not call.contains(head)]
    makers = [*spine, *traced.root.all()]
    found: list[TapPoint] = []
    for block in dict.fromkeys([*spine, *inner]):
        if not block.layers() or block.input is None or block.input.same_as(traced.root.input):
            continue
        # The name of what ends there says more than that of what begins.
        maker = next((call for call in makers if block.input.same_as(call.output)), None)
        at = named_point(block, "input", traced) if maker is None else named_point(maker, "output", traced)
        if at is not None:
            found.append(at)
    return found


def dropouts_behind(examined: Examined, cut: TapPoint) -> list[str]:
    """Return the names of the modules behind a point that drop values at random while a model is trained as usual."""
    order = examined.traced.root.leaves()
    first = next(i for i, leaf in enumerate(order) if _at(leaf, cut))
    return list(dict.fromkeys(leaf.name for leaf in order[first:] if _drops(leaf.module)))


def _at(leaf: Call, point: TapPoint) -> bool:
    call: Call | None = leaf
    while call is not None and (call.name, call.number) != (point.module, point.number):
        call = call.parent
    return call is not None


def _drops(module: nn.Module) -> bool:
    shares = (getattr(module, name, None) for name in ("p", "drop_prob"))
    return any(isinstance(share, float) and share > 0 for share in shares)
