"""What must hold of the files that a killed process leaves, before they are opened again and after."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from acclimate.edge import Learner
from acclimate.update import Base, read_update

from .life import Life
from .model import Order, State, differences, outcomes, read_codes, read_state
from .operations import PROBES, answers, digest, frames


def check(life: Life, flying: Order | None, allowed: list[State]) -> None:
    """Hold what is left against what was told, open it, and hold what a user sees against it too.

    Args:
        life: The store, with the state after the last operation that was told to be done.
        flying: The operation in flight, or None.
        allowed: The states that the store may be in.
    """
    copy = copied(life)
    found, before = read_state(copy), life.state
    assert not differences(found, allowed), flying
    assert read_codes(copy) == {i: life.codes[str(key)] for i, (_, key, _) in found.samples.items()}
    life.become(found)
    with Learner.open(life.bundle, life.store, threads=1) as learner:
        assert not learner._session.store.erase_pending
        now = read_state(life.store)
        # What was forgotten is fitted anew on opening; nothing else happens.
        assert now in outcomes(found, {"kind": "open"})
        assert not now.refit
        told = answers(learner)
        if (found.versions, found.classes, now.current) == (before.versions, before.classes, before.current):
            assert life.answers in (None, told["answers"])
        life.answers, life.saved = told["answers"], None
        life.become(now)
        said = learner.predict(frames(0, PROBES)[0]).probabilities
        np.testing.assert_allclose(said, by_hand(learner, now), atol=1e-5)
        assert [[v.number, v.current] for v in learner.versions()] == now.history()
        assert tuple(learner.classes) == tuple(now.names())
        check_exported(life, learner, flying)
        # Before it is closed, which would cut the log anyway.
        assert not life.traces()
    assert [file.name for file in life.store.parent.iterdir()] == [life.store.name]


def copied(life: Life) -> Path:
    """Copy database and log, to read them there: the learner that is opened next meets them untouched."""
    folder = life.folder / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(life.store.parent, folder, ignore=shutil.ignore_patterns("*-shm"))
    return folder / life.store.name


def by_hand(learner: Learner, state: State) -> Any:
    """Return the probabilities that the version in use gives, from its bytes and a softmax."""
    latents = learner._session.latents(frames(0, PROBES)[0]).astype(np.float64)
    shipped = learner._session.bundle.head(learner._session.runtime)
    assert shipped is not None
    weight, bias, classes = shipped.weight, shipped.bias, np.arange(len(shipped.bias))
    if state.current:
        arrays = load(learner._session.store.version(state.current).head)
        weight, bias, classes = arrays["weight"], arrays["bias"], arrays["classes"]
    now = state.become()
    kept = [row for row, c in enumerate(classes.tolist()) if c in now]
    logits = latents @ weight[kept].T.astype(np.float64) + bias[kept]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    owners = np.array([now[int(classes[row])] for row in kept])
    return np.stack([shares[:, owners == c].sum(axis=1) for c in sorted(set(owners.tolist()))], axis=1)


def check_exported(life: Life, learner: Learner, flying: Order | None) -> None:
    """Check that a file that was being written is the one before it, or complete, and no other one was touched."""
    model, update = life.out / "model.onnx", life.out / "head.accu"
    exporting = flying is not None and flying["kind"] == "export"
    assert model.exists() or life.exported is None
    if model.exists() and digest(model) != life.exported:
        assert exporting
        import onnxruntime

        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = session.run(["probabilities"], {session.get_inputs()[0].name: frames(0, PROBES)[0]})[0]
        said = learner.predict(frames(0, PROBES)[0]).probabilities
        # Classes that the head does not know are not in the file.
        np.testing.assert_allclose(found, said[:, said.max(axis=0) > 0], atol=1e-3)
        life.exported = digest(model)
    if update.exists():
        read_update(update, Base.of(learner._session.bundle, learner._session.runtime))
    assert {file.name for file in life.out.iterdir() if not file.name.endswith(".part")} <= {model.name, update.name}
