"""How shapes broadcast, and which of their axes may be joined: runtimes broadcast few axes only."""

import math
from collections.abc import Sequence

Shape = tuple[int, ...]


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape that several broadcast to."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((axis for axis in axes if axis != 1), 1) for axes in zip(*padded, strict=True))


def joined(shapes: Sequence[Shape]) -> list[list[int]]:
    """Return which neighbouring axes may be joined without a change to how the shapes, of equal rank, broadcast."""
    groups: list[list[int]] = []
    for axis in range(len(shapes[0])):
        before = groups[-1][-1] if groups else None
        alike = before is not None and all((s[axis] == 1) == (s[before] == 1) for s in shapes)
        # Where all of them are of length 1 an axis goes with any other.
        if before is not None and (alike or all(s[axis] == 1 for s in shapes)):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def merged(shape: Shape, groups: Sequence[Sequence[int]]) -> Shape:
    """Return a shape with axes joined."""
    return tuple(math.prod(shape[axis] for axis in group) for group in groups)
