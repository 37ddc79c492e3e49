"""The other end of a worker: starts it, tells it what to do, kills it, and never waits for ever."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
# Seconds after which a worker that says nothing hangs. A busy machine is slow, and that is no failure.
PATIENCE = 120.0


class EndedError(Exception):
    """The child has ended."""


class Worker:
    """A worker and the child that it forked last.

    Args:
        prefix: A command that runs it, for example in a namespace of its own.
    """

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "tests.system.faults.worker"]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env={**os.environ, **threads})
        self._rest, self.pid = b"", 0
        self.status: int | None = None
        assert "born" in self.hear()

    def begin(self, bundle: Path, store: Path, **options: Any) -> dict[str, Any]:
        """Let a child open a learner. Returns what it says to that: ready, or an error.

        Raises:
            EndedError: If it died of it.
        """
        if self.pid:
            self.kill()
        self.status = None
        self.tell({"job": True, "bundle": str(bundle), "store": str(store), **options})
        self.pid = self.hear()["pid"]
        return self.hear()

    def tell(self, order: dict[str, Any]) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next line.

        Raises:
            EndedError: If the child ended instead.
        """
        while b"\n" not in self._rest:
            self._fill()
        line, self._rest = self._rest.split(b"\n", 1)
        # What a child was cut off in the middle of saying stands before the line that tells of its end.
        found: dict[str, Any] = json.loads(line[line.rfind(b'{"ended"') if b'{"ended"' in line else 0 :])
        if "ended" in found:
            self.status, self.pid = found["ended"], 0
            raise EndedError
        return found

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an operation and return the answer: done, or an error; raises as `hear`."""
        self.tell(order)
        while "progress" in (found := self.hear()):
            pass
        return found

    def do(self, order: dict[str, Any]) -> Any:
        """Send an operation that must succeed and return its result."""
        found = self.ask(order)
        assert "done" in found, found
        return found["done"]

    def kill(self) -> list[dict[str, Any]]:
        """Kill the child. Returns what it had still said."""
        os.kill(self.pid, signal.SIGKILL)
        return self.last_words()

    def last_words(self) -> list[dict[str, Any]]:
        """Return everything that the child still says until it ends."""
        said = []
        try:
            while True:
                said.append(self.hear())
        except EndedError:
            return said

    def end(self) -> None:
        """Let the child close its learner and end."""
        self.tell({"kind": "close"})
        self.last_words()
        assert self.status == 0

    def stop(self) -> None:
        """Stop the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # At the end of the input a child that still lives closes its learner and ends, and then the worker does.
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.stdout.close()

    def _fill(self) -> None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            until = time.monotonic() + PATIENCE
            if not selector.select(max(until - time.monotonic(), 0)):
                raise AssertionError(f"the worker says nothing for {PATIENCE:g} s")
        part = os.read(self._process.stdout.fileno(), 2**16)
        assert part, "the worker is gone"
        self._rest += part


@contextmanager
def worker(prefix: Sequence[str] = ()) -> Iterator[Worker]:
    """Start a worker, and stop it in the end; skip where there is no fork, or no runtime whose models are exported."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    pytest.importorskip("onnxruntime", reason="the operations export ONNX models")
    started = Worker(prefix)
    try:
        yield started
    finally:
        started.stop()
