"""How often the guard errs: candidates that are worse and pass, or better and do not, over 200 worlds per case.

Pure latents and closed-form heads. A candidate counts as worse if its accuracy on 2,000 fresh samples of the place is
more than a point below the head in use, as better if more than two points above; in between neither verdict is an
error. For wrong labels the fresh samples are labelled right, so that whatever gain they promise is false.

What cannot be caught, and is shown here without a goal: two classes whose labels are swapped throughout look like a
place where they look so, and pass unless `max_forgetting` is given; and a class that is always labelled as another, in
a place where the other classes gain more than it costs: local samples say nothing of it, and the probe only where it
was at home. With few samples a true gain is seldom shown: then the verdict is "insufficient", which no row counts.

`python -m benchmarks.guard --json FILE`
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tests.fixtures.worlds import HOME, Classes, Codes, Place, World, score, stored

from acclimate.edge.adaptation.adapt import Candidate, adapt
from acclimate.edge.heads import LDA, Prototype

from .harness import Row, finish

SEEDS, SIZES, FRESH = 200, (12, 60, 240), 2_000
# Points that the candidate must differ by on fresh samples before a verdict can be wrong.
WORSE, BETTER = 1.0, 2.0
Spoil = Callable[[Codes, Classes, np.random.Generator], tuple[Codes, Classes]]


@dataclass(frozen=True)
class Case:
    """One kind of place.

    Args:
        name: What it is.
        place: How far it is from the source.
        spoil: What is done to the samples.
        max_forgetting: As for `adapt`.
        seen: Whether anything here could tell that the labels are wrong.
    """

    name: str
    place: Place
    spoil: Spoil = lambda x, y, _: (x, y)
    max_forgetting: float | None = None
    seen: bool = True


def shuffled(x: Codes, y: Classes, rng: np.random.Generator) -> tuple[Codes, Classes]:
    """Labels that mean nothing."""
    return x, rng.permutation(y)


def batch(x: Codes, y: Classes, rng: np.random.Generator) -> tuple[Codes, Classes]:
    """A third of the samples labelled as one class."""
    return x, np.where(np.arange(len(y)) < len(y) // 3, rng.integers(y.max() + 1), y)


def poisoned(x: Codes, y: Classes, _: np.random.Generator) -> tuple[Codes, Classes]:
    """Every sample of class 0 labelled as class 1."""
    return x, np.where(y == 0, 1, y)


def swapped(x: Codes, y: Classes, _: np.random.Generator) -> tuple[Codes, Classes]:
    """Classes 0 and 1 labelled as each other."""
    return x, np.where(y < 2, 1 - y, y)


def dead(x: Codes, y: Classes, _: np.random.Generator) -> tuple[Codes, Classes]:
    """A sensor that gives the same frame whatever it sees."""
    return np.repeat(x[:1], len(x), axis=0), y


CASES = (
    Case("home", HOME),
    Case("another place", Place(0.6, 0.3)),
    Case("far away", Place(1.0, 1.0)),
    Case("shuffled labels", HOME, shuffled),
    Case("shuffled labels, another place", Place(0.6, 0.3), shuffled),
    Case("mislabelled batch", HOME, batch),
    Case("poisoned class", HOME, poisoned),
    Case("poisoned class, another place", Place(0.6, 0.3), poisoned, seen=False),
    Case("swapped classes", HOME, swapped, seen=False),
    Case("swapped classes, max_forgetting=10", HOME, swapped, 10.0, seen=False),
    Case("dead sensor", HOME, dead),
)


def main() -> None:
    """Measure and print."""
    finish("guard", [row for case in CASES for n in SIZES for row in rates(case, n, range(SEEDS))], [])


def rates(case: Case, n: int, seeds: Sequence[int]) -> list[Row]:
    """Return how often a worse candidate passes and a better one is rejected."""
    verdicts: Counter[str] = Counter()
    worse = better = passed = refused = 0
    for seed in seeds:
        candidate, change = run(case, n, seed)
        verdict = candidate.judgement.verdict
        verdicts[verdict] += 1
        worse, better = worse + (change < -WORSE), better + (change > BETTER)
        passed += change < -WORSE and verdict == "accepted"
        refused += change > BETTER and verdict == "rejected"
    told = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("accepted", "rejected", "insufficient"))
    name, goal = f"{case.name}, {n} samples", "wrong" if case.seen else ""
    return [
        Row(f"false accepts, {name}", 100 * passed / len(seeds), "%", 0.0, goal, f"{worse} are worse; {told}"),
        Row(f"false rejects, {name}", 100 * refused / len(seeds), "%", 0.0, goal, f"{better} are better"),
    ]


def run(case: Case, n: int, seed: int) -> tuple[Candidate, float]:
    """Return one candidate, and how many points better it is on fresh samples than the shipped head."""
    world, rng = World(seed), np.random.default_rng((seed, n))
    shipped = world.shipped()
    x, y = case.spoil(*world.draw(n, 1, case.place), rng)
    current = shipped.predictor()
    candidate = adapt(
        stored(x, y), shipped, current, world.names, (Prototype(), LDA()), max_forgetting=case.max_forgetting
    )
    fresh = world.draw(FRESH, 2, case.place)
    return candidate, 100 * (score(candidate.head, shipped, *fresh) - score(current, shipped, *fresh))


if __name__ == "__main__":
    main()
