"""Record which operations a model runs on which tensors, and act at the same operations of later runs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import InputError
from .hold_ranges import HeldRange

INPUT = 0
_DIVERGED = (
    "expected a model that does the same with every batch, found that operation {number} was {was!r} at first and is "
    "{found!r} now. Write control flow that depends on values with torch.where."
)


@dataclass(frozen=True)
class Operation:
    """One call of a torch function that returned tensors.

    Args:
        kind: Name of the function, as ``"conv2d"``.
        module: Name of the innermost module that called it.
        inputs: Numbers of the tensors that it took, parameters and buffers left out.
        outputs: Numbers of those that it returned.
        axes: How many axes its first input has; 0 without one.
        limit: For a clamp the value above which it cuts off; infinity without one.
    """

    kind: str
    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: int
    limit: float = float("inf")


@dataclass
class Recording:
    """What one run of a model consisted of; tensor 0 is its input.

    Args:
        operations: In the order of the run.
        outputs: Modules that returned one tensor, with its number, inner modules first.
        inputs: Modules with the number of the tensor that they took first, outer modules first; no sequences.
        calls: How often each module was called.
    """

    operations: list[Operation] = field(default_factory=list)
    outputs: list[tuple[str, int]] = field(default_factory=list)
    inputs: list[tuple[str, int]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def takers(self) -> dict[int, list[int]]:
        """Return for each tensor the operations that take it."""
        found: dict[int, list[int]] = {}
        for number, operation in enumerate(self.operations):
            for key in dict.fromkeys(operation.inputs):
                found.setdefault(key, []).append(number)
        return found

    def makers(self) -> dict[int, int]:
        """Return for each tensor the operation that made it."""
        return {key: number for number, operation in enumerate(self.operations) for key in operation.outputs}


def record(model: nn.Module, sample: Tensor) -> Recording:
    """Run a model once, as it is, and record it.

    Args:
        model: The model; its hooks are as before afterwards.
        sample: ``(n, ...)``, what it takes.
    """
    recorder = _Recorder(model)
    with torch.no_grad(), recorder.hooked(model):
        recorder.take(sample)
        with recorder:
            model(sample)
    return recorder.recording


class Replay(TorchFunctionMode):
    """Gives every operation of a run, by its number, to a function, which runs it or something in its place.

    Args:
        recording: What the run consists of.
        act: Takes the operation's number, the torch function and its arguments; returns what it is to return.
    """

    def __init__(self, recording: Recording, act: Callable[[int, Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self._operations = recording.operations
        self._act = act
        self._number = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        number = self._number
        kind = _kind(func)
        if number < len(self._operations) and self._operations[number].kind == kind:
            result = self._act(number, func, args, kwargs or {})
        else:
            result = func(*args, **(kwargs or {}))
        if next(_tensors(result), None) is None:
            return result
        if number >= len(self._operations) or self._operations[number].kind != kind:
            was = self._operations[number].kind if number < len(self._operations) else "the end"
            raise InputError(_DIVERGED.format(number=number, was=was, found=kind))
        self._number += 1
        return result


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.recording = Recording()
        self._own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._keys: dict[int, int] = {}
        self._next = INPUT
        # A tensor that is gone would hand its identity on to another one.
        self._alive: list[Tensor] = []
        self._stack: list[str] = []

    def take(self, tensor: Tensor) -> int:
        """Give a tensor a number of its own, a new one where it was overwritten."""
        key, self._next = self._next, self._next + 1
        self._keys[id(tensor)] = key
        self._alive.append(tensor)
        return key

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        taken = [tensor for tensor in _tensors((args, tuple(kwargs.values()))) if id(tensor) not in self._own]
        inputs = tuple(self._key(tensor) for tensor in taken)
        result = func(*args, **kwargs)
        made = list(_tensors(result))
        if made:
            kind = _kind(func)
            axes = taken[0].dim() if taken else 0
            module = self._stack[-1] if self._stack else ""
            # What was overwritten in place is another tensor from here on.
            outputs = tuple(self.take(tensor) for tensor in made)
            self.recording.operations.append(Operation(kind, module, inputs, outputs, axes, _limit(kind, args, kwargs)))
        return result

    @contextmanager
    def hooked(self, model: nn.Module) -> Iterator[None]:
        """Note the modules that are called while the block runs."""
        names = {m: name for name, m in model.named_modules() if not isinstance(m, HeldRange)}

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            name = names[module]
            self._stack.append(name)
            self.recording.calls[name] += 1
            first = next(_tensors((args, tuple(kwargs.values()))), None)
            # A sequence would run what is put into it for holding a range.
            if first is not None and not isinstance(module, nn.Sequential):
                self.recording.inputs.append((name, self._key(first)))

        def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
            self._stack.pop()
            if isinstance(output, Tensor):
                self.recording.outputs.append((names[module], self._key(output)))

        handles = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in names]
        handles += [module.register_forward_hook(leave) for module in names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _key(self, tensor: Tensor) -> int:
        key = self._keys.get(id(tensor))
        return self.take(tensor) if key is None else key


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _kind(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    # An attribute: `x.T` gives a tensor, `x.shape` none.
    return str(getattr(func.__self__, "__name__", name)) if name == "__get__" else name


def _limit(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    if kind == "relu6":
        return 6.0
    names = {"hardtanh": ("max_val", 1.0), "hardtanh_": ("max_val", 1.0)}
    key, default = names.get(kind, ("max", float("inf")))
    if kind not in names and kind not in ("clamp", "clamp_", "clip", "clip_"):
        return float("inf")
    value = kwargs.get(key, args[2] if len(args) > 2 else default)
    return float(value) if isinstance(value, int | float) else float("inf")
