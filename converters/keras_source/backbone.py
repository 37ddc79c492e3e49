"""The backbone as one Keras model: raw samples in, averages or maxima at the taps and the cut out."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, CutError
from ..graph_names import BACKBONE, INPUT, OUTPUT, PREPROCESS
from ..tap_pooling import require_maxima
from .head import Head, find_head
from .preparation import Preparation
from .stages import KerasTap, choose_taps, with_maxima
from .unroll import Symbol, check_structure, unroll

_BATCH = 16


class Backbone:
    """A model in two parts, the first of which is to be exported.

    Args:
        model: The Keras model.
        sample: ``(n, ...)`` raw samples.
        preparation: What stands in front; its scale must be known.
        taps: See `choose_taps`.
        pooling: ``"mean-max"`` puts the maxima of each tapped map beside its means.

    Raises:
        CutError: If the model cannot be split.
        CalibrationError: If it does not take the samples.
    """

    def __init__(
        self,
        model: Any,
        sample: NDArray[np.generic],
        preparation: Preparation,
        taps: str | Sequence[str],
        pooling: str = "mean",
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
        self._keep(points, sample, pooling)
        self._latent = self._join()
        self.whole = self._whole(self._latent)

    def run(self, samples: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the latents ``(n, d) float32`` of raw samples, a batch at a time."""
        parts = [
            np.asarray(self.whole(samples[i : i + _BATCH], training=False)) for i in range(0, len(samples), _BATCH)
        ]
        return np.concatenate(parts)

    def with_map(self, cut: Symbol, *, features: bool = False) -> Any:
        """Return the backbone that gives a map beside the latent, and what goes into the head where that is asked."""
        more = [self.head.cut] if features and self.head.cut is not self._latent else []
        return self._whole([self._latent, cut, *more])

    def run_maps(self, cut: Symbol, samples: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the maps ``(n, *shape) float32`` of raw samples, a batch at a time."""
        model = self._whole(cut)
        parts = [np.asarray(model(samples[i : i + _BATCH], training=False)) for i in range(0, len(samples), _BATCH)]
        return np.concatenate(parts)

    @property
    def taps(self) -> list[tuple[str, int]]:
        """Name and width of each part of the latent."""
        return [(name, int(part.shape[-1])) for name, part in zip(self.names, self._parts, strict=True)]

    def axes(self) -> set[int]:
        """Return every length that occurs in an activation or a weight."""
        shapes = [step.shape for step in self.steps] + [tuple(weight.shape) for weight in self.whole.weights]
        return {int(axis) for shape in shapes for axis in shape if axis}

    def _keep(self, points: Sequence[KerasTap], sample: NDArray[np.generic], pooling: str) -> None:
        """Keep the taps that do not repeat the cut or each other, with the maxima of those kept if they are wanted."""
        if not points:
            if pooling != "mean":
                require_maxima(self.names, given=False)
            return
        pooled = [pool(tap.step.output, tap.pool, i) for i, tap in enumerate(points)]
        found = self._front(sample, training=False)
        *parts, cut = (np.asarray(part) for part in self._model([*pooled, self.head.cut])(found, training=False))
        known = [cut]
        kept: dict[KerasTap, Symbol] = {}
        for tap, symbol, part in zip(points, pooled, parts, strict=True):
            n, width = part.shape
            # A cut that is a flattened map already holds that map's averages.
            flat = [cut.reshape(n, -1, width).mean(1)] if cut.shape[1] % width == 0 else []
            tiny = 1e-5 * float(np.abs(part).max()) + 1e-12
            if not any(k.shape == part.shape and np.abs(k - part).max() <= tiny for k in [*known, *flat]):
                kept[tap] = symbol
                known.append(part)
        taps = tuple(kept) if pooling == "mean" else with_maxima(tuple(kept))
        if pooling != "mean":
            require_maxima([tap.name for tap in kept], any(tap.pool == "max" for tap in taps))
        more = {tap: pool(tap.step.output, tap.pool, len(points) + i) for i, tap in enumerate(taps) if tap not in kept}
        self.names = [*(tap.name for tap in taps), *self.names]
        self._parts = [*((kept | more)[tap] for tap in taps), *self._parts]

    def _whole(self, result: Any) -> Any:
        import keras

        return keras.Model(self._raw, self._model(result)(self._front(self._raw)), name="whole")

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


def pool(x: Symbol, kind: Literal["mean", "max"], number: int) -> Symbol:
    """Pool activations ``(n, ..., channels)`` over positions."""
    from keras import layers

    means = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D, 5: layers.GlobalAveragePooling3D}
    maxima = {3: layers.GlobalMaxPooling1D, 4: layers.GlobalMaxPooling2D, 5: layers.GlobalMaxPooling3D}
    known = maxima if kind == "max" else means
    return known[len(x.shape)](name=f"tap_{number}")(x) if len(x.shape) in known else x


def _taken(model: Any, prepared: Symbol) -> tuple[int, ...]:
    wanted, found = tuple(model.inputs[0].shape)[1:], tuple(prepared.shape)[1:]
    fits = len(wanted) == len(found) and all(a in (None, b) for a, b in zip(wanted, found, strict=True))
    if not fits:
        hint = f"Pass resize=({wanted[0]}, {wanted[1]})." if len(wanted) == len(found) == 3 else "Check the samples."
        if wanted[-1] not in (None, found[-1]) and found[0] == wanted[-1]:
            hint = "Channels come last in Keras: put the first axis of a sample at its end, with numpy.moveaxis."
        raise CalibrationError(f"expected samples that become {wanted}, as {model.name!r} takes, found {found}. {hint}")
    return tuple(int(axis) for axis in found)
