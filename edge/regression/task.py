"""What an opened regression bundle serves: its head, read from the store, and refitted after forgetting."""

from typing import ClassVar

from ...manifest import Task
from ...record import record
from ..task_session import TaskSession
from .head import RegressionHead


@record(eq=False)
class RegressionInUse:
    """The regression head in use.

    Args:
        version: Its number; 0 is the shipped head.
        head: The head.
        names: Names of the targets.
    """

    version: int
    head: RegressionHead
    names: tuple[str, ...]


RegressionSession = TaskSession[RegressionInUse]


class RegressionTask:
    """How regression heads are read and refitted. See `task_session.Serving`."""

    task: ClassVar[Task] = "regression"

    def load(self, session: RegressionSession, number: int) -> RegressionInUse | None:
        """Read a version's head; None for number 0 where none was shipped."""
        names = session.bundle.manifest.classes
        if number == 0:
            layer = session.shipped_head
            return None if layer is None else RegressionInUse(0, RegressionHead(layer), names)
        content, where = session.store.version(number).head, f"{session.store.name}: version {number}"
        head = RegressionHead.from_bytes(content, session.bundle.manifest.width, len(names), where)
        return RegressionInUse(number, head, names)

    def refit(self, session: RegressionSession) -> None:
        """Fit what is left after forgetting."""
        from .run import refit

        refit(session)
