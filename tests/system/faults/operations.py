"""What may happen to a learner, one function for all kinds: given as plain data, answered by plain data."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from acclimate.edge import Learner

from ...fixtures import scenes

# The frames by which answers are compared.
PROBES = 6


def frames(seed: int, n: int) -> tuple[Any, list[str]]:
    """Return the frames that a seed stands for, and the classes they show."""
    x, y = scenes.frames(n, seed, 1.0)
    return x, [str(name) for name in y]


def keys(seed: int, n: int) -> list[str]:
    """Return the keys that frames are stored under; they tell how to draw them again."""
    return [f"frame-{seed:06d}-{i:03d}" for i in range(n)]


def answers(learner: Learner) -> dict[str, Any]:
    """Return what a learner says of the frames by which answers are compared, to the last bit."""
    found = learner.predict(frames(0, PROBES)[0])
    digest = hashlib.sha256(found.probabilities.tobytes() + repr(found.classes).encode()).hexdigest()
    return {"answers": digest, "classes": list(found.classes)}


def codes(learner: Learner) -> dict[str, str]:
    """Return the latent codes of every labelled sample by its id, as hexadecimal digits, its class and its tag."""
    found = learner._session.store.labelled()
    return {
        str(i): f"{row.tobytes().hex()} {label} {tag}"
        for i, row, label, tag in zip(found.ids.tolist(), found.codes, found.classes, found.tags, strict=True)
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill(path: Path) -> int:
    """Write a file until the disk that it is on is full, and return its size."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path.stat().st_size


def perform(learner: Learner, order: dict[str, Any], say: Callable[..., None]) -> Any:
    """Do one operation.

    Args:
        learner: The learner.
        order: Its kind, and what belongs to it.
        say: Takes what is to be told before it is done.

    Returns:
        What it gave, as JSON can hold it.
    """
    match order["kind"]:
        case "observe":
            x, _ = frames(order["seed"], order["n"])
            embedded = 0
            real = learner._session.codes

            def counting(part: Any) -> Any:
                nonlocal embedded
                embedded += len(part)
                return real(part)

            learner._session.codes = counting  # type: ignore[assignment]
            try:
                ids = learner.observe(
                    x,
                    order["labels"],
                    tags=[order["tag"]] * order["n"],
                    keys=keys(order["seed"], order["n"]),
                    on_duplicate=order.get("on_duplicate", "refuse"),
                    progress=(lambda done, total: say(progress=[done, total])) if order.get("progress") else None,
                )
            finally:
                del learner._session.codes
            return {"ids": ids.tolist(), "embedded": embedded}
        case "label":
            return learner.label(order["ids"], order["labels"])
        case "adapt":
            report = learner.adapt(on_insufficient="apply")
            return {"applied": report.applied, "version": report.version}
        case "fit":
            learner.partial_fit(*frames(order["seed"], order["n"]))
            return answers(learner) | {"version": next(v.number for v in learner.versions() if v.current)}
        case "forget":
            found = learner.forget(order.get("ids"), label=order.get("label"), tag=order.get("tag"))
            return {"samples": found.samples, "versions": found.versions, "erased": found.erased}
        case "predict":
            return answers(learner)
        case "rollback":
            return learner.rollback(order["number"])
        case "export":
            learner.export(order["path"], overwrite=True)
            return {"sha": digest(Path(order["path"]))} | answers(learner)
        case "save":
            number = learner.save_update(order["path"], overwrite=True)
            return {"sha": digest(Path(order["path"])), "number": number}
        case "apply":
            return learner.apply_update(order["path"])
        case "add":
            return learner.classes.add(order["name"])
        case "rename":
            return learner.classes.rename(order["name"], order["to"])
        case "merge":
            return learner.classes.merge(order["names"], order["into"])
        case "split":
            return learner.classes.split(order["name"], order["ids"], order["into"])
        case "remove":
            return learner.classes.remove(order["name"], forget=order["forget"])
        case "freeze":
            return learner.classes.freeze(order["name"], order["frozen"])
        case "fill":
            return fill(Path(order["path"]))
        case "free":
            return Path(order["path"]).unlink()
        case "versions":
            return [[v.number, v.current] for v in learner.versions()]
        case "read":
            # Everything that reads the store, so that damage is met wherever it is.
            learner.suspects()
            learner.suggest(3)
            found_ids = learner._session.store.ids()
            learner.keys(found_ids)
            return codes(learner)
        case kind:
            raise AssertionError(kind)
