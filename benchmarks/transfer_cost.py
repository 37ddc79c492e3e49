"""What transfer by instance and by feature costs: KMM, KLIEP and TCA at 500, 2,000 and 10,000 samples.

Against scipy's L-BFGS-B on the whole kernel matrix, densratio's KLIEP and scikit-learn's KernelPCA, alternately in one
process on one thread; peak memory in processes of their own. Prints fitted exponents. Samples are those of the source
for KMM and KLIEP, whose target has as many, and those of both sides together for TCA.

`python -m benchmarks.transfer_cost --json FILE`.
"""

import importlib
from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from .harness import Cost, Row, alternate, finish
from .process import run_python
from .transfer_point import METHODS, kmm_loss

SIZES = (500, 2_000, 10_000)
REPEATS = {500: 3, 2_000: 3, 10_000: 1}
AGAINST = {"KMM": "L-BFGS-B on the whole kernel", "KLIEP": "densratio", "TCA": "KernelPCA"}


def main() -> None:
    """Measure and print."""
    # A library that came later would bring threads of its own, and theirs would spin into our runs.
    for module in ("densratio", "scipy.optimize", "sklearn.decomposition"):
        importlib.import_module(module)
    with threadpool_limits(1):
        rows = [row for method in METHODS for row in _rows(method)]
    finish("transfer_cost", rows, ["scipy", "scikit-learn", "densratio"])


def _rows(method: str) -> Iterator[Row]:
    costs: dict[int, dict[str, Cost]] = {}
    memory: dict[int, dict[str, float]] = {}
    for size in SIZES:
        works = METHODS[method](size)
        costs[size] = alternate(works, REPEATS[size])
        memory[size] = {way: _memory(method, way, size) for way in works}
        ours, theirs = costs[size]["ours"], costs[size]["theirs"]
        yield Row(
            f"{method}, {size:,} samples: time",
            ours.wall,
            "s",
            theirs.wall,
            note=f"CPU {ours.cpu:.3g} against {theirs.cpu:.3g} s; {AGAINST[method]}",
        )
        yield Row(f"{method}, {size:,} samples: peak memory", memory[size]["ours"], "MB", memory[size]["theirs"])
    if method == "KMM":
        losses = {way: kmm_loss(SIZES[-1], work()) for way, work in METHODS[method](SIZES[-1]).items()}
        worse = (losses["ours"] / losses["theirs"] - 1) * -100
        yield Row(f"KMM, {SIZES[-1]:,} samples: loss above the other's", worse, "%", note="both with the whole kernel")
    seconds = {way: [costs[size][way].cpu for size in SIZES] for way in ("ours", "theirs")}
    yield Row(f"{method}: exponent of processor time", _exponent(seconds["ours"]), "", _exponent(seconds["theirs"]))
    taken = {way: [memory[size][way] for size in SIZES] for way in ("ours", "theirs")}
    yield Row(f"{method}: exponent of memory", _exponent(taken["ours"]), "", _exponent(taken["theirs"]))


def _memory(method: str, way: str, size: int) -> float:
    """Return the MB that one run takes in a fresh process."""
    return run_python(["-m", "benchmarks.transfer_point", method, way, str(size)])


def _exponent(values: list[float]) -> float:
    """Return the power of the samples that fits best over the sizes."""
    return float(np.polyfit(np.log(SIZES), np.log(np.maximum(values, 1e-3)), 1)[0])


if __name__ == "__main__":
    main()
