"""A head whose weights are known beforehand, for tests of what chooses between settings."""

from dataclasses import dataclass

from acclimate.edge.heads import Problem, Setting, Weights


@dataclass(frozen=True)
class Planted:
    """A head of known weights, whatever it is trained on: one setting for each."""

    name: str
    weights: tuple[Weights, ...]
    source_weight: float = 0.0

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        return tuple(Setting(self.name, float(i), self.source_weight) for i in range(len(self.weights)))

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        return [self.weights[int(setting.regularisation)] for setting in settings]
