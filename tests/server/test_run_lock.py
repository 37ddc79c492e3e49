"""One run at a time in a folder: another process is told by its number, one that was killed leaves no lock."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")
pytest.importorskip("fcntl", reason="this system has no such locks")

import fcntl

from acclimate.errors import InputError, OutputExistsError
from acclimate.server.run_lock import LOCK_FILE, refuse_held, run_lock

from .held_folders import other_process
from .small_runs import make_config, run_small

pytestmark = pytest.mark.needs_torch


def test_a_folder_that_another_process_trains_in_is_refused(tmp_path: Path) -> None:
    """New or to be resumed, before anything is loaded, and by the number of the process; nothing is written."""
    run_small(tmp_path / "ended", make_config(epochs=1))
    for name, resume in (("new", False), ("ended", True)):
        with other_process(tmp_path / name) as process:
            before = sorted(os.listdir(tmp_path / name))
            with pytest.raises(
                InputError, match=rf"no other process to train in .*{name}, found that process {process.pid} "
            ):
                run_small(tmp_path / name, make_config(epochs=1), resume=resume)
            assert sorted(os.listdir(tmp_path / name)) == before


@pytest.mark.parametrize(("noted", "message"), [(" elsewhere", "process [0-9]+ on elsewhere does"), ("x", "one does")])
def test_who_holds_it_is_told_as_far_as_it_is_known(tmp_path: Path, noted: str, message: str) -> None:
    """On another machine, with its name; nothing at all where the file does not tell."""
    with other_process(tmp_path / "run", noted), pytest.raises(InputError, match=message):
        refuse_held(tmp_path / "run")


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """Its file stays, and holds nothing: the folder counts as empty, and is free of it after the run."""
    with other_process(tmp_path / "run") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path / "run") == [LOCK_FILE]
    assert run_small(tmp_path / "run", make_config(epochs=1)).steps == 6
    assert LOCK_FILE not in os.listdir(tmp_path / "run")


def test_the_lock_is_held_while_a_run_trains(tmp_path: Path) -> None:
    """Another process finds it taken in the middle of a run, and free after its end, however that came."""
    probe = (
        "import fcntl, os, sys\n"
        "try: fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB)\n"
        "except OSError: print('taken')\n"
        "else: print('free')\n"
    )
    found: list[str] = []

    def look(done: int, total: int) -> None:
        if done == 2:
            path = str(tmp_path / "run" / LOCK_FILE)
            said = subprocess.run([sys.executable, "-c", probe, path], capture_output=True, text=True, check=True)
            found.append(said.stdout.strip())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "run", make_config(epochs=1), progress=look)
    assert found == ["taken"]
    assert LOCK_FILE not in os.listdir(tmp_path / "run")


def test_a_folder_that_was_filled_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs found it empty at once: the one that comes second to the lock does not write into the other's."""
    from acclimate.server import run_folder

    checked = run_folder._check_content
    calls = 0

    def filled(folder: Path, *, resume: bool) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            (folder / "model").mkdir()
        checked(folder, resume=resume)

    monkeypatch.setattr(run_folder, "_check_content", filled)
    with pytest.raises(OutputExistsError, match="expected an empty folder"):
        run_small(tmp_path / "run", make_config(epochs=1))
    assert os.listdir(tmp_path / "run") == ["model"]


def test_a_file_system_without_locks_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is held there, and nothing left."""

    def refused(handle: int, kind: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refused)
    with run_lock(tmp_path):
        refuse_held(tmp_path)
    assert os.listdir(tmp_path) == []
    assert run_small(tmp_path / "run", make_config(epochs=1)).steps == 6
