"""Which epoch was best so far, and whether it is time to stop."""

from dataclasses import dataclass, replace

from .metrics import Metrics


@dataclass(frozen=True)
class Best:
    """The best validation score so far.

    Args:
        score: Larger is better; None before the first epoch.
        step: Steps taken when it was reached.
        waited: Epochs since then.
    """

    score: float | None = None
    step: int = 0
    waited: int = 0

    def after(self, score: float, step: int) -> "Best":
        """Return the best after another epoch; of equal scores the first stays."""
        if self.score is None or score > self.score:
            return Best(score, step)
        return replace(self, waited=self.waited + 1)


def score_of(tasks: tuple[Metrics, ...], monitor: str) -> float:
    """Return one number for validation scores, larger for better: the mean over the tasks, or minus the mean loss."""
    values = [float(getattr(task, "accuracy" if monitor == "last" else monitor)) for task in tasks]
    mean = sum(values) / len(values)
    return -mean if monitor == "loss" else mean
