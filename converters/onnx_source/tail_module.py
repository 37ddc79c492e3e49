"""The part of an ONNX network behind a cut, as a torch module that can be differentiated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .operation import Operation
from .rules import RULES

Float32 = NDArray[np.float32]
# In place of infinity, which masks of attention hold: a softmax makes the same of it.
_HUGE = 1e30


class OnnxTail(nn.Module):
    """From maps to logits, one operation after another.

    Args:
        operations: What lies between the cut and the head's input, in order.
        source: Name of the cut's tensor.
        turn: Order of axes that maps are brought into first; empty for none.
        end: Name of the head's input.
        axis: Its channel axis; over the others it is averaged.
        trained: Weights by name.
        fixed: Other tensors by name.
        head: Names of the head's weight ``(k, c)`` and bias ``(k,)`` among the weights.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        source: str,
        turn: Sequence[int],
        end: str,
        axis: int,
        trained: Mapping[str, Float32],
        fixed: Mapping[str, NDArray[Any]],
        head: tuple[str, str],
    ) -> None:
        super().__init__()
        self._operations, self._source, self._turn = tuple(operations), source, tuple(turn)
        self._end, self._axis = end, axis
        self._paths: dict[str, tuple[str, ...]] = {}
        for name, value in trained.items():
            self._keep(name, torch.from_numpy(np.array(value, np.float32)), trains=True)
        for name, other in fixed.items():
            self._keep(name, _finite(torch.from_numpy(np.array(other))), trains=False)
        self._head = head

    @property
    def head(self) -> tuple[str, str]:
        """Names of the head's weight and bias, as `named_parameters` gives them."""
        weight, bias = (".".join(self._paths[name]) for name in self._head)
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(n, k)`` of maps ``(n, *shape)``."""
        logits: Tensor = self.values(x)[""]
        return logits

    def values(self, x: Tensor) -> dict[str, Any]:
        """Return every tensor on the way by its name, the logits under the empty one."""
        n = x.shape[0]
        values: dict[str, Any] = {self._source: x.permute(self._turn) if self._turn else x}
        for op in self._operations:
            given = [
                self._tensor(op.tensors[i]) if i in op.tensors else values.get(name) for i, name in enumerate(op.inputs)
            ]
            made = RULES[op.kind](op, given, n)
            parts = made if isinstance(made, tuple) else (made,)
            values.update((name, part) for name, part in zip(op.outputs, parts, strict=False) if name)
        last = values[self._end]
        others = [axis for axis in range(1, last.dim()) if axis != self._axis]
        features = last.mean(others) if others else last
        weight, bias = (self._tensor(name) for name in self._head)
        values[""] = functional.linear(features, weight, bias)
        return values

    def _tensor(self, name: str) -> Tensor:
        found: Any = self
        for part in self._paths[name]:
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    def _keep(self, name: str, value: Tensor, *, trains: bool) -> None:
        """Hold a tensor under its name; a dot in it leads into a module inside."""
        path = tuple(name.split("."))
        holder = self._holder(path)
        if holder is None:
            path, holder = (f"{name.replace('.', '_')}",), self
            while hasattr(self, path[0]):
                path = (f"{path[0]}_",)
        if trains:
            holder.register_parameter(path[-1], nn.Parameter(value))
        else:
            holder.register_buffer(path[-1], value)
        self._paths[name] = path

    def _holder(self, path: Sequence[str]) -> nn.Module | None:
        """Return the module that takes a tensor of this path; None where a name in it means something else."""
        at: nn.Module = self
        for part in path[:-1]:
            if part not in at._modules:
                if not part or hasattr(at, part):
                    return None
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        return None if not path[-1] or hasattr(at, path[-1]) else at


def _finite(value: Tensor) -> Tensor:
    return value.clamp(-_HUGE, _HUGE) if value.is_floating_point() else value
