"""What the tests of whole learners share: what a learner knows, to the bit, and one that knows only what is left."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from acclimate.edge import Learner
from acclimate.edge.session import InUse

Opening = Callable[..., Learner]
Bools = NDArray[np.bool_]
T = TypeVar("T")


def in_use(learner: Learner) -> InUse:
    """Return the head in use."""
    found = learner._session.in_use()
    assert found is not None
    return found


def until(look: Callable[[], T], done: Callable[[T], bool]) -> T:
    """Look until it is done, for ten seconds at most: a prediction may be 10 ms behind what another learner did."""
    end = time.monotonic() + 10
    while not done(found := look()) and time.monotonic() < end:
        pass
    return found


def knowledge(learner: Learner, x: NDArray[np.uint8]) -> dict[str, Any]:
    """Return all that a learner has from its samples, but for ids and times: equal ones know the same, to the bit."""
    session, now = learner._session, in_use(learner)
    names, samples = session.store.classes(), session.store.labelled()
    head = now.head
    verdict = {} if head.novelty is None else head.novelty.to_arrays()
    kept = {} if now.version == 0 else session.kept(session.store.version(now.version))
    return {
        "codes": samples.codes.tobytes(),
        "labels": [names[int(c)] for c in samples.classes],
        "tags": samples.tags,
        "weights": head.layer.weight.tobytes() + head.layer.bias.tobytes(),
        "classes": [names[int(c)] for c in head.classes],
        "predicted": [names.get(int(c)) for c in head.predicted],
        "novelty": {name: array.tobytes() for name, array in verdict.items()},
        "probabilities": learner.predict(x).probabilities.tobytes(),
        "unknown": learner.predict(x).unknown.tolist(),
        "report": {name: value for name, value in kept.items() if name != "seconds"},
    }


def fresh(
    learner: Learner,
    x: NDArray[np.uint8],
    y: Sequence[str | None] | NDArray[np.str_],
    tags: Sequence[str] | None = None,
) -> Learner:
    """Give a new learner samples, and the head that comes of them without a question."""
    learner.observe(x, y, tags=tags)
    learner.adapt(on_insufficient="apply")
    return learner
