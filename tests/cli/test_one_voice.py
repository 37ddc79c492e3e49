"""Under torchrun, processes that fail alike tell it once; what one alone refuses is told."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.cli import one_voice as voice
from acclimate.cli.one_voice import one_voice
from acclimate.errors import InputError

pytestmark = [
    pytest.mark.needs_torch,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed half"),
]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What torchrun would keep for its processes, and no long waiting."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(kept.port)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(voice, "_PATIENCE", timedelta(seconds=0.3))
    monkeypatch.setattr(voice, "_MARGIN", 0.0)
    return kept


def failing(rank: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    """Return what leaves a process of that rank in which something fails."""
    monkeypatch.setenv("RANK", str(rank))
    try:
        with one_voice():
            raise error
    except BaseException as left:
        return left
    raise AssertionError("expected an error")


def test_the_same_refusal_is_told_by_the_first_process(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others leave with the same code, and so does one that only lost the connection; another refusal is told."""
    refusal = InputError("expected this, found that")
    assert failing(0, refusal, monkeypatch) is refusal
    same = failing(1, InputError("expected this, found that"), monkeypatch)
    assert isinstance(same, SystemExit)
    assert same.code == 1
    lost = failing(1, RuntimeError("Connection closed by peer"), monkeypatch)
    assert isinstance(lost, SystemExit)
    other = InputError("expected a file here, found none")
    assert failing(1, other, monkeypatch) is other


def test_what_one_process_alone_refuses_is_told(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself; the first, whose connection breaks then, leaves without a word."""
    refusal = InputError("expected this, found that")
    assert failing(1, refusal, monkeypatch) is refusal
    assert isinstance(failing(0, RuntimeError("Connection closed by peer"), monkeypatch), SystemExit)
    # Before it leaves, it lets the other one speak, which torchrun would end otherwise.
    assert store.get(voice._key("0")) == b""


def test_a_fault_that_nobody_told_of_is_not_hidden(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program error, also after a restart by torchrun; and without torchrun everything is told."""
    fault = RuntimeError("a fault")
    assert failing(1, fault, monkeypatch) is fault
    refusal = InputError("expected this, found that")
    assert failing(0, refusal, monkeypatch) is refusal
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert failing(1, fault, monkeypatch) is fault
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    assert failing(1, refusal, monkeypatch) is refusal


_NET = """
import os
from torch import nn

def make():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

def fails_in_one():
    if os.environ["RANK"] == "1":
        raise ValueError("only here")
    return make()
"""


@pytest.mark.slow
def test_torchrun_trains_together_and_tells_once(tmp_path: Path) -> None:
    """With the device left to itself, on a processor too: one run; a full folder, and a fault of one, told once."""
    (tmp_path / "net.py").write_text(_NET)
    labels = np.arange(90) % 3
    draws = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=(np.eye(3, 4)[labels] + draws.normal(size=(90, 4))).astype(np.float32), y=labels)
    (tmp_path / "run.toml").write_text(
        '[model]\nname = "net.py:make"\n[data]\ntrain = "data.npz"\nvalidation_share = 0.3\n'
        "[training]\nepochs = 1\nbatch_size = 10\n[run]\ntensorboard = false\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def go(*arguments: str) -> tuple[int, str, list[str]]:
        done = subprocess.run(
            [*torchrun, "-m", "acclimate.cli", "pretrain", "run.toml", "--out", "run", *arguments],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        # torchrun's own words name the processes; ours are a line.
        return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if line.startswith("error:")]

    code, said, errors = go()
    assert (code, errors) == (0, [])
    assert said.count("6 steps; the weights are those after step") == 1
    code, said, errors = go()
    assert (code, said) == (1, "")
    assert errors == [
        "error: expected an empty folder at run, found something in it. Go on with --resume, or choose another."
    ]
    code, said, errors = go("--out", "other", "--set", "model.name=net.py:fails_in_one")
    assert (code, said, len(errors)) == (1, "", 1)
    assert "only here. Mend it there." in errors[0]
