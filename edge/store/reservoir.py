"""Which samples stay in a store that is full: a reservoir balanced over the classes.

Each class keeps a uniform sample of all that it was ever given, by algorithm R, and room is made in the largest class.

References:
    Vitter, "Random sampling with a reservoir", ACM TOMS 11(1), 1985.
    Chrysakis and Moens, "Online continual learning from imbalanced data", ICML 2020.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ...record import record

# Stands for the samples without a label, which count as one class.
UNLABELLED = -1


@record()
class Plan:
    """What to store and what to evict.

    Args:
        kept: Places of the arrivals to store, ascending.
        evicted: Ids of the stored samples to evict.
        seen: For each class that has ever lost a sample, how many it was given.
        draws: Random numbers drawn so far, over the life of the store.
    """

    kept: tuple[int, ...]
    evicted: tuple[int, ...]
    seen: dict[int, float]
    draws: int


def uniform(draw: int) -> float:
    """Return the `draw`-th random number of every store, in [0, 1): equal histories give equal stores."""
    digest = hashlib.sha256(b"acclimate reservoir" + draw.to_bytes(8, "little")).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53


def plan(
    stored: Mapping[int, Iterable[int]], seen: Mapping[int, float], arrivals: Sequence[int], room: int, draws: int
) -> Plan:
    """Decide about arrivals one by one, so that their grouping into calls makes no difference.

    Args:
        stored: Ids of the stored samples of each class, ascending.
        seen: For each class that has ever lost a sample, how many it was given.
        arrivals: Class of each new sample.
        room: How many more samples fit; below 0, as many are evicted.
        draws: Random numbers drawn so far.

    Returns:
        The plan.
    """
    pools = {c: list(ids) for c, ids in stored.items()}
    counts, evicted, kept = dict(seen), [], dict.fromkeys(range(len(arrivals)), False)

    def draw() -> float:
        nonlocal draws
        draws += 1
        return uniform(draws)

    def evict(c: int) -> None:
        pool = pools[c]
        counts.setdefault(c, float(len(pool)))
        drop(c, int(draw() * len(pool)))

    def drop(c: int, at: int) -> None:
        gone = pools[c].pop(at)
        # Arrivals of this call are written as the complement of their place.
        if gone < 0:
            kept[~gone] = False
        else:
            evicted.append(gone)

    def largest(preferred: int | None = None) -> int:
        return max(pools, key=lambda c: (len(pools[c]), c == preferred, -c))

    for _ in range(min(-room, sum(map(len, pools.values())))):
        evict(largest())
    for place, c in enumerate(arrivals):
        pool = pools.setdefault(c, [])
        if c in counts:
            counts[c] += 1
        if room > 0:
            room -= 1
        elif pool and (c in counts or largest(c) == c):
            # A class that has lost samples only exchanges them: what would fill it up again is gone.
            counts.setdefault(c, len(pool) + 1.0)
            at = int(draw() * counts[c])
            if at >= len(pool):
                continue
            drop(c, at)
        elif any(pools.values()):
            evict(largest())
        else:
            continue
        pool.append(~place)
        kept[place] = True
    return Plan(tuple(place for place, stays in kept.items() if stays), tuple(evicted), counts, draws)


def after_loss(seen: Mapping[int, float], before: Mapping[int, int], after: Mapping[int, int]) -> dict[int, float]:
    """Return the counts after samples were erased: as if the class had been given as many fewer, in proportion."""
    return {c: n * after[c] / before[c] for c, n in seen.items() if after.get(c, 0) and before.get(c, 0)}


def after_moves(
    seen: Mapping[int, float], stored: Mapping[int, int], moves: Iterable[tuple[int, int]]
) -> dict[int, float]:
    """Return the counts after samples changed their class: each takes along what it stands for.

    Args:
        seen: For each class that has ever lost a sample, how many it was given.
        stored: Number of stored samples of each class, before.
        moves: From which class to which, sample by sample.
    """
    counts, sizes = dict(seen), dict(stored)
    for old, new in moves:
        share = counts[old] / sizes[old] if old in counts else 1.0
        if old in counts:
            counts[old] -= share
        if share != 1 or new in counts:
            counts[new] = counts.get(new, float(sizes.get(new, 0))) + share
        sizes[old], sizes[new] = sizes[old] - 1, sizes.get(new, 0) + 1
    return {c: n for c, n in counts.items() if sizes.get(c, 0)}
