"""One attempt at a tail: held out, compared with the best head, trained on all samples, judged."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from ...record import record
from ..adaptation.report import TailReport
from ..adaptation.trial import Candidate
from ..distinct import distinct
from .compare import accuracy, against_head, is_alike, judge_tail, lost
from .fit import Diverged, OutOfTime
from .ground import Ground
from .head import TailHead, graph_of
from .task import Task

Progress = Callable[[int, int], None]
_BETTER = "The tail gains more over the best head than chance explains."


@record(eq=False)
class Trained:
    """What came of it.

    Args:
        report: What to say of it.
        candidate: With the tail's predictions, and judged by them; or the head's, where the tail is no better.
        head: The tail, or None where the head stays.
        half: Whether float16 is enough to store it.
    """

    report: TailReport
    candidate: Candidate
    head: TailHead | None = None
    half: bool = False


def try_tail(ground: Ground, candidate: Candidate, progress: Progress | None = None) -> Trained:
    """Train the tail, compare it with the best head on held-out samples, and judge it if it is better.

    Args:
        ground: The samples.
        candidate: The best head.
        progress: Called with the number of rounds done and of all; what it raises ends the call.

    Returns:
        The better of the two.

    Raises:
        BackendError: If the tail's models do not run.
        InputError: If samples were forgotten meanwhile.
    """
    begun = perf_counter()
    task = Task(ground, candidate)

    def without(reason: str) -> Trained:
        return Trained(TailReport(False, reason, seconds=perf_counter() - begun), candidate)

    if len(task.present) < 2 or len(distinct(task.fold[task.fold >= 0])) < 2:
        return without("Too few samples can be held out to judge a tail.")
    try:
        found = task.hold_out(progress)
        better = against_head(task, found)
        mine, its = (accuracy(task, found, p) for p in (found.predicted, task.head))
        report = TailReport(better is None, better or _BETTER, its, mine, found.course.rate, found.rounds)
        if not report.used:
            return Trained(replace(report, seconds=perf_counter() - begun), candidate)
        parameters = task.train(found)
        gone = lost(task, parameters)
        if gone is not None:
            return Trained(replace(report, used=False, reason=gone, seconds=perf_counter() - begun), candidate)
    except OutOfTime:
        return without("There was no time to train the tail: allow more seconds.")
    except Diverged:
        return without("The loss of the tail did not stay finite at any learning rate.")
    judged = judge_tail(task, found, parameters)
    head = TailHead(judged.head, parameters, ground.content.spec.head, graph_of(ground.content))
    half = is_alike(task, parameters)
    return Trained(replace(report, seconds=perf_counter() - begun), judged, head, half)
