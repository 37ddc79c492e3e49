"""A process that does what it is told to a learner, and dies of it: `python -m tests.system.faults.worker`.

It reads JSON lines and answers with JSON lines. A line with "job" makes it fork; the child opens the learner, does one
operation a line, and may have been told at which of its own steps to die. The parent outlives it, so that a new life
costs no imports. What the child has answered it was told is done; nothing is flushed or synchronised for that.
"""

import importlib
import json
import os
import pkgutil
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import acclimate.edge
from acclimate.edge import Learner, embedding
from acclimate.errors import AcclimateError

from .operations import frames, perform

# What Python does to files is told by these events; each is a moment to die at, as is each statement of SQLite.
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "tempfile.mkdtemp"}
_connect = sqlite3.connect


class Steps:
    """Counts statements of SQLite and changes of files, and kills this process at the one it was told."""

    def __init__(self) -> None:
        self.count, self.fatal = 0, 0
        self.connections: list[sqlite3.Connection] = []

    def __call__(self, *_: object) -> None:
        """Count one more."""
        self.count += 1
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def event(self, name: str, _: tuple[Any, ...]) -> None:
        """Count what an audit hook tells."""
        if name in EVENTS:
            self()

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Open a database as SQLite does, and count its statements."""
        connection: sqlite3.Connection = _connect(*arguments, **options)
        connection.set_trace_callback(self)
        self.connections.append(connection)
        return connection

    def pragmas(self) -> list[list[str]]:
        """Return how each open connection writes: synchronous, journal mode, secure delete."""
        found = []
        for connection in self.connections:
            try:
                row = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS]
            except sqlite3.ProgrammingError:
                continue  # closed
            found.append([str(value) for value in row])
        return found


PRAGMAS = ("synchronous", "journal_mode", "secure_delete")


def say(**fields: object) -> None:
    """Write one line, at once."""
    os.write(1, json.dumps(fields).encode() + b"\n")


def hear() -> dict[str, Any] | None:
    """Read one line; None at the end."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def limit(size: int | None, *, fatal: bool) -> None:
    """Let no file grow beyond a size in bytes: writing fails, or kills this process in the middle of the write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fatal else signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))


def arm(steps: Steps, order: dict[str, Any]) -> None:
    """Do as a line says about dying: after so many steps, or at a file that grows beyond a size."""
    if "step" in order:
        steps.fatal = steps.count + int(order["step"])
    if "size" in order:
        limit(order["size"], fatal=bool(order.get("fatal")))


def live(job: dict[str, Any]) -> None:
    """Open a learner and do one operation after another until there is no more to do."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "uid" in job:
        rehearse(job["bundle"])
        os.setgroups([])
        os.setgid(job["uid"])
        os.setuid(job["uid"])
    # Every batch is put aside, not only what two seconds have brought together.
    embedding.STAGE_SECONDS = -1.0
    say(pid=os.getpid())
    steps = Steps()
    sqlite3.connect = steps.connect  # type: ignore[assignment]  # as wide as it is called here
    sys.addaudithook(steps.event)
    arm(steps, job)
    learner = answered(lambda: Learner.open(job["bundle"], job["store"], threads=1, timeout=job.get("timeout", 5.0)))
    if learner is None:
        return
    say(ready=steps.pragmas(), steps=steps.count)
    while (order := hear()) is not None:
        if order.get("kind") == "close":
            break
        arm(steps, order)
        before, result = steps.count, [None]

        def do(order: dict[str, Any] = order, result: list[Any] = result) -> bool:
            result[0] = perform(learner, order, say)
            return True

        if answered(do):
            say(done=result[0], steps=steps.count - before)
    learner.close()
    say(closed=True)


def rehearse(bundle: str) -> None:
    """Use a learner without a store: whoever gives up rights may not be able to read modules any more."""
    with Learner.open(bundle, threads=1) as learner, tempfile.TemporaryDirectory() as folder:
        learner.fit(*frames(2, 60))
        perform(learner, {"kind": "predict"}, say)
        perform(learner, {"kind": "save", "path": f"{folder}/head.accu"}, say)
        perform(learner, {"kind": "export", "path": f"{folder}/model.onnx"}, say)
        perform(learner, {"kind": "forget", "ids": [1]}, say)


def answered(action: Callable[[], Any]) -> Any:
    """Run something; say which error of ours came of it, or whether it was another one, and return None then."""
    try:
        return action()
    except (AcclimateError, OSError) as error:
        ours = isinstance(error, AcclimateError)
        say(error=type(error).__name__, message=str(error), ours=ours)
    except Exception as error:
        say(error=type(error).__name__, message=str(error), ours=False, alien=True)
    return None


def main() -> None:
    """Fork a life for each job, wait for its end and say how it ended."""
    # Loaded once, and not in every child.
    for module in pkgutil.walk_packages(acclimate.edge.__path__, "acclimate.edge."):
        with suppress(ImportError):  # a runtime that is not installed
            importlib.import_module(module.name)
    say(born=time.monotonic())
    while (job := hear()) is not None:
        if "job" not in job:
            continue  # meant for a child that died before it could read it
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(job)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
