"""From a session and its best head to a trained tail, within the budget."""

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from ...errors import BackendError, BudgetError, InputError
from ..adaptation.adapt import STUCK, weights_of
from ..adaptation.displacement import within_variance
from ..adaptation.groups import indistinct
from ..adaptation.report import TailReport
from ..adaptation.wishes import sample_weights
from .attempt import Trained, try_tail
from .cost import memory
from .ground import Ground
from .maps import KEPT, StoredMaps
from .replay import draw_replay

if TYPE_CHECKING:
    from ..adaptation.run import Situation, TailWish
    from ..adaptation.trial import Candidate
    from ..adaptation.wishes import Wishes
    from ..heads import Setting
    from ..session import Session

Progress = Callable[[int, int], None]
# Nobody who did not ask for a tail waits longer for one, unless he says how long he would.
AUTO_SECONDS = 600.0


def improve(
    session: "Session",
    now: "Situation",
    candidate: "Candidate",
    wishes: "Wishes[Setting]",
    wish: "TailWish",
    deadline: float | None,
    progress: Progress | None,
) -> Trained:
    """Train the tail where the budget allows it.

    Args:
        session: The opened bundle, which has a tail.
        now: What the head was fitted on.
        candidate: The best head, judged.
        wishes: What the caller asks for.
        wish: Whether he asks for a tail.
        deadline: When all must be done, by `time.perf_counter`; None for never.
        progress: As for `Learner.adapt`.

    Returns:
        The tail if it is better, else the head as it was, and what there is to say of it.

    Raises:
        BudgetError: If a tail is asked for that needs more memory than is allowed.
        BackendError: If a tail is asked for whose models do not run.
    """
    from ..adaptation.run import class_weights

    shipped = now.shipped.present()
    within = None if shipped.source is None else within_variance(shipped.source)
    if indistinct(now.samples.codes, now.samples.classes, within) >= STUCK:
        return Trained(TailReport(False, "The tail was not trained on samples that hardly differ."), candidate)
    if wish == "auto" and len(candidate.unseen):
        # Statistics tell what a head keeps of them. Nothing tells what a tail does, which changes what the head sees.
        names = ", ".join(now.names[int(i)] for i in candidate.unseen[:5])
        reason = f"The tail was not trained, since nothing here would tell whether it still knows {names}."
        return Trained(TailReport(False, reason), candidate)
    tail = session.tail
    if tail is None:
        raise AssertionError("only a session with a tail comes here")
    kept = KEPT if wishes.max_memory_mb is None else int(wishes.max_memory_mb * 1e6) // 4
    need = memory(tail, len(candidate.head.classes), len(now.samples.ids), kept)
    if wishes.max_memory_mb is not None and need > wishes.max_memory_mb * 1e6:
        told = f"training the tail needs about {need / 1e6:.0f} MB"
        if wish is True:
            raise BudgetError(
                f"expected to need at most {wishes.max_memory_mb:g} MB, found that {told}. Allow more, or leave "
                f"tail='auto'."
            )
        return Trained(TailReport(False, f"The tail was not trained: {told}."), candidate)
    if deadline is None and wish == "auto":
        deadline = perf_counter() + AUTO_SECONDS
    last = session.bundle.manifest.taps[-1] if session.bundle.manifest.taps else None
    ground = Ground(
        tail,
        now.samples,
        session.code.decode,
        StoredMaps(session.store, now.samples.ids, tail.code, kept),
        now.shipped.classes,
        now.current,
        now.names,
        last,
        draw_replay(now.shipped, now.samples, session.code, last),
        weights_of(now.samples, class_weights(wishes.class_weight, now.names), sample_weights(wishes, now.samples.ids)),
        session.threads,
        deadline=deadline,
    )
    try:
        return try_tail(ground, candidate, progress)
    except BackendError as error:
        if wish is True:
            raise
        return Trained(TailReport(False, f"The tail was not trained: {error}"), candidate)
    except InputError:
        if session.store.holds(now.samples.ids):
            raise
        # Forgotten meanwhile: the head cannot be stored either, and all begins anew.
        return Trained(TailReport(False, "Samples were forgotten while the tail was trained."), candidate)
