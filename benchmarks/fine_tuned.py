"""What each way of fine-tuning is worth with few labels: `acclimate pretrain` with each setting of [transfer].

The demo's small network is trained on 4,000 digits of MNIST at 8 x 8 pixels, and then fine-tuned on 20 images of each
class of the UCI digits, by settings alone. Scored on the rest of `digits.target_pool`, and once more on 1,000 digits of
MNIST: what was forgotten. Every way has the defaults that we ship; its learning rate alone was chosen, on draws from
`digits.target_development`, which no score is taken of. 5 draws of the labelled images, mean and standard deviation.

`python -m benchmarks.fine_tuned --json FILE`
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from acclimate.server import digits
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import DataSettings
from acclimate.server.pretrain import pretrain
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings
from acclimate.server.transfer.settings import TransferSettings

from .harness import Row, finish
from .paired import paired

SEEDS, OF_EACH, EPOCHS, DRAWS = 5, 20, 30, 2
RATES = (1e-3, 3e-3, 1e-2)
SCRATCH = "from scratch"
WAYS: Mapping[str, Mapping[str, Any]] = {
    SCRATCH: {},
    "whole": {},
    "last block": {"train_last": 1},
    "last two blocks": {"train_last": 2},
    "whole, rates falling by .38 a block": {"rate_factor": 0.38},
    "L2-SP": {"penalty": "l2-sp"},
    "EWC": {"penalty": "ewc"},
    "LoRA of rank 8": {"lora_rank": 8},
}
_NET = "acclimate.server.digit_nets:build_student"
_RUN = RunSettings(tensorboard=False, log_every=1_000, report=False)
_SOURCE_ROWS = 4_000
Frames = NDArray[np.uint8]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one fine-tuned network, percent.

    Args:
        target: Accuracy on fresh images of the target.
        source: Accuracy on fresh images of the source.
    """

    target: float
    source: float


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    # That there is no validation part, which is meant.
    logging.getLogger("acclimate").setLevel(logging.ERROR)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    before = found.pop("source")
    rows = [Row("the source's network as it is", before[0].target, "%", note=f"on MNIST {before[0].source:.1f}")]
    whole = np.array([one.target for one in found["whole"]])
    for way, scores in found.items():
        target, source = (np.array([getattr(one, part) for one in scores]) for part in ("target", "source"))
        gain = "" if way == "whole" else f"; against whole {paired(target - whole)}"
        note = f"deviation {target.std(ddof=1):.1f}; on MNIST {source.mean():.1f}{gain}"
        rows.append(Row(way, float(target.mean()), "%", before[0].target, note=note))
    finish("fine_tuned", rows, ["torch", "peft"])


def measure(folder: Path) -> dict[str, list[Scores]]:
    """Return the scores of every way on every draw, and of the source's network.

    Args:
        folder: For data and runs.
    """
    mnist, target = digits.load_source(), digits.load_target()
    order = np.random.default_rng(0).permutation(len(mnist.labels))
    frames, y = digits.shrink(mnist.images)[order], mnist.labels[order]
    fresh = (frames[_SOURCE_ROWS:], y[_SOURCE_ROWS:])
    source = _stored(folder / "source.npz", frames[:_SOURCE_ROWS], y[:_SOURCE_ROWS])
    data = DataSettings(train=str(source), validation_share=0.0, mean=(0.0,), std=(1.0,))
    settings = PretrainConfig(ModelSettings(name=_NET), data, TrainingSettings(epochs=10), run=_RUN)
    first = pretrain(settings, out=folder / "source", device="cpu").model
    development, pool = digits.target_development(), digits.target_pool()

    def score(way: str, rows: Int64, seed: int, rate: float) -> Scores:
        draws = np.random.default_rng(seed)
        own = np.concatenate([draws.permutation(rows[target.labels[rows] == c])[:OF_EACH] for c in range(10)])
        rest = np.setdiff1d(rows, own)
        with _given(folder, target.images[own], target.labels[own]) as labelled:
            model = _tuned(folder, labelled, source, way, seed, rate)
        return Scores(_accuracy(model, target.images[rest], target.labels[rest]), _accuracy(model, *fresh))

    found = {"source": [Scores(_accuracy(first, target.images[pool], target.labels[pool]), _accuracy(first, *fresh))]}
    for way in WAYS:
        tried = {r: [score(way, development, seed, r).target for seed in range(DRAWS)] for r in RATES}
        rate = max(RATES, key=lambda one: float(np.mean(tried[one])))
        found[way] = [score(way, pool, seed, rate) for seed in range(SEEDS)]
    return found


def _tuned(folder: Path, labelled: Path, source: Path, way: str, seed: int, rate: float) -> nn.Module:
    given = WAYS[way]
    transfer = TransferSettings(**given, source_data=str(source) if given.get("penalty") == "ewc" else None)
    model = ModelSettings(name=_NET, seed=seed)
    if way != SCRATCH:
        model = ModelSettings(name=str(folder / "source"), code=_NET)
    data = DataSettings(train=str(labelled), validation_share=0.0, mean=(0.0,), std=(1.0,))
    training = TrainingSettings(epochs=EPOCHS, batch_size=50, learning_rate=rate, seed=seed)
    settings = PretrainConfig(model, data, training, ObjectiveSettings(), _RUN, transfer)
    return pretrain(settings, out=labelled.parent / "run", device="cpu").model


@contextmanager
def _given(folder: Path, frames: Frames, y: Int64) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield _stored(Path(name, "labelled.npz"), frames, y)


def _stored(path: Path, frames: Frames, y: Int64) -> Path:
    np.savez(path, x=frames, y=y)
    return path


def _accuracy(model: nn.Module, frames: Frames, y: Int64) -> float:
    with torch.no_grad():
        found = model(digits.to_tensor(frames)).argmax(1).numpy()
    return 100 * float((found == y).mean())


if __name__ == "__main__":
    main()
