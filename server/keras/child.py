"""TensorFlow's process: does what the process with torch asks for, until that closes the pipe."""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..._version import __version__
from ...converters.keras_source.without_torch import Without
from ...errors import AcclimateError
from .build import build_model, load_file, short
from .messages import Message, read_message, write_message
from .trainee import Batch, Recipe, Trainee

_TOOLS = ("tensorflow", "tensorflow-cpu", "keras", "numpy")


def main() -> None:
    """Serve the pipes that this process was started with; whatever else is printed goes to the standard error."""
    sys.meta_path[:] = [Without(finder, "torch") for finder in sys.meta_path]
    given, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        Child(given, told).serve()
    except (EOFError, BrokenPipeError):
        # Nobody is there any longer; Python's own end would wait for TensorFlow's threads that still read.
        os._exit(0)


class Child:
    """Answers one message after another.

    Args:
        given: Where they come from.
        told: Where answers go.
    """

    def __init__(self, given: IO[bytes], told: IO[bytes]) -> None:
        self._given, self._told = given, told
        self._trainee: Trainee | None = None
        self._left = False

    def serve(self) -> None:
        """Answer until the other side ends; what fails is told, and is the end.

        Raises:
            EOFError: At the other side's end.
        """
        while True:
            message = read_message(self._given)
            try:
                answer = self._answer(message)
            # Whatever it is, the other side tells it to the user.
            except Exception as error:
                if self._left:
                    raise EOFError from error
                self._tell("failed", **_told(error))
                return
            write_message(self._told, answer)

    def _answer(self, message: Message) -> Message:
        values = message.values
        if message.kind == "begin":
            return Message("ready", _begin(values["threads"]))
        if message.kind == "open":
            self._trainee = Trainee(load_file(Path(values["file"])), Recipe(0.0, 0.0, 1.0, 0.0))
            return Message("opened")
        if message.kind == "build":
            inner = build_model(
                values["model"],
                values["classes"],
                values["shape"],
                seed=values["seed"],
                precision=values["precision"],
            )
            self._trainee = Trainee(inner, Recipe(**values["recipe"]))
            # What a step draws follows from the run's seed, not the model's.
            _seed_draws(inner, values["draws"])
            return Message("built", {"parameters": int(inner.count_params())})
        return self._on_trainee(message)

    def _on_trainee(self, message: Message) -> Message:
        trainee, values = self._trainee, message.values
        assert trainee is not None  # noqa: S101  the other side builds one first
        if message.kind == "fit":
            rates = message.arrays["rates"].tolist()
            trainee.fit(rates, self._batches(len(rates)), lambda loss, norm: self._tell("step", loss=loss, norm=norm))
            return Message("fitted")
        if message.kind == "predict":
            return Message("logits", arrays={"logits": trainee.predict(message.arrays["x"])})
        if message.kind == "swap":
            trainee.swap(averaged=values["averaged"])
            return Message("swapped")
        if message.kind == "state":
            return Message("state", arrays=trainee.state())
        if message.kind == "restore":
            trainee.restore(message.arrays)
            return Message("restored")
        if message.kind == "save":
            trainee.inner.save(values["file"])
            return Message("saved")
        raise ValueError(f"expected something that is known, found {message.kind!r}")

    def _batches(self, count: int) -> Iterator[Batch]:
        # TensorFlow reads ahead in a thread of its own; the main one does not read meanwhile.
        for _ in range(count):
            try:
                message = read_message(self._given)
            except EOFError:
                self._left = True
                raise
            yield message.arrays["x"], message.arrays["y"]

    def _tell(self, kind: str, **values: Any) -> None:
        write_message(self._told, Message(kind, values))


def _begin(threads: int) -> dict[str, Any]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # Sums in one order, so that a run that was cut off goes on to the same weights.
    tf.config.experimental.enable_op_determinism()
    found: dict[str, Any] = {"acclimate": __version__, "gpus": len(tf.config.list_physical_devices("GPU"))}
    found |= {"python": sys.version.split()[0], "torch": "torch" in sys.modules}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _seed_draws(model: Any, seed: int) -> None:
    """Let dropout and other layers that draw begin at seeds of the run's."""
    weights = {id(weight) for weight in model.weights}
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        if id(variable) not in weights:
            variable.assign(generator.integers(0, 2**31, tuple(variable.shape)).astype(str(variable.dtype)))


def _told(error: Exception) -> dict[str, str]:
    """Return what of an error is told: those of Acclimate as they are."""
    if isinstance(error, AcclimateError):
        return {"error": type(error).__name__, "message": str(error)}
    kind = type(error).__name__
    memory = isinstance(error, MemoryError) or kind == "ResourceExhaustedError"
    advice = (
        "Lower training.batch_size, and begin anew in another folder"
        if memory
        else "Nothing is lost since the last checkpoint: mend that, and resume"
    )
    return {
        "error": "TrainingError",
        "message": f"expected TensorFlow to train the model, found {kind}: {short(error)}. {advice}.",
    }
