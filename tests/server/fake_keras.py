"""Takes the place of TensorFlow's process: softmax regression in numpy. Started as Python would be, by a script.

`FAKE_DIES_AT`, `FAKE_NAN_AT` and `FAKE_ANSWERS_NAN_AT` name a step, counted from 1 over the whole run.
"""

import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As in TensorFlow's process, nothing that needs torch is then imported.
sys.modules["tensorflow"] = types.ModuleType("tensorflow")

from acclimate import __version__  # noqa: E402
from acclimate.server.keras.messages import Message, read_message, write_message  # noqa: E402


class Fake:
    """A linear classifier, the mean of its weights, and a count of steps."""

    def __init__(self) -> None:
        self.weight: NDArray[np.float64] = np.zeros((0, 0))
        self.mean = self.weight
        self.done = np.zeros((), np.int64)
        self.averaged = False
        self.recipe: dict[str, Any] = {}

    def answer(self, message: Message) -> Message:
        values = message.values
        if message.kind == "begin":
            assert "torch" not in sys.modules
            tools = {"tensorflow": "2.99", "keras": "3.99", "numpy": np.__version__}
            return Message("ready", {"acclimate": os.environ.get("FAKE_VERSION", __version__), "gpus": 0, **tools})
        if message.kind == "open":
            with Path(values["file"]).open("rb") as file:
                self.weight = np.load(file)
            return Message("opened")
        if message.kind == "build":
            self.recipe = values["recipe"]
            self.weight = np.zeros((int(np.prod(values["shape"])), values["classes"]))
            self.mean = self.weight.copy()
            return Message("built", {"parameters": self.weight.size})
        if message.kind == "fit":
            for rate in message.arrays["rates"]:
                self.step(float(rate))
            return Message("fitted")
        if message.kind == "predict":
            nan = int(self.done) >= int(os.environ.get("FAKE_ANSWERS_NAN_AT", 1_000_000))
            logits = self.flat(message) @ self.shown * (np.nan if nan else 1)
            return Message("logits", arrays={"logits": logits.astype(np.float32)})
        if message.kind == "swap":
            self.averaged = values["averaged"]
            return Message("swapped")
        if message.kind == "state":
            state = {"module/0": self.weight, "optimizer/0": self.done}
            return Message("state", arrays=state | ({"average/0": self.mean} if self.recipe["ema"] else {}))
        if message.kind == "restore":
            self.weight, self.done = message.arrays["module/0"], message.arrays["optimizer/0"]
            self.mean = message.arrays.get("average/0", self.mean)
            return Message("restored")
        assert message.kind == "save"
        with Path(values["file"]).open("xb") as file:
            np.save(file, self.shown)
        return Message("saved")

    @property
    def shown(self) -> NDArray[np.float64]:
        return self.mean if self.averaged and self.recipe["ema"] else self.weight

    def flat(self, message: Message) -> NDArray[np.float64]:
        x = message.arrays["x"]
        return x.reshape(len(x), -1).astype(np.float64)

    def step(self, rate: float) -> None:
        batch = read_message(GIVEN)
        self.done = self.done + 1
        if os.environ.get("FAKE_DIES_AT") == str(self.done):
            os.write(2, b"something was wrong\n")
            os._exit(3)
        x, y = self.flat(batch), batch.arrays["y"].astype(np.float64)
        smooth = self.recipe["label_smoothing"]
        y = y * (1 - smooth) + smooth / y.shape[1]
        logits = x @ self.weight
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        gradient = x.T @ (np.exp(log) - y) / len(x)
        self.weight = self.weight - rate * gradient
        self.mean = self.recipe["ema"] * self.mean + (1 - self.recipe["ema"]) * self.weight
        loss = float("nan") if os.environ.get("FAKE_NAN_AT") == str(self.done) else -float((y * log).sum(1).mean())
        write_message(TOLD, Message("step", {"loss": loss, "norm": float(np.linalg.norm(gradient))}))


GIVEN, TOLD = sys.stdin.buffer, sys.stdout.buffer
fake = Fake()
while True:
    try:
        asked = read_message(GIVEN)
    except EOFError:
        break
    write_message(TOLD, fake.answer(asked))
