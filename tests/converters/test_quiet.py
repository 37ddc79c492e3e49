"""Silence while exporters run: their chatter is held back, other threads and errors are not."""

import logging
import os
import subprocess
import sys
import threading
import warnings

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters.quiet import quiet

pytestmark = pytest.mark.needs_torch


def test_chatter_is_held_back_and_everything_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    """Prints, warnings, log records and native writes; afterwards all of them come through again."""
    streams, disabled = (sys.stdout, sys.stderr), logging.root.manager.disable
    with quiet():
        print("print")  # noqa: T201  what is to be held back
        print("print", file=sys.stderr)  # noqa: T201
        os.write(2, b"native")
        warnings.warn("warning", stacklevel=1)
        logging.getLogger("elsewhere").error("record")
    assert (sys.stdout, sys.stderr) == streams
    assert logging.root.manager.disable == disabled
    assert capfd.readouterr() == ("", "")
    os.write(2, b"native")
    assert capfd.readouterr().err == "native"


def test_other_threads_still_write() -> None:
    """A progress bar that refreshes from its own thread is seen, even on the process's own standard error."""
    code = (
        "import sys, threading\n"
        "from acclimate.converters.quiet import quiet\n"
        "with quiet():\n"
        "    bar = threading.Thread(target=lambda: (print('bar'), print('bar', file=sys.stderr)))\n"
        "    bar.start(); bar.join(); print('exporter'); print('exporter', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("bar\n", "bar\n")


def test_errors_pass_and_everything_is_put_back() -> None:
    """An exporter that raises leaves nothing redirected."""
    streams = (sys.stdout, sys.stderr)
    with pytest.raises(KeyError), quiet():
        raise KeyError("inside")
    assert (sys.stdout, sys.stderr) == streams


def test_silences_may_overlap() -> None:
    """One inside the other."""
    with quiet(), quiet():
        pass
    assert threading.current_thread() is threading.main_thread()
