"""What is trained in TensorFlow's process: a model, its optimiser, and the moving average of its weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TrainingError

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """How to train; as in `TrainingSettings`.

    Args:
        weight_decay: Decoupled decay of matrices and kernels.
        label_smoothing: Share of the targets that is spread evenly.
        gradient_norm: Gradients longer than this are shortened to it.
        ema: Decay of the moving average, 0 for none.
    """

    weight_decay: float
    label_smoothing: float
    gradient_norm: float
    ema: float


class Trainee:
    """A model that `model.fit` trains as torch's loop trains others.

    Args:
        inner: From `build.build_model`; trained in place. Its file holds nothing of the training.
        recipe: How.
    """

    def __init__(self, inner: Any, recipe: Recipe) -> None:
        import keras
        import tensorflow

        self.inner, self.recipe = inner, recipe
        self.model = keras.Model(inner.inputs[0], inner.outputs[0])
        # torch's epsilon; a schedule sets the rate anew at each step.
        self.optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=recipe.weight_decay, epsilon=1e-8)
        flat = [v for v in self.model.trainable_variables if len(v.shape) <= 1]
        self.optimizer.exclude_from_weight_decay(var_list=flat)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
        # Compiling to XLA takes longer than most runs' first epochs.
        self.model.compile(optimizer=self.optimizer, loss=loss, jit_compile=False)
        self.optimizer.build(self.model.trainable_variables)
        self.average = [tensorflow.Variable(w.value) for w in inner.weights] if recipe.ema else []
        self.model.train_step = self._step
        self._averaged = False

    def fit(self, rates: Sequence[float], batches: Iterator[Batch], told: Callable[[float, float], None]) -> None:
        """Take steps.

        Args:
            rates: Learning rate of each step.
            batches: Inputs and targets ``(b, k)`` of each.
            told: Called after each with its loss, and with the length of its gradient before it was shortened.
        """
        import keras

        def begin(step: int, logs: Any = None) -> None:
            self.optimizer.learning_rate = rates[step]

        def end(step: int, logs: Mapping[str, Any]) -> None:
            told(float(logs["loss"]), float(logs["norm"]))

        # Keras takes a tuple for one batch, and asks for two batches before it begins.
        self.model.fit(
            ((x, y) for x, y in batches),
            steps_per_epoch=len(rates),
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)],
        )

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits ``(b, k)``."""
        return np.asarray(self.model.predict_on_batch(x), np.float32)

    def swap(self, *, averaged: bool) -> None:
        """Let the model have the moving average of its weights, or its own again."""
        if self.average and averaged != self._averaged:
            for weight, mean in zip(self.inner.weights, self.average, strict=True):
                own = np.asarray(weight)
                weight.assign(mean)
                mean.assign(own)
            self._averaged = averaged

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next step depends on: weights, seeds of dropout, the optimiser, the average."""
        return {name: np.asarray(variable) for name, variable in self._variables().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take a state back.

        Raises:
            TrainingError: If it is of another model.
        """
        variables = self._variables()
        unlike = [n for n in sorted(variables.keys() | state.keys()) if _kind(variables.get(n)) != _kind(state.get(n))]
        if unlike:
            name = unlike[0]
            raise TrainingError(
                f"expected {_kind(variables.get(name))} as {name!r}, found {_kind(state.get(name))}: the checkpoint is "
                f"of another model, or of another version of Keras. Resume it with what it was made with."
            )
        for name, variable in variables.items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, Any]:
        """Return all variables by a group and a number, as paths need not differ."""
        groups = {"module": self.inner.variables, "optimizer": self.optimizer.variables, "average": self.average}
        return {
            f"{group}/{i:05d}/{getattr(variable, 'path', 'mean')}": variable
            for group, variables in groups.items()
            for i, variable in enumerate(variables)
        }

    def _step(self, data: Any) -> dict[str, Any]:
        """Take one step, in TensorFlow's graph; Keras calls it."""
        import tensorflow as tf

        x, y = data
        weights = self.model.trainable_weights
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = self.model.compute_loss(x=x, y=y, y_pred=logits, training=True)
        gradients = [
            tf.zeros(weight.shape) if found is None else found
            for weight, found in zip(weights, tape.gradient(loss, weights), strict=True)
        ]
        norm = tf.linalg.global_norm(gradients)
        # As torch shortens.
        share = tf.minimum(1.0, self.recipe.gradient_norm / (norm + 1e-6))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        self.optimizer.apply_gradients(zip([g * share for g in gradients], weights, strict=True))
        if self.average:
            # As `training.average.Average` does.
            decay = tf.minimum(self.recipe.ema, (1 + done) / (10 + done))
            for mean, weight in zip(self.average, self.inner.weights, strict=True):
                mean.assign_add((1 - decay) * (tf.cast(weight, mean.dtype) - mean))
        return {"loss": loss, "norm": norm}


def _kind(variable: Any) -> str:
    if variable is None:
        return "nothing"
    dtype = variable.dtype
    return f"{getattr(dtype, 'name', dtype)} {tuple(variable.shape)}"
