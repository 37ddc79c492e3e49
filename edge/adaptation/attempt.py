"""From a judged candidate to the version in use, whatever the task: attempts, what a verdict leads to, refits."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ...errors import LabelError, NotEnoughSamplesError
from ..notices import note
from ..task_session import ATTEMPTS, TaskSession

if TYPE_CHECKING:
    from ..regression.results import RegressionReport
    from .report import Report
    from .wishes import OnInsufficient

H = TypeVar("H")
R = TypeVar("R", "Report", "RegressionReport")


class Attempt(Protocol[R]):
    """A candidate that was judged, and is not in use yet."""

    @property
    def version(self) -> int:
        """Number of the version that it was compared with."""

    @property
    def verdict(self) -> Literal["accepted", "rejected", "insufficient"]:
        """What the guard says."""

    def report(self, *, applied: bool, seconds: float) -> R:
        """Return the report of a candidate that is applied, or is not, after so many seconds."""

    def commit(self, report: R) -> tuple[int, R] | None:
        """Store it as a version and use it.

        Returns:
            The version's number, and the report with what was found on the way. None, and nothing is stored, where
            samples that it was trained on are gone by now.
        """


def run(session: TaskSession[Any], attempt: Callable[[int], Attempt[R]], on_insufficient: "OnInsufficient | None") -> R:
    """Make a candidate and use it if it is no worse.

    Args:
        session: The opened bundle and store.
        attempt: Makes a candidate and judges it against a version.
        on_insufficient: What to do without enough evidence; by default a shipped head is kept, and one that was adapted
            here is refreshed.

    Returns:
        The report.

    Raises:
        StoreBusyError: If samples were gone each time before the candidate could be stored.
    """
    with session.adapting:
        begun = time.perf_counter()
        for _ in range(ATTEMPTS):
            # Another process may have committed or rolled back, and forgotten samples may wait for their refit.
            session.in_use()
            now = attempt(session.store.current)
            insufficient = on_insufficient or ("apply" if now.version else "keep")
            applied = now.verdict == "accepted" or (now.verdict == "insufficient" and insufficient == "apply")
            report = now.report(applied=applied, seconds=time.perf_counter() - begun)
            done = now.commit(report) if applied else (now.version, report)
            if done is not None:
                version, report = done
                note(__name__, "%s", report)
                return replace(report, version=version, seconds=time.perf_counter() - begun)
        raise session.unsettled()


def refit(session: TaskSession[Any], attempt: Callable[[int], Attempt[R]]) -> None:
    """After forgetting: put to use what a learner that never saw the forgotten samples would have.

    That is the head that `adapt(on_insufficient="apply")` gives on what is left, judged against the shipped head. If it
    is rejected, or too few samples are left: the newest version that was trained on none of the forgotten samples, and
    without one the shipped head (`TaskSession.settle`).
    """
    try:
        now = attempt(0)
    except (LabelError, NotEnoughSamplesError):
        session.settle()
        return
    if now.verdict == "rejected":
        session.settle()
        return
    # Where more was forgotten meanwhile, the refit stays pending, and the next use begins anew.
    now.commit(now.report(applied=True, seconds=0.0))


def served(session: TaskSession[H], version: int) -> H | None:
    """Return a version's head; where one that was adapted here cannot be read, what serves in its place."""
    return session.load(0) if version == 0 else session.load()


def kept_setting(session: TaskSession[Any]) -> dict[str, Any] | None:
    """Return the setting that the version in use was fitted with; None for the shipped head, or one of an update."""
    now = session.in_use()
    if now is None or now.version == 0:
        return None
    found: dict[str, Any] | None = session.kept(session.store.version(now.version)).get("setting")
    return found
