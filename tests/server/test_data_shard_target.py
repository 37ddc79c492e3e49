"""A target in shards: adapted to as one in files is, its labels never read, and runs on it resumed to the bit."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")
pytest.importorskip("webdataset", reason="acclimate[server] is not installed")

import torch
from numpy.typing import NDArray

from acclimate.errors import InputError
from acclimate.server.data import Data, DataSettings, load_data
from acclimate.server.data.shards import ShardSamples
from acclimate.server.run import Run
from acclimate.server.transfer.looked_at import blocks_of, drawn_rows, labels_of

from .data_files import write_shard
from .small_runs import FEATURES, make_config, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


class _DiedError(Exception):
    pass


def rows(count: int, shift: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return samples of three clusters, and their classes."""
    draws = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return (np.eye(3, FEATURES)[labels] * 3 + draws.normal(size=(count, FEATURES)) + shift).astype(np.float32), labels


def shards(folder: Path, name: str, x: NDArray[np.float32], labels: list[bytes | None], *, count: int = 4) -> str:
    """Write samples as .npy members in turn, with labels where there are some, and return their pattern."""
    for shard in range(count):
        members: list[tuple[str, bytes]] = []
        for i in range(shard, len(x), count):
            content = io.BytesIO()
            np.save(content, x[i])
            members.append((f"{i:03}.npy", content.getvalue()))
            label = labels[i]
            if label is not None:
                members.append((f"{i:03}.{'json' if label.startswith(b'{') else 'cls'}", label))
        write_shard(folder / f"{name}-{shard}.tar", members)
    return f"{folder}/{name}-{{0..{count - 1}}}.tar"


def source(folder: Path, kind: str) -> str:
    """Write a labelled source in shards or in an array."""
    x, labels = rows(90)
    if kind == "shards":
        return shards(folder, "source", x, [str(label).encode() for label in labels])
    np.savez(folder / "source.npz", x=x, y=labels)
    return str(folder / "source.npz")


def load(train: str, target: str, **settings: Any) -> Data:
    """Load both, nothing standardised, as shards never are."""
    return load_data(DataSettings(train=train, target=target, standardise=False, **settings), seed=0)


def go(out: Path, data: Data, *, guard: bool = False, **more: Any) -> Run:
    """Adapt a small network, with dropout and BatchNorm, in steps of unequal sides."""
    objective = {"name": "dan", "target_batch": 10, "guard": guard}
    config = make_config(objective=objective, epochs=3, batch_size=16, run={"checkpoint_every": 4})
    return run_small(out, config, data=data, **more)


@pytest.mark.parametrize("kind", ["shards", "npz"])
def test_its_labels_are_never_read(tmp_path: Path, kind: str) -> None:
    """Names that are no class, JSON that is none, and none at all end in the same weights."""
    x, _ = rows(50, 1.0)
    found = []
    for place, label in enumerate((None, b"never", b"{broken")):
        folder = tmp_path / str(place)
        folder.mkdir()
        data = load(source(tmp_path, kind), shards(folder, "target", x, [label] * 50))
        assert data.target is not None
        assert isinstance(data.target.dataset, ShardSamples)
        assert {int(y) for _, y, _ in data.target.dataset} == {-1}
        found.append(weights(go(tmp_path / f"run {place}", data).model))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_sides_may_be_in_shards_and_in_files(tmp_path: Path) -> None:
    """Each of the four ways gives the same samples, made alike."""
    x, labels = rows(50, 1.0)
    np.savez(tmp_path / "target.npz", x=x)
    places = (str(tmp_path / "target.npz"), shards(tmp_path, "target", x, [b"0"] * 50))
    told = [None if i % 2 else str(label).encode() for i, label in enumerate(labels)]
    held = shards(tmp_path, "held", x, told)
    for kind in ("shards", "npz"):
        for place in places:
            data = load(source(tmp_path, kind), place, target_validation=held)
            assert data.target is not None
            assert data.target_validation is not None
            assert sorted(labels_of(data.target_validation).tolist()) == sorted([-1] * 25 + labels[::2].tolist())
            assert labels_of(data.target).tolist() == [-1] * 50
            wanted = drawn_rows(np.arange(50), 3)
            (block,) = blocks_of(data.target.dataset, wanted)
            assert sorted(block[:, 0].tolist()) == sorted(x[:, 0].tolist())
            (few,) = blocks_of(data.target.dataset, np.array([1, 7]))
            torch.testing.assert_close(few, block[[1, 7]])


def test_a_run_cut_off_ends_in_the_same_weights(tmp_path: Path) -> None:
    """The place in the target's stream follows from the step, over several passes of it."""
    x, _ = rows(50, 1.0)
    pattern = shards(tmp_path, "target", x, [None] * 50)

    def data() -> Data:
        return load(source(tmp_path, "shards"), pattern, shuffle=8)

    def die(done: int, total: int) -> None:
        if done == 7:
            raise _DiedError

    whole = go(tmp_path / "whole", data())
    with pytest.raises(_DiedError):
        go(tmp_path / "cut", data(), progress=die)
    cut = go(tmp_path / "cut", data(), net=make_net(seed=9), resume=True)
    assert torch.equal(weights(cut.model), weights(whole.model))


@pytest.mark.parametrize("held", [False, True])
def test_the_guard_judges_what_is_in_shards(tmp_path: Path, held: bool) -> None:
    """By the way back, or by labelled samples where there are some; the run ends with a verdict."""
    x, labels = rows(50, 1.0)
    pattern = shards(tmp_path, "target", x, [None] * 50)
    more = {} if not held else {"target_validation": shards(tmp_path, "held", x, [str(y).encode() for y in labels])}
    run = go(tmp_path / "run", load(source(tmp_path, "shards"), pattern, **more), guard=True)
    assert run.verdict is not None
    assert ("50 labelled samples" in run.verdict.reason) is held
    assert run.verdict.scores["adapted_way_back"] > 0.3


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Another shape, another form, no label to judge by, and too few samples for the steps of a stream."""
    x, _ = rows(50)
    train = source(tmp_path, "npz")
    with pytest.raises(InputError, match=r"shape \(6,\) in the target, as in the training data, found \(4,\)"):
        load(train, shards(tmp_path, "narrow", x[:, :4], [None] * 50))
    write_shard(tmp_path / "sound.tar", [("a.wav", b"none")])
    with pytest.raises(InputError, match=r"like the training data \(tensor\), found sound"):
        load(train, str(tmp_path / "sound.tar"))
    good = shards(tmp_path, "target", x, [None] * 50)
    with pytest.raises(InputError, match=r"labelled samples as data\.target_validation"):
        load(train, good, target_validation=good)
    data = load(train, good)
    assert data.target is not None
    assert isinstance(data.target.dataset, ShardSamples)
    few = replace(data, target=replace(data.target, dataset=_of_samples(data.target.dataset, 1)))
    with pytest.raises(InputError, match="expected 2 target samples or more"):
        go(tmp_path / "run", few)


def _of_samples(dataset: ShardSamples, samples: int) -> ShardSamples:
    dataset.samples = samples
    return dataset
