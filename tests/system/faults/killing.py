"""One kill: bring a learner to an operation, choose the moment, and look at what is left."""

import time
from typing import Any

from .checking import check
from .life import CHEAP, SHIPPED, Life
from .model import differences, finals, outcomes, read_state
from .process import EndedError, Worker

# Steps (statements and changes of files), seconds, and growth of a file in bytes that an operation takes about: what
# the moments of death are drawn from. Where it takes fewer, the kill hits an operation after it.
TYPICAL = {
    "create": (90, 0.15, 100_000),
    "open": (40, 0.06, 8_000),
    "observe": (60, 0.02, 30_000),
    "label": (10, 0.003, 6_000),
    "adapt": (20, 0.25, 20_000),
    "refit": (35, 0.25, 20_000),
    "forget": (50, 0.03, 60_000),
    "rollback": (18, 0.003, 4_000),
    "export": (14, 0.015, 8_000),
    "save": (14, 0.01, 1_000),
    "apply": (24, 0.008, 12_000),
    "add": (6, 0.002, 4_000),
    "rename": (9, 0.002, 4_000),
    "merge": (20, 0.006, 10_000),
    "split": (12, 0.003, 6_000),
    "remove": (60, 0.03, 60_000),
    "freeze": (8, 0.002, 4_000),
}
KINDS, MODES = tuple(TYPICAL), ("step", "size", "time")
# How many operations come after the one meant, if the kill has not come until then.
LATER = 6
# Database synchronous, log ahead of it, deleted content zeroed: as SQLite numbers them.
PRAGMAS = ["2", "wal", "1"]


def kill(life: Life, worker: Worker, kind: str, mode: str) -> str:
    """Let a process live on a store, kill it, and check everything.

    Args:
        life: The store.
        worker: Forks the process.
        kind: The operation that it is to be killed in.
        mode: ``"step"``: by itself, at a statement or a change of files; ``"size"``: by the kernel, in the middle of a
            write that makes a file grow; ``"time"``: by us, after a while.

    Returns:
        The kind of the operation that was in flight, or ``"none"``.
    """
    start = {"kind": "create" if kind == "create" else "open"}
    try:
        life.flying = start
        # What no kill can show: the disk has it too before anything is told to be done.
        ready = worker.begin(life.bundle, life.store, **fatal(life, kind, mode) if kind == start["kind"] else {})
        assert ready["ready"] == [PRAGMAS], ready
        if kind == start["kind"] and mode == "time":
            worker.kill()
        else:
            settle(life, start)
            if kind != start["kind"]:
                prepare(life, worker, kind)
                order = life.plan(kind)
                if mode == "time":
                    return kill_after(life, worker, order, life.rng.uniform(0, TYPICAL[kind][1]))
                life.run(worker, order, **fatal(life, kind, mode))
            for _ in range(LATER):
                life.run(worker, life.plan(life.rng.choice(CHEAP)))
            worker.kill()
    except EndedError:
        pass
    flying = life.flying
    check(life, flying, [life.state] if flying is None else outcomes(life.state, flying))
    return name(life, flying)


def settle(life: Life, start: dict[str, Any]) -> None:
    """Take note that the learner is open."""
    state = read_state(life.store)
    assert not differences(state, finals(life.state, start)), start
    life.become(state)
    life.flying = None


def prepare(life: Life, worker: Worker, kind: str) -> None:
    """Bring the learner by a random way to where an operation of a kind can be done."""
    for _ in range(life.rng.randint(0, 5)):
        life.run(worker, life.plan(life.rng.choice(CHEAP)))
    if kind in ("adapt", "refit", "forget", "remove", "merge", "split"):
        life.run(worker, life.plan("observe"))
    if kind in ("remove", "merge", "rename"):
        while sum(i >= SHIPPED for i in life.state.names().values()) < 2:
            life.run(worker, life.plan("add"))
    # What is told now, the next process must tell too, unless the operation changes it.
    life.run(worker, {"kind": "predict"})
    if kind == "apply":
        life.run(worker, life.plan("save"))
    if kind == "refit":
        if not life.state.versions.get(life.state.current):
            trained = [number for number, ids in life.state.versions.items() if ids]
            life.run(worker, {"kind": "rollback", "number": trained[-1]} if trained else {"kind": "adapt"})
        trained_on = life.state.versions.get(life.state.current, frozenset())
        life.run(worker, {"kind": "forget", "ids": sorted(trained_on)[:1]} if trained_on else life.plan("forget"))


def fatal(life: Life, kind: str, mode: str) -> dict[str, Any]:
    """Draw the moment of a death that the process brings about itself."""
    steps, _, growth = TYPICAL[kind]
    if mode == "step":
        return {"step": life.rng.randint(1, steps)}
    if mode == "size":
        log = life.store.with_name(f"{life.store.name}-wal")
        # What is exported is a file of its own; everything else makes the log grow.
        begun = 0 if kind in ("export", "save") or not log.exists() else log.stat().st_size
        return {"size": begun + life.rng.randint(1, growth), "fatal": True}
    return {}


def kill_after(life: Life, worker: Worker, order: dict[str, Any], seconds: float) -> str:
    """Let the worker do an operation, kill it after a while, and check everything; returns as `kill`."""
    worker.tell(order)
    time.sleep(seconds)
    done = [line["done"] for line in worker.kill() if "done" in line]
    if done and order["kind"] == "export":
        life.exported = done[0]["sha"]
    check(life, order, finals(life.state, order) if done else outcomes(life.state, order))
    return name(life, None if done else order)


def name(life: Life, flying: dict[str, Any] | None) -> str:
    """Return what an operation in flight is called in the table."""
    if flying is None:
        return "none"
    return "refit" if flying["kind"] == "predict" else str(flying["kind"])
