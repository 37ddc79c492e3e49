"""Run a captured tail with maps channels first, operation by operation, so that PyTorch can differentiate it."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.fx.traceback
from torch import Tensor, fx

from ...errors import ConversionError
from .capture import Captured, describe
from .layout import Constants, Value
from .rules import RULES

_aten = torch.ops.aten


def run(captured: Captured, tensors: Mapping[str, Tensor], maps: Tensor, constants: Constants) -> Tensor:
    """Compute the logits.

    Args:
        captured: The tail.
        tensors: Its tensors by name.
        maps: ``(n, ...) float32``, its input.
        constants: Where constant matrices are kept.

    Returns:
        ``(n, k) float32`` logits.

    Raises:
        ConversionError: If an operation cannot be run so; the message names it and its module.
    """
    values: dict[fx.Node, Any] = {}
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            given = maps if node is captured.source else tensors[captured.names[node]]
            values[node] = Value(given)
        elif node.op == "output":
            logits: Tensor = values[node.args[0][0]].plain()
            return logits
        else:
            # What PyTorch records meanwhile then knows of which module it is a part.
            with fx.traceback.set_current_meta(node):
                values[node] = _call(node, values, constants)
    raise ConversionError("expected a tail with an output, found none.")


def _call(node: fx.Node, values: dict[fx.Node, Any], constants: Constants) -> Any:
    args: Any = fx.map_arg(node.args, values.__getitem__)
    kwargs: Any = fx.map_arg(node.kwargs, values.__getitem__)
    target: Any = node.target
    if target is operator.getitem or getattr(target, "__module__", "") in ("_operator", "operator"):
        return target(*args)
    if target is _aten.sym_size.int:
        return args[0].size(args[1])
    rule: Callable[..., Any] | None = RULES.get(getattr(target, "overloadpacket", None))
    try:
        found = NotImplemented if rule is None else rule(target, constants, *args, **kwargs)
        if found is NotImplemented:
            found = _as_is(target, args, kwargs)
    except ConversionError as error:
        raise ConversionError(f"{error} It is {describe(node)}.") from error
    except NotImplementedError as error:
        raise ConversionError(
            f"expected operations that can be compiled into a training step, found {describe(node)}: {error}. "
            f"Cut behind it, or leave it in the backbone."
        ) from error
    return found


def _as_is(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation with the axes that the tail expects."""
    found = target(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})
    if isinstance(found, tuple | list):
        return [Value(part) for part in found]
    return Value(found) if isinstance(found, Tensor) else found


def _plain(argument: Any) -> Any:
    if isinstance(argument, tuple | list):
        return [_plain(entry) for entry in argument]
    return argument.plain() if isinstance(argument, Value) else argument
