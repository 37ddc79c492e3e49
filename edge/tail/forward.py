"""A tail's forward pass: maps and parameters to logits."""

from collections.abc import Mapping

import numpy as np

from ...errors import BackendError
from ...tail_content import TailContent
from .graphs import Float32, load_graph, not_finite

WHAT = "tail"
# Maps that go through the tail together: more cost memory and gain nothing.
ROWS = 32


class Forward:
    """A tail's forward pass, loaded once for all versions: parameters are inputs. May be called from several threads.

    Args:
        content: The tail of a bundle.
        threads: Threads of one call.

    Raises:
        BackendError: If it does not load, or is not what the spec says.
    """

    def __init__(self, content: TailContent, threads: int) -> None:
        self.spec = content.spec
        axes = self.spec.axes(self.spec.forward_inputs)
        self._graph = load_graph(content.forward, content.runtime, axes, ("logits",), threads, WHAT)

    def logits(self, maps: Float32, parameters: Mapping[str, Float32]) -> Float32:
        """Run the tail.

        Args:
            maps: ``(n, *map) float32``.
            parameters: Every parameter by name; the head's have k rows.

        Returns:
            ``(n, k) float32``.

        Raises:
            BackendError: If it fails, or gives something else or no finite numbers.
        """
        given = {f"parameter/{name}": values for name, values in parameters.items()}
        weight, n = self.spec.weight, len(maps)
        k = self.spec.classes if weight is None else len(parameters[weight])
        found = np.empty((n, k), np.float32)
        for start in range(0, n, ROWS):
            part = np.ascontiguousarray(maps[start : start + ROWS])
            logits = self._graph.run({"map": part, **given}, "logits")
            if logits.shape != (len(part), k):
                raise BackendError(f"expected logits {(len(part), k)}, found {logits.shape}. Convert the model again.")
            found[start : start + ROWS] = logits
        if not np.isfinite(found).all():
            raise not_finite(WHAT)
        return found
