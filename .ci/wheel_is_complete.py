"""Check that every module of the tree is in the wheel, and nothing else."""

import sys
import zipfile
from pathlib import Path

FOLDERS = {"core": "acclimate", **{name: f"acclimate/{name}" for name in ("cli", "edge", "converters", "server")}}


def main(wheel: str) -> None:
    """Compare the wheel with the tree."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.startswith("acclimate/")}
    expected = set()
    for folder, package in FOLDERS.items():
        for pattern in ("*.py", "*.html", "py.typed"):
            for file in Path(folder).rglob(pattern):
                expected.add(f"{package}/{file.relative_to(folder).as_posix()}")
    if found != expected:
        sys.exit(f"missing in the wheel: {sorted(expected - found)}; not in the tree: {sorted(found - expected)}")
    print(f"{len(found)} files of the tree are in {Path(wheel).name}")


main(sys.argv[1])
