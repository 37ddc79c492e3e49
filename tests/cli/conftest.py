"""What the tests of the command line share: a way to run it, and files with frames."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Return the one JSON document on standard output."""
        return json.loads(self.output)


Acclimate = Callable[..., Outcome]


@pytest.fixture
def acclimate(tmp_path: Path) -> Acclimate:
    """Run the command in a process of its own, in an empty folder."""

    def run(*arguments: str | Path) -> Outcome:
        command = [sys.executable, "-m", "acclimate.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Acclimate:
    """Run the command in this process, in an empty folder, which saves a second each."""
    from acclimate.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["acclimate", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Outcome(int(left.value.code or 0), said.out, said.err)

    return run


@dataclass(frozen=True)
class Place:
    """Frames of a place that the tiny bundle does not know."""

    local: Path
    test: Path


@pytest.fixture
def place(tmp_path: Path, scenes: ModuleType) -> Place:
    """Write labelled frames to adapt on and others to test on."""
    for name, seed, n in (("local", 1, 120), ("test", 2, 200)):
        x, y = scenes.frames(n, seed, 1.0)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    return Place(tmp_path / "local.npz", tmp_path / "test.npz")
