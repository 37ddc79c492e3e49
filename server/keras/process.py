"""TensorFlow's process, as the process with torch sees it: started, asked, waited for, ended."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from numpy.typing import NDArray

from ... import errors
from ..._version import __version__
from ...extras import require
from .messages import Message, read_message, write_message

# The Python that trains Keras models, where it is another one than this.
PYTHON = "ACCLIMATE_KERAS_PYTHON"
# TensorFlow comes first: Acclimate leaves torch alone where it finds TensorFlow loaded.
_START = "import tensorflow; from acclimate.server.keras.child import main; main()"
_TOLD = {
    error.__name__: error
    for error in (errors.InputError, errors.CutError, errors.ConversionError, errors.MissingExtraError)
}
_SECONDS_TO_END = 10


class KerasProcess:
    """A process with TensorFlow; a context manager that ends it.

    Args:
        device: ``cpu`` hides GPUs from it; ``auto`` lets TensorFlow choose; ``cuda`` refuses to go on without one.
        threads: Of one operation.

    Raises:
        InputError: If there is no such Python, or it has another version of Acclimate, or no GPU where one is asked
            for.
        MissingExtraError: If this Python is to do it and has no TensorFlow.
        TrainingError: If it does not start.
    """

    def __init__(self, *, device: str = "auto", threads: int = 1) -> None:
        python = keras_python()
        self._shown: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(  # noqa: S603  our own module, by a Python that the user named
            [python, "-P", "-c", _START],
            env={**os.environ, **_environment(device)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._shown,
        )
        try:
            self.tools: Mapping[str, Any] = self.ask("begin", threads=threads).values
            self._check(device)
        except BaseException:
            self.close()
            raise

    def ask(self, kind: str, arrays: Mapping[str, NDArray[Any]] | None = None, **values: Any) -> Message:
        """Say something and wait for the answer. Errors are those of `send` and `receive`."""
        self.send(kind, arrays, **values)
        return self.receive()

    def send(self, kind: str, arrays: Mapping[str, NDArray[Any]] | None = None, **values: Any) -> None:
        """Say something.

        Raises:
            TrainingError: If the process has ended; what it said last is told.
        """
        assert self._process.stdin is not None  # noqa: S101  a pipe, as asked for
        try:
            write_message(self._process.stdin, Message(kind, values, arrays or {}))
        except OSError:
            # It may have said why before it ended; if not, receiving tells so.
            while True:
                self.receive()

    def receive(self) -> Message:
        """Wait for what it says.

        Raises:
            AcclimateError: What it says has failed.
            TrainingError: If it ends without a word, or says something else.
        """
        assert self._process.stdout is not None  # noqa: S101  a pipe, as asked for
        try:
            message = read_message(self._process.stdout)
        except EOFError as error:
            raise errors.TrainingError(self._ended()) from error
        if message.kind == "failed":
            kind, said = message.values.get("error"), message.values.get("message")
            raise _TOLD.get(str(kind), errors.TrainingError)(str(said))
        return message

    def close(self) -> None:
        """End the process."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    # What was left to say is said to nobody.
                    continue
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._shown.close()

    def __enter__(self) -> "KerasProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # It may be in the middle of a step.
            self._process.kill()
        self.close()

    def _check(self, device: str) -> None:
        if self.tools.get("acclimate") != __version__:
            raise errors.InputError(
                f"expected Acclimate {__version__} in {keras_python()}, found {self.tools.get('acclimate')}. Install "
                f"the same there."
            )
        if device == "cuda" and not self.tools.get("gpus"):
            raise errors.InputError(
                "expected a GPU that TensorFlow can use, found none. Choose --device cpu or auto, or install "
                "'tensorflow[and-cuda]'."
            )

    def _ended(self) -> str:
        code = self._process.wait()
        self._shown.seek(0)
        lines = self._shown.read().decode("utf-8", "replace").strip().splitlines()
        reason = f"signal {-code}, as when memory runs out" if code < 0 else (lines or ["nothing was said"])[-1][:300]
        return (
            f"expected TensorFlow's process to train the model, found that it ended: {reason}. Nothing is lost since "
            f"the last checkpoint: mend that, and resume."
        )


def keras_python() -> str:
    """Return the Python that trains Keras models: what ACCLIMATE_KERAS_PYTHON names, else this one.

    Raises:
        InputError: If the variable names no file.
        MissingExtraError: If it is this one, and TensorFlow is not installed.
    """
    named = os.environ.get(PYTHON)
    if not named:
        for module in ("tensorflow", "keras"):
            require(module, extra="keras", needed_by="training a Keras model")
        return sys.executable
    if not Path(named).is_file():
        raise errors.InputError(f"expected a Python in {PYTHON}, found no file at {named}. Check the path.")
    return named


def _environment(device: str) -> dict[str, str]:
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
    return {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0", "TF_CPP_MIN_LOG_LEVEL": "3", **hidden}
