"""A Keras model as one list of layers in the order in which they run, models inside of models unrolled."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CutError

Symbol = Any
"""A ``keras.KerasTensor``; TensorFlow and Keras have no types to check with."""


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer.

    Args:
        name: Path of the layer: ``"backbone/block_1_add"``.
        layer: The layer.
        inputs: What goes in.
        output: What comes out.
    """

    name: str
    layer: Any
    inputs: tuple[Symbol, ...]
    output: Symbol

    @property
    def kind(self) -> str:
        """Name of the layer's class."""
        return type(self.layer).__name__

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the output, None for the batch."""
        return tuple(self.output.shape)

    @property
    def has_weights(self) -> bool:
        """Whether it multiplies by weights of its own."""
        return any(len(weight.shape) > 1 for weight in getattr(self.layer, "weights", ()))


def unroll(model: Any, x: Symbol) -> tuple[Step, ...]:
    """Run a model symbolically on another input; its layers keep their weights.

    Args:
        model: A Sequential or functional model with one input and one output.
        x: Its new input.

    Returns:
        The steps; the output of the last one is the model's.

    Raises:
        CutError: If it is no such model.
    """
    check_structure(model)
    steps: list[Step] = []
    result = _run(model, x, "", steps)
    last = next((step for step in reversed(steps) if step.output is result), None)
    if last is None:
        raise CutError(f"expected {model.name!r} to compute something from its input, found that it returns it.")
    return (*(step for step in steps if step is not last), last)


def check_structure(model: Any) -> None:
    """Refuse a model whose layers cannot be seen.

    Raises:
        CutError: If it is not Sequential or functional, or has several inputs or outputs.
    """
    if not _is_graph(model):
        raise CutError(
            f"expected a Sequential or functional Keras model, found {model.name!r} of class {type(model).__name__}: "
            f"its layers are called by code of its own. Write it as keras.Model(inputs, outputs)."
        )
    if not model.built:
        raise CutError(f"expected a built model, found that {model.name!r} knows no input shape. Call it once.")
    advice = {"input": "Build one with a single input, constants for the rest.", "output": "Take the head's alone."}
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            found = ", ".join(f"{tensor.name!r} {tuple(tensor.shape)}" for tensor in tensors[:8])
            raise CutError(f"expected a model with one {what}, found {len(tensors)}: {found}. {advice[what]}")


def _is_graph(model: Any) -> bool:
    import keras

    return isinstance(model, keras.Sequential) or hasattr(model, "_run_through_graph")


def _run(model: Any, x: Symbol, inside: str, steps: list[Step]) -> Symbol:
    import keras

    def visit(layer: Any, *args: Any, **kwargs: Any) -> Any:
        given = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, keras.KerasTensor)]
        if isinstance(layer, keras.Model) and _is_graph(layer) and len(given) == len(layer.outputs) == 1:
            return _run(layer, given[0], f"{inside}{layer.name}/", steps)
        # Said outright: exporters leave it open, and a layer of augmentation then takes itself to be in training.
        if "training" in inspect.signature(layer.call).parameters:
            kwargs["training"] = False
        output = layer(*args, **kwargs)
        name = f"{inside}{layer.name}"
        steps.extend(Step(name, layer, tuple(given), value) for value in keras.tree.flatten(output))
        return output

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            x = visit(layer, x)
        return x
    # Keras has no public way to run a functional model's graph with another call for each of its layers.
    return keras.tree.flatten(model._run_through_graph([x], operation_fn=lambda layer: layer, call_fn=visit))[0]


def before(steps: Sequence[Step], end: Symbol) -> tuple[Step, ...]:
    """Return the steps that a tensor is computed from, its own among them."""
    wanted, kept = {id(end)}, []
    for step in reversed(steps):
        if id(step.output) in wanted:
            kept.append(step)
            wanted |= {id(value) for value in step.inputs}
    return tuple(reversed(kept))
