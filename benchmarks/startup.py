"""What Acclimate costs on top of numpy and the runtime: importing it, opening a bundle, and predicting with it."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate import Bundle
from acclimate.bundle import LinearLayer
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import usable_cores

from .harness import Cost, Row, alternate, finish
from .lite0 import bundle, images
from .process import run_python

CLASSES = 10
ROUNDS, BLOCK = 200, 10
_BARE = "import numpy, onnxruntime"
_OURS = "import numpy, onnxruntime, acclimate.edge"
_PEAK = "; print(int(open('/proc/self/status').read().partition('VmRSS:')[2].split()[0]) * 1024 / 1e6)"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_imports(), *_cold_starts(Path(folder)), *_predictions(Path(folder))]
    finish("startup", rows, ["onnxruntime"])


def _imports() -> list[Row]:
    memory: dict[str, list[float]] = {"bare": [], "ours": []}

    def start(name: str, code: str) -> None:
        memory[name].append(run_python(["-c", code + _PEAK]))

    cost = alternate({"bare": lambda: start("bare", _BARE), "ours": lambda: start("ours", _OURS)}, 15)
    return [
        Row("import acclimate.edge, numpy and onnxruntime", cost["ours"].wall, "s", cost["bare"].wall, note=_cpu(cost)),
        Row("memory after import", float(np.median(memory["ours"])), "MB", float(np.median(memory["bare"]))),
    ]


def _cold_starts(folder: Path) -> list[Row]:
    """Compare a process that opens a bundle and predicts one frame with one that loads and runs the bare backbone."""
    model, frame, store, headed = (folder / name for name in ("bare.onnx", "frame.npy", "store.db", "headed.acc"))
    with Bundle(bundle()) as opened:
        model.write_bytes(opened.backbone("onnx"))
    np.save(frame, images(1))
    with Learner.open(bundle(), store, runtime="onnx") as learner:
        learner.fit(images(2 * CLASSES), [i % CLASSES for i in range(2 * CLASSES)])
    _with_head(headed)
    ours = ["benchmarks/cold_device.py"]
    cost = alternate(
        {
            "bare": lambda: run_python(["benchmarks/bare.py", str(model), str(frame), "1", str(usable_cores())]),
            "ours": lambda: run_python([*ours, str(bundle()), str(frame), str(store)]),
            "shipped": lambda: run_python([*ours, str(headed), str(frame)]),
        },
        15,
    )
    told = {"ours": "with its store", "shipped": "shipped head, no store"}
    return [
        Row(
            f"cold start to the first prediction, {what}",
            cost[name].wall,
            "s",
            cost["bare"].wall,
            "cold_start",
            _cpu({"ours": cost[name], "bare": cost["bare"]}),
        )
        for name, what in told.items()
    ]


def _with_head(path: Path) -> None:
    """Write the bundle with a head of random weights."""
    with Bundle(bundle()) as opened:
        manifest, variant = opened.manifest, opened.variant("onnx")
        weight = np.random.default_rng(0).normal(size=(CLASSES, manifest.width)).astype(np.float32)
        content = VariantContent(
            "onnx",
            variant.quantized,
            opened.backbone("onnx"),
            opened.code("onnx"),
            opened.conformance("onnx"),
            variant.tolerance,
            head=LinearLayer(weight, np.zeros(CLASSES, np.float32)),
        )
    names = [f"class {i}" for i in range(CLASSES)]
    write_bundle(path, classes=names, input=manifest.input, cut=manifest.cut, taps=manifest.taps, variants=[content])


def _predictions(folder: Path) -> list[Row]:
    rows, frame = [], images(1)
    for threads in (1, 2):
        with Learner.open(bundle(), folder / f"threads{threads}.db", runtime="onnx", threads=threads) as learner:
            # So many that frames can be called unknown, which is a good part of the work.
            learner.fit(images(4 * CLASSES), [i % CLASSES for i in range(4 * CLASSES)])
            # The learner's own session: a second one would have other memory, and the two would push each other out of
            # the caches.
            bare = learner._session.embedder._session  # type: ignore[attr-defined]
            found = _paired(lambda: learner.predict(frame), lambda: bare.run(None, {"input": frame}))  # noqa: B023
        note = f"medians of {ROUNDS} pairs of {BLOCK} calls; of CPU time {found.cpu:.3f}"
        name = f"predict, batch 1, {threads} thread(s)"
        rows.append(Row(name, found.wall * found.bare * 1e3, "ms", found.bare * 1e3, "predict", note))
    return rows


@dataclass(frozen=True)
class _Pairs:
    """Medians over pairs: ratio of wall time, ratio of processor time, and seconds of a bare call."""

    wall: float
    cpu: float
    bare: float


def _paired(ours: Callable[[], object], bare: Callable[[], object]) -> _Pairs:
    """Compare calls in blocks, one of each in turn: as in a loop of predictions, some of a block look at the store."""
    ratios = []
    for turn in range(ROUNDS + 1):
        works = [ours, bare] if turn % 2 else [bare, ours]
        found = {work: _block(work) for work in works}
        # The first pair warms up.
        if turn:
            ratios.append((*(found[ours] / found[bare]), found[bare][0]))
    wall, cpu, seconds = np.median(ratios, axis=0)
    return _Pairs(float(wall), float(cpu), float(seconds))


def _block(work: Callable[[], object]) -> NDArray[np.float64]:
    """Return seconds of wall and of processor time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(BLOCK):
        work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) / BLOCK


def _cpu(cost: dict[str, Cost]) -> str:
    return f"CPU {cost['ours'].cpu * 1e3:.3g} against {cost['bare'].cpu * 1e3:.3g} ms"


if __name__ == "__main__":
    main()
