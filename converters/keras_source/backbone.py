"""The backbone as one Keras model: raw samples in, averages at the taps and the cut out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, CutError
from ..graph_names import BACKBONE, INPUT, OUTPUT, PREPROCESS
from .head import Head, find_head
from .preparation import Preparation
from .stages import choose_taps
from .unroll import Step, Symbol, check_structure, unroll

_BATCH = 16


class Backbone:
    """A model in two parts, the first of which is to be exported.

    Args:
        model: The Keras model.
        sample: ``(n, ...)`` raw samples.
        preparation: What stands in front; its scale must be known.
        taps: See `choose_taps`.

    Raises:
        CutError: If the model cannot be split.
        CalibrationError: If it does not take the samples.
    """

    def __init__(
        self, model: Any, sample: NDArray[np.generic], preparation: Preparation, taps: str | Sequence[str]
    ) -> None:
        import keras

        check_structure(model)
        raw = keras.Input(sample.shape[1:], dtype=str(sample.dtype), name=INPUT)
        prepared = prepare(raw, preparation)
        front = keras.Model(raw, prepared, name=PREPROCESS)
        taken = _taken(model, prepared)
        x = keras.Input(taken, name="prepared")
        try:
            self.steps = unroll(model, x)
        except CutError:
            raise
        # Layers raise anything where a shape does not fit.
        except Exception as error:
            raise CalibrationError(
                f"expected samples that {model.name!r} takes, found that it fails on {taken}: "
                f"{' '.join(str(error).split())[:300]}. Check the frame's size and its channels, or pass resize."
            ) from error
        self.head: Head = find_head(self.steps)
        self._raw, self._front, self._x = raw, front, x
        points = choose_taps(self.steps, self.head.step.inputs[0], taps)
        self.names, self._parts = [f"{self.head.step.name}:input"], [self.head.cut]
        self._keep(points, sample)
        trunk = self._model(self._join())
        self.whole = keras.Model(raw, trunk(front(raw)), name="whole")

    def run(self, samples: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the latents ``(n, d) float32`` of raw samples, a batch at a time."""
        parts = [
            np.asarray(self.whole(samples[i : i + _BATCH], training=False)) for i in range(0, len(samples), _BATCH)
        ]
        return np.concatenate(parts)

    @property
    def taps(self) -> list[tuple[str, int]]:
        """Name and width of each part of the latent."""
        return [(name, int(part.shape[-1])) for name, part in zip(self.names, self._parts, strict=True)]

    def axes(self) -> set[int]:
        """Return every length that occurs in an activation or a weight."""
        shapes = [step.shape for step in self.steps] + [tuple(weight.shape) for weight in self.whole.weights]
        return {int(axis) for shape in shapes for axis in shape if axis}

    def _keep(self, points: Sequence[Step], sample: NDArray[np.generic]) -> None:
        """Keep the taps that do not repeat the cut or each other."""
        if not points:
            return
        averages = [average(step.output, i) for i, step in enumerate(points)]
        found = self._front(sample, training=False)
        *parts, cut = (np.asarray(part) for part in self._model([*averages, self.head.cut])(found, training=False))
        known = [cut]
        kept: list[tuple[str, Symbol]] = []
        for step, symbol, part in zip(points, averages, parts, strict=True):
            n, width = part.shape
            # A cut that is a flattened map already holds that map's averages.
            flat = [cut.reshape(n, -1, width).mean(1)] if cut.shape[1] % width == 0 else []
            tiny = 1e-5 * float(np.abs(part).max()) + 1e-12
            if not any(k.shape == part.shape and np.abs(k - part).max() <= tiny for k in [*known, *flat]):
                kept.append((step.name, symbol))
                known.append(part)
        self.names = [*(name for name, _ in kept), *self.names]
        self._parts = [*(symbol for _, symbol in kept), *self._parts]

    def _model(self, result: Any) -> Any:
        import keras

        return keras.Model(self._x, result, name=BACKBONE)

    def _join(self) -> Symbol:
        from keras import layers

        return layers.Concatenate(name=OUTPUT)(self._parts) if len(self._parts) > 1 else self._parts[0]


def prepare(raw: Symbol, preparation: Preparation) -> Symbol:
    """Build resizing, copies and scaling."""
    from keras import ops

    x = ops.cast(raw, "float32")
    if preparation.columns is not None or preparation.rows is not None:
        x = ops.transpose(x, (0, 3, 1, 2))
        # The constant stands on the right, as in a linear layer: that form takes any batch size in TFLite.
        if preparation.columns is not None:
            x = ops.matmul(x, preparation.columns.T)
        if preparation.rows is not None:
            x = ops.swapaxes(ops.matmul(ops.swapaxes(x, 2, 3), preparation.rows.T), 2, 3)
        x = ops.transpose(x, (0, 2, 3, 1))
    if preparation.copies > 1:
        x = ops.concatenate([x] * preparation.copies, -1)
    if preparation.mix is not None:
        x = ops.matmul(x, preparation.mix)
    elif preparation.scale is not None:
        x = x * preparation.scale
    return x if preparation.shift is None else x + preparation.shift


def average(x: Symbol, number: int) -> Symbol:
    """Average activations ``(n, ..., channels)`` over positions."""
    from keras import layers

    pool = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D, 5: layers.GlobalAveragePooling3D}
    return pool[len(x.shape)](name=f"tap_{number}")(x) if len(x.shape) in pool else x


def _taken(model: Any, prepared: Symbol) -> tuple[int, ...]:
    wanted, found = tuple(model.inputs[0].shape)[1:], tuple(prepared.shape)[1:]
    fits = len(wanted) == len(found) and all(a in (None, b) for a, b in zip(wanted, found, strict=True))
    if not fits:
        hint = f"Pass resize=({wanted[0]}, {wanted[1]})." if len(wanted) == len(found) == 3 else "Check the samples."
        raise CalibrationError(f"expected samples that become {wanted}, as {model.name!r} takes, found {found}. {hint}")
    return tuple(int(axis) for axis in found)
