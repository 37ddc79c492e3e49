"""`python -m benchmarks` runs every benchmark, `python -m benchmarks NAME...` those; their JSON goes to build/bench."""

import argparse
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
    "tails",
    "quantization",
    "zoo",
    "pretraining",
    "self_supervised",
    "multi_task",
    "fine_tuned",
    "processes",
    "clothes",
    "pruned_cells",
    "transfer_cost",
    "rank",
    "advise",
    "domains",
    "alignment",
)

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all by default: {', '.join(NAMES)}")
wanted = parser.parse_args().names
if unknown := sorted({*wanted} - {*NAMES}):
    parser.error(f"expected names among {', '.join(NAMES)}, found {', '.join(unknown)}")
folder = Path("build/bench")
folder.mkdir(parents=True, exist_ok=True)
for name in wanted or NAMES:
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(folder / f"{name}.json")], check=True)
