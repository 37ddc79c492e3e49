"""A store through the lives of several processes: what may be done next, and what it must hold by what was told."""

import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acclimate.edge import Learner

from .model import Order, State, differences, finals, read_codes, read_state
from .operations import frames, keys
from .process import Worker

SHIPPED = 4
PIECE = 16
READ = "import sys; [sys.stdout.buffer.write(open(name, 'rb').read()) for name in sys.argv[1:]]"
# What may come at any time, and takes milliseconds.
CHEAP = ("observe", "label", "forget", "rollback", "add", "rename", "merge", "split", "remove", "freeze", "predict")
# What leaves the answers as they were.
SILENT = ("observe", "label", "export", "save", "add", "freeze", "predict", "versions", "open")


def pieces(key: str, codes: bytes) -> list[bytes]:
    """Return what of a sample is looked for: any 31 bytes of its latent in a row hold one of these whole."""
    starts = [*range(0, len(codes) - PIECE + 1, PIECE), len(codes) - PIECE]
    return [key.encode(), *(codes[start : start + PIECE] for start in starts)]


@dataclass
class Life:
    """A store, what it must hold, and what was told of it.

    Args:
        folder: Where the store and what is exported lie.
        bundle: The bundle.
        bare: A learner of that bundle without a store, which embeds what the others do.
        seed: Draws operations and moments.
        template: A store to begin with, or None for none.
    """

    folder: Path
    bundle: Path
    bare: Learner
    seed: int
    template: Path | None
    state: State = field(default_factory=State)
    flying: Order | None = None
    answers: str | None = None
    exported: str | None = None
    saved: int | None = None
    codes: dict[str, bytes] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    _drawn: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311  no secret
        self.store, self.out = self.folder / "store" / "device.db", self.folder / "out"
        self.store.parent.mkdir(parents=True)
        self.out.mkdir()
        if self.template is not None:
            shutil.copy(self.template, self.store)
            self.state = read_state(self.store)
            self.codes = {str(self.state.samples[i][1]): row for i, row in read_codes(self.store).items()}

    def plan(self, kind: str) -> Order:
        """Draw an operation of a kind; one that makes it possible, where the state does not allow it."""
        rng, ids = self.rng, sorted(self.state.samples)
        extras = sorted(name for name, i in self.state.names().items() if i >= SHIPPED)
        self._drawn += 1
        new = f"extra-{self._drawn:04d}"
        match kind:
            case "observe":
                return self._observation(extras, new)
            case "label":
                some = rng.sample(ids, min(3, len(ids)))
                return {"kind": kind, "ids": some, "labels": [rng.choice(["moss", None, *extras]) for _ in some]}
            case "forget" | "split" if len(ids) < 30:
                return self._observation(extras, new)
            case "forget":
                return {"kind": kind} | rng.choice(
                    [
                        {"ids": rng.sample(ids, 3)},
                        {"tag": self.state.samples[ids[-1]][2]},
                        {"label": rng.choice(extras or ["moss"])},
                    ]
                )
            case "rollback":
                return {"kind": kind, "number": rng.choice([0, *self.state.versions])}
            case "export":
                return {"kind": kind, "path": str(self.out / "model.onnx")}
            case "save":
                return {"kind": kind, "path": str(self.out / "head.accu")}
            case "apply":
                # What is saved and applied in the same store is trained on the same samples.
                own = sorted(self.state.versions.get(self.state.current, ()))
                return {"kind": kind, "path": str(self.out / "head.accu"), "update": self.saved, "trained": own}
            case "merge" if len(extras) > 1:
                return {"kind": kind, "names": extras[:2], "into": rng.choice([*extras, new, "moss"])}
            case "rename" if extras:
                return {"kind": kind, "name": rng.choice(extras), "to": new}
            case "remove" if extras:
                return {"kind": kind, "name": rng.choice(extras), "forget": rng.random() < 0.7}
            case "split":
                name, own = next((n, own) for n, i in self.state.names().items() if (own := self.state.of_class(i)))
                return {"kind": kind, "name": name, "ids": own[:2], "into": new}
            case "freeze":
                return {"kind": kind, "name": "moss", "frozen": rng.random() < 0.5}
            case "add" | "merge" | "rename" | "remove":
                return {"kind": "add", "name": new}
            case "refit":
                return {"kind": "predict"}
            case _:
                return {"kind": kind}

    def run(self, worker: Worker, order: Order, **fatal: Any) -> None:
        """Let the worker do an operation, and hold what it tells against the model.

        Raises:
            Dead: If it died; `flying` is what it died of.
        """
        self.flying = order
        found = worker.ask(order | fatal)
        assert "done" in found, (order, found)
        # Whether an adaptation was applied and a head refitted, the model leaves open.
        state = read_state(self.store)
        assert not differences(state, finals(self.state, order)), order
        self.take(order, found["done"], state)
        self.flying = None

    def take(self, order: Order, result: Any, state: State) -> None:
        """Take note of an operation that was told to be done, and check what it gave."""
        kind, before = order["kind"], self.state
        if kind == "observe":
            assert result == {"ids": sorted(state.samples)[-order["n"] :], "embedded": order["n"]}
        elif kind == "adapt":
            assert result["version"] == state.current
        elif kind in ("rollback", "apply"):
            assert result == state.current
        elif kind == "forget":
            lost = len(before.samples) - len(state.samples), len(before.versions) - len(state.versions)
            assert (result["samples"], result["versions"], result["erased"]) == (*lost, True)
        elif kind == "export":
            self.exported = result["sha"]
        self.saved = result["number"] if kind == "save" else self.saved if kind in SILENT else None
        if kind not in SILENT or before.refit:
            self.answers = None
        if kind in ("predict", "export"):
            assert self.answers in (None, result["answers"])
            self.answers = result["answers"]
        self.become(state)
        if kind == "forget":
            assert not self.traces()

    def become(self, state: State) -> None:
        """Take a state for the one that the store is in, and remember what it has lost."""
        self.forgotten |= {str(row[1]) for i, row in self.state.samples.items() if i not in state.samples}
        self.state = state

    def traces(self) -> list[str]:
        """Return the keys of samples that the store has lost, and that or pieces of whose latents are in its files."""
        # Read by another process: closing a file in this one would drop the locks that SQLite may hold on it here.
        names = [str(file) for file in self.store.parent.iterdir()]
        content = subprocess.run([sys.executable, "-S", "-c", READ, *names], capture_output=True, check=True).stdout
        return [key for key in self.forgotten if any(piece in content for piece in pieces(key, self.codes[key]))]

    def _observation(self, extras: list[str], new: str) -> Order:
        seed, n = self.seed * 1000 + self._drawn, self.rng.randint(3, 40)
        x, shown = frames(seed, n)
        labels = [self.rng.choice([name, name, name, None, *extras[:1]]) for name in shown]
        labels[0] = self.rng.choice([new, *labels[:1]])
        rows = [self.bare._session.codes(x[i : i + 32]) for i in range(0, n, 32)]
        self.codes |= zip(keys(seed, n), (row.tobytes() for part in rows for row in part), strict=True)
        return {"kind": "observe", "seed": seed, "n": n, "labels": labels, "tag": f"visit-{self._drawn:04d}"}
