"""Run TensorFlow in a process of its own and wait for what it says."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ... import errors
from .request import REPORT, Answer

# torch cannot be imported there by anything: the two libraries in one process end it sooner or later. Where TensorFlow
# is loaded, the converters themselves leave torch alone.
_START = "import tensorflow; from acclimate.converters.keras_source.without_torch import start; start()"
_TOLD = {
    error.__name__: error
    for error in (errors.InputError, errors.CutError, errors.CalibrationError, errors.ConversionError)
}


def run_worker(folder: Path) -> Answer:
    """Let TensorFlow's process answer the request in a folder.

    Args:
        folder: Holds the request; the answer is left there.

    Returns:
        The answer.

    Raises:
        InputError: If the request cannot be met.
        ConversionError: If the model cannot be converted, or the process ends before it answers.
    """
    with tempfile.TemporaryFile() as shown:
        done = subprocess.run(  # noqa: S603  our own module, by this interpreter
            [sys.executable, "-P", "-c", _START, str(folder)],
            env={**os.environ, **_environment(folder)},
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=subprocess.STDOUT,
            check=False,
        )
        shown.seek(0)
        lines = shown.read().decode("utf-8", "replace").strip().splitlines()
    if done.returncode or not (folder / REPORT).is_file():
        reason = (lines or ["nothing was said"])[-1]
        if done.returncode < 0:
            reason = f"signal {-done.returncode}, as when memory runs out"
        raise errors.ConversionError(
            f"expected TensorFlow's process to convert the model, found that it ended: {reason[:300]}. "
            f"Check that tensorflow and tf2onnx can be imported."
        )
    answer = Answer.read(folder)
    if answer.error is not None:
        raise _TOLD.get(answer.error, errors.ConversionError)(answer.message)
    return answer


def _environment(folder: Path) -> dict[str, str]:
    return {
        "KERAS_BACKEND": "tensorflow",
        # Settings of the user's would change the layout of images and the type of weights.
        "KERAS_HOME": str(folder / "keras"),
        "TF_USE_LEGACY_KERAS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
