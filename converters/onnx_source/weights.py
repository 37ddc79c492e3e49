"""Which constants of an ONNX network train, and under which names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import CutError
from .graph import Network, describe

Float32 = NDArray[np.float32]
_MOST_NAME = 150
# The places among a node's inputs that hold what training changes; a BatchNorm's statistics are not among them.
_TRAINED = {
    **dict.fromkeys(("Conv", "Gemm"), (1, 2)),
    **dict.fromkeys(
        ("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"), (1, 2)
    ),
    "PRelu": (1,),
    **dict.fromkeys(("MatMul", "Add", "Mul"), (0, 1)),
}
# A class token and the like, put in front of what the network computes.
_JOINED = ("Concat", "Expand", "Einsum")


@dataclass(frozen=True)
class Use:
    """One place where a node takes a constant.

    Args:
        node: Name of the node's first output.
        place: Which of its inputs it is.
    """

    node: str
    place: int


def trains(node: onnx.NodeProto, place: int, value: NDArray[Any]) -> bool:
    """Return whether a constant is a weight: by what takes it, since a file does not say.

    Numbers alone (a scale, a bound) and masks of attention, which hold one or two different numbers, are none.

    Args:
        node: What takes it.
        place: Which input it is.
        value: What it holds.
    """
    if value.dtype != np.float32 or not value.size or not np.isfinite(value).all():
        return False
    if node.op_type in ("Conv", "Gemm") and place in _TRAINED[node.op_type]:
        return True
    if value.size == 1:
        return False
    mask = value.ndim >= 3 and len(np.unique(value)) <= 2 and min(value.shape[-2:]) > 1
    if node.op_type in _JOINED:
        return value.ndim > 1 and not _uniform(value)
    return place in _TRAINED.get(node.op_type, ()) and not mask


def trained_uses(network: Network, nodes: Iterable[onnx.NodeProto]) -> dict[Use, str]:
    """Return where nodes take weights, and what these are called.

    Exporters store equal constants once, so a vector of nothing but zeros (or ones) that several nodes take is one of
    each: only the first keeps the name.
    """
    found: dict[Use, str] = {}
    seen: dict[str, int] = {}
    for node in nodes:
        for place, name in enumerate(node.input):
            value = network.constant(name) if name and name not in network.live else None
            if value is None or not trains(node, place, value):
                continue
            count = seen[name] = seen.get(name, 0) + 1
            found[Use(node.output[0], place)] = f"{name}@{count}" if count > 1 and _uniform(value) else name
    return found


def check_own(
    network: Network, front: Sequence[onnx.NodeProto], behind: Sequence[onnx.NodeProto], cut: str, file: str
) -> None:
    """Refuse weights that both sides of a cut use.

    Raises:
        CutError: If there are some; the message names one, and a node of each side.
    """
    used = {leaf: node for node in front for name in node.input for leaf in _leaves(network, name)}
    for node in behind:
        for place, name in enumerate(node.input):
            value = network.constant(name) if name and name not in network.live else None
            if value is None or not trains(node, place, value) or _uniform(value):
                continue
            both = next((leaf for leaf in _leaves(network, name) if leaf in used), None)
            if both is not None:
                raise CutError(
                    f"{file}: expected weights behind the cut {cut!r} that nothing in front of it uses, found that "
                    f"{describe(used[both])} and {describe(node)} share {both!r}, so the tail cannot be trained alone. "
                    f"Cut elsewhere, or give each a copy."
                )


def parameter_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a name that a bundle can hold and that is not taken: of printable characters, and not too long."""
    name = "".join(c for c in wanted if c.isprintable()).strip()[:_MOST_NAME] or "parameter"
    known, count, free = set(taken), 1, name
    while free in known:
        count += 1
        free = f"{name}@{count}"
    return free


def _leaves(network: Network, name: str) -> set[str]:
    """Return the initializers that a constant is computed from."""
    found: set[str] = set()
    waiting = [name] if name and name not in network.live else []
    while waiting:
        at = waiting.pop()
        maker = network.makers.get(at)
        if maker is None:
            value = network.constant(at)
            found |= {at} if value is not None and np.issubdtype(value.dtype, np.floating) and value.size > 1 else set()
        else:
            waiting += [given for given in maker.input if given]
    return found


def _uniform(value: NDArray[Any]) -> bool:
    return sum(length > 1 for length in value.shape) <= 1 and bool((value == value.flat[0]).all())
