"""`python -m benchmarks` runs every benchmark and writes their JSON to build/bench."""

import subprocess
import sys
from pathlib import Path

NAMES = (
    "startup",
    "heads",
    "coral",
    "job_j",
    "pytorch",
    "guard",
    "unknown",
    "labels",
    "regression",
    "accuracy",
    "latents",
    "growth",
    "stream",
    "training_step",
    "quantization",
    "zoo",
)

folder = Path("build/bench")
folder.mkdir(parents=True, exist_ok=True)
for name in NAMES:
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(folder / f"{name}.json")], check=True)
