"""Find a Keras model's head: the last Dense or 1x1 convolution, whose output is the model's but for an activation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CutError
from .unroll import Step, Symbol

Float32 = NDArray[np.float32]
# These change nothing when a model is used rather than trained.
IDLE = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"),
    *("GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity"),
)
_SHAPES = ("Reshape", "Flatten", "Squeeze")
_POOLS = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
_ACTIVATIONS = ("linear", "softmax", "sigmoid")
_HINT = "Let the model end in keras.layers.Dense, and do what follows it outside of the model."


@dataclass(frozen=True, eq=False)
class Head:
    """A head and the cut in front of it.

    Args:
        step: The call of the layer.
        cut: Its input, ``(n, c)``, pooled if it was a map.
        weight: ``(k, c) float32``.
        bias: ``(k,) float32``.
        activation: What follows it: ``"linear"``, ``"softmax"`` or ``"sigmoid"``.
    """

    step: Step
    cut: Symbol
    weight: Float32
    bias: Float32
    activation: str


def find_head(steps: Sequence[Step]) -> Head:
    """Find the head.

    Args:
        steps: The model (`unroll`).

    Raises:
        CutError: If the model's output is not that of a linear layer on one vector per sample.
    """
    made_by = {id(step.output): step for step in steps}
    step, pooled, activation = steps[-1], False, "linear"
    while step.kind not in ("Dense", "Conv2D", "Conv1D"):
        kind = step.kind
        found = _activation(step)
        if found is not None:
            activation = _one(step, activation, found, pooled)
        elif kind in _POOLS:
            pooled = True
        elif kind not in IDLE and kind not in _SHAPES:
            raise CutError(_unexpected(step, kind))
        source = made_by.get(id(step.inputs[0])) if len(step.inputs) == 1 else None
        if source is None:
            raise CutError(f"expected a model that ends in keras.layers.Dense, found none in it. {_HINT}")
        step = source
    activation = _one(step, activation, _name(step.layer.activation), pooled)
    if sum(other.layer is step.layer for other in steps) > 1:
        raise CutError(
            f"expected the head {step.name!r} to run once, found that the model calls it several times. "
            f"Give the model a layer of its own for its output."
        )
    kernel = np.asarray(step.layer.kernel, np.float32)
    bias = np.zeros(kernel.shape[-1], np.float32) if step.layer.bias is None else np.asarray(step.layer.bias)
    return Head(step, _cut(step, kernel, pooled), kernel.reshape(-1, kernel.shape[-1]).T.copy(), bias, activation)


def _cut(step: Step, kernel: Float32, pooled: bool) -> Symbol:
    from keras import layers

    x = step.inputs[0]
    if step.kind != "Dense":
        plain = step.layer.groups == 1 and all(stride == 1 for stride in step.layer.strides)
        if kernel.size != kernel.shape[-1] * kernel.shape[-2] or not plain:
            raise CutError(_unexpected(step, f"a convolution of {'x'.join(map(str, step.layer.kernel_size))}"))
    positions = tuple(x.shape)[1:-1]
    if any(axis != 1 for axis in positions) and not pooled:
        raise CutError(
            f"expected the head {step.name!r} to take one vector (n, c) per sample, found {tuple(x.shape)}. "
            f"Pool over positions before it."
        )
    if positions:
        pool = {1: layers.GlobalAveragePooling1D, 2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}
        x = pool[len(positions)](name="pooled_cut")(x)
    if x.shape[-1] is None:
        raise CutError(f"expected the head {step.name!r} to take a known number of features, found that it is open.")
    return x


def _activation(step: Step) -> str | None:
    if step.kind == "Softmax":
        return "softmax"
    return _name(step.layer.activation) if step.kind == "Activation" else None


def _name(activation: Any) -> str:
    import keras

    return str(getattr(activation, "__name__", keras.activations.serialize(activation)))


def _one(step: Step, known: str, found: str, pooled: bool) -> str:
    if found not in _ACTIVATIONS:
        raise CutError(_unexpected(step, f"the activation {found!r}"))
    if pooled and found != "linear":
        raise CutError(_unexpected(step, f"{found} in front of pooling"))
    if "linear" not in (known, found):
        raise CutError(_unexpected(step, f"{found} in front of {known}"))
    return found if known == "linear" else known


def _unexpected(step: Step, found: str) -> str:
    ending = "expected the model to end in a linear layer, with softmax or sigmoid at most"
    return f"{ending}, found {found} ({step.name!r}). {_HINT}"
