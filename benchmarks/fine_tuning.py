"""Full fine-tuning in PyTorch, in a process of its own: `python -m benchmarks.fine_tuning SAMPLES SEED`.

All parameters train, BatchNorm too, with a new last layer. The learning rate is chosen by cross-validation on the
samples that are adapted to. Prints the balanced accuracy on the others, the seconds of the last training alone and with
the choice, and the peak memory in MB.
"""

import json
import sys
import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from . import shift
from .harness import peak_memory

RATES, EPOCHS, BATCH, FOLDS = (0.03, 0.1, 0.3), 20, 32, 2


def main(samples: str, seed: int) -> None:
    """Choose, train, test and print."""
    torch.set_num_threads(1)
    with np.load(samples) as given:
        x, fresh = (shift.to_tensor(given[name]) for name in ("frames", "fresh"))
        y, truth = (torch.from_numpy(given[name]) for name in ("y", "truth"))
    begun = time.perf_counter()
    rate = max(RATES, key=lambda one: _cross_validated(x, y, one, seed))
    chosen = time.perf_counter()
    net = _tuned(x, y, rate, seed)
    seconds = time.perf_counter() - chosen
    # Of the training alone: all test samples at once would take more.
    memory = peak_memory()
    found = torch.cat([_predict(net, part) for part in torch.split(fresh, 250)])
    accuracy = 100 * float(torch.stack([(found[truth == c] == c).float().mean() for c in range(shift.CLASSES)]).mean())
    told = {"accuracy": accuracy, "rate": rate, "seconds": seconds, "whole": seconds + chosen - begun}
    print(json.dumps({**told, "memory": memory}))


def _tuned(x: Tensor, y: Tensor, rate: float, seed: int) -> nn.Module:
    net = shift.trained()
    torch.manual_seed(seed)
    net.head = nn.Linear(96, shift.CLASSES)
    shift.train(net, x, y, rate, EPOCHS, BATCH, seed)
    return net


def _cross_validated(x: Tensor, y: Tensor, rate: float, seed: int) -> float:
    # The samples are in a random order.
    bounds, right = np.linspace(0, len(x), FOLDS + 1).astype(int), 0.0
    for start, end in pairwise(bounds):
        others = torch.cat([torch.arange(start), torch.arange(end, len(x))])
        net = _tuned(x[others], y[others], rate, seed)
        right += float((_predict(net, x[start:end]) == y[start:end]).float().sum())
    return right


def _predict(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = net(x).argmax(1)
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
