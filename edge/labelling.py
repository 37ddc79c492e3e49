"""`Learner.suggest` and `suspects`: what to label next, and which labels are likely wrong."""

import numpy as np

from ..errors import InputError
from ..record import record
from .adaptation.run import propose, situation
from .adaptation.wishes import Wishes
from .head import Ids
from .session import Session
from .suggest import STRATEGIES, Strategy, suggest
from .suspects import suspects


@record()
class Suspect:
    """A stored sample whose label is likely wrong.

    Args:
        id: Its id.
        label: The class it is labelled as.
        suggested: The class it likely is.
        confidence: Probability that it is not the class it is labelled as, predicted without it.
    """

    id: int
    label: str
    suggested: str
    confidence: float


def suggest_samples(session: Session, n: int, strategy: Strategy) -> Ids:
    """Tell which unlabelled samples to label next. See `Learner.suggest`."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise InputError(f"expected a number of samples from 0 on, found {n!r}.")
    unlabelled, now = session.store.unlabelled(), session.in_use()
    probabilities = None
    if now is None and strategy in STRATEGIES and strategy != "k-centre":
        raise InputError(
            f"expected a head in use to suggest by {strategy!r}, found none: the bundle was shipped without. Label and "
            f"adapt first, or choose strategy 'k-centre', which needs none."
        )
    if now is not None:
        probabilities = now.of_stored(session, unlabelled)
    labelled = session.store.labelled().codes if strategy == "k-centre" else None
    rows = suggest(int(n), probabilities=probabilities, codes=unlabelled.codes, labelled=labelled, strategy=strategy)
    chosen: Ids = unlabelled.ids[rows]
    return chosen


def find_suspects(session: Session) -> tuple[Suspect, ...]:
    """Find samples that are probably labelled wrong. See `Learner.suspects`."""
    with session.adapting:
        now = situation(session, 0)
        names, samples = now.names, now.samples
        candidate = propose(session, now, Wishes())
        ids, probabilities = candidate.head.classes, candidate.selection.probabilities
        trained = np.isin(samples.ids, candidate.head.judged)
        numbers, given = samples.ids[trained], np.searchsorted(ids, samples.classes[trained])
    return tuple(
        Suspect(int(numbers[s.index]), names[int(ids[s.given])], names[int(ids[s.suggested])], s.confidence)
        for s in suspects(probabilities, given)
    )
