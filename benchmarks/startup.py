"""What Acclimate costs on top of numpy and the runtime: importing it, and predicting with it."""

import subprocess
import sys

import numpy as np

from acclimate import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime import load_backbone

from .harness import Cost, Row, alternate, finish
from .lite0 import bundle, images

_BARE = "import numpy, onnxruntime"
_OURS = "import numpy, onnxruntime, acclimate.edge"
_PEAK = "; print(int(open('/proc/self/status').read().partition('VmRSS:')[2].split()[0]) * 1024 / 1e6)"


def main() -> None:
    """Measure and print."""
    memory: dict[str, list[float]] = {"bare": [], "ours": []}

    def start(name: str, code: str) -> None:
        done = subprocess.run([sys.executable, "-c", code + _PEAK], check=True, capture_output=True, text=True)
        memory[name].append(float(done.stdout))

    cost = alternate({"bare": lambda: start("bare", _BARE), "ours": lambda: start("ours", _OURS)}, 15)
    rows = [
        Row("import acclimate.edge, numpy and onnxruntime", cost["ours"].wall, "s", cost["bare"].wall, note=_cpu(cost)),
        Row("memory after import", float(np.median(memory["ours"])), "MB", float(np.median(memory["bare"]))),
    ]
    with Bundle(bundle()) as opened:
        manifest = opened.manifest
        content = opened.backbone("onnx")
    frame = images(1)
    for threads in (1, 2):
        bare = load_backbone(content, "onnx", manifest.input, manifest.width, threads)._session  # type: ignore[attr-defined]
        with Learner.open(bundle(), runtime="onnx", threads=threads) as learner:
            learner.fit(images(20), [i % 10 for i in range(20)])
            works = {"ours": lambda: learner.predict(frame), "bare": lambda: bare.run(None, {"input": frame})}  # noqa: B023
            cost = alternate(works, 300)
        rows.append(
            Row(
                f"predict, batch 1, {threads} thread(s)",
                cost["ours"].wall * 1e3,
                "ms",
                cost["bare"].wall * 1e3,
                note=_cpu(cost),
            )
        )
    finish("startup", rows, ["onnxruntime"])


def _cpu(cost: dict[str, Cost]) -> str:
    return f"CPU {cost['ours'].cpu * 1e3:.3g} against {cost['bare'].cpu * 1e3:.3g} ms"


if __name__ == "__main__":
    main()
