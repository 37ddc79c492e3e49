"""A tail's training step, run over and over: what one step writes the next one reads."""

from collections.abc import Mapping

import numpy as np

from ...tail_content import TailContent
from ...tail_spec import GIVEN
from .graphs import Float32, load_graph

WHAT = "training step"
# Scalars that no schedule changes.
FIXED: Mapping[str, float] = {"momentum": 0.9, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0}


class Stepper:
    """A training step with its parameters and the optimiser's state, in two sets of buffers that take turns.

    Write a batch into `map`, `target` and `weight`, then call `step`.

    Args:
        content: The tail of a bundle.
        k: Number of classes.
        batch: Rows of a batch.
        threads: Threads of one step.

    Raises:
        BackendError: If the step does not load, or is not what the spec says.
    """

    def __init__(self, content: TailContent, k: int, batch: int, threads: int) -> None:
        spec = content.spec
        self.spec = spec
        axes = spec.axes(spec.step_inputs)
        graph = load_graph(content.step, content.runtime, axes, spec.step_outputs, threads, WHAT)
        self.map = np.zeros((batch, *spec.map), np.float32)
        self.target = np.zeros((batch, k), np.float32)
        self.weight = np.ones(batch, np.float32)
        self._scalars = {name: np.array(FIXED.get(name, 0.0), np.float32) for name in spec.scalars}
        self._loss, self._data_loss = np.zeros((), np.float32), np.zeros((), np.float32)
        shapes = {p.name: (k, *p.shape[1:]) if p.name in spec.head else p.shape for p in spec.parameters}
        kinds = ("parameter", *spec.state)
        self._sets = [
            {f"{kind}/{name}": np.zeros(shape, np.float32) for kind in kinds for name, shape in shapes.items()}
            for _ in range(2)
        ]
        self._given = {
            f"{kind}/{name}": np.zeros(shape, np.float32)
            for kind in GIVEN[spec.penalty]
            for name, shape in shapes.items()
        }
        batch_of = {"map": self.map, "target": self.target, "sample_weight": self.weight}
        given = {**batch_of, **self._scalars, **self._given}
        losses = {"loss": self._loss} if spec.penalty == "none" else {"loss": self._loss, "data_loss": self._data_loss}
        self._runs = [
            graph.bind({**given, **read}, {**losses, **{f"new_{key}": array for key, array in write.items()}})
            for read, write in (self._sets, self._sets[::-1])
        ]
        self._turn = self._steps = 0

    def begin(self, start: Mapping[str, Float32], fisher: Mapping[str, Float32] | None = None) -> None:
        """Begin anew.

        Args:
            start: Parameters by name, which are also what a penalty draws towards.
            fisher: Fisher diagonals by name, for a penalty that takes them.
        """
        self._turn = self._steps = 0
        for key, array in self._sets[0].items():
            kind, name = key.split("/", 1)
            array[...] = start[name] if kind == "parameter" else 0
        for key, array in self._given.items():
            kind, name = key.split("/", 1)
            array[...] = start[name] if kind == "reference" else 1 if fisher is None else fisher[name]

    def step(self, rate: float, strength: float) -> float:
        """Take one step on the batch.

        Args:
            rate: Learning rate.
            strength: Strength of the penalty, where the step has one.

        Returns:
            The loss of the batch before the step, without the penalty; NaN or infinite where the rate was too high.

        Raises:
            BackendError: If it fails.
        """
        self._steps += 1
        for name, value in (("learning_rate", rate), ("strength", strength), ("step", self._steps)):
            if name in self._scalars:
                self._scalars[name][...] = value
        self._runs[self._turn]()
        self._turn = 1 - self._turn
        return float(self._loss if self.spec.penalty == "none" else self._data_loss)

    @property
    def parameters(self) -> dict[str, Float32]:
        """The parameters by name, in the buffers that the step after the next one writes: copy what is to be kept."""
        now = self._sets[self._turn]
        return {p.name: now[f"parameter/{p.name}"] for p in self.spec.parameters}
