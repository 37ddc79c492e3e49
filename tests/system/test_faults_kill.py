"""Processes killed at any moment, by signal 9 and by the kernel: nothing corrupt, nothing lost but what was in flight.

Each kill comes while a process that really runs observes, adapts, forgets, rolls back, exports, changes classes or is
just opening: at a statement of SQLite or a change of files that was drawn beforehand, in the middle of a write, or
after a time. What is left is held against a model of the store that knows only what the process had told to be done.

That shows what the process had given to the operating system. That the disk has it too after a power cut is what
``synchronous = FULL`` is for: every connection is asked for it here, and nothing else about it is shown.
"""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from acclimate.edge import Learner

from .faults.killing import KINDS, MODES, kill
from .faults.life import Life
from .faults.model import read_codes, read_staged, read_state
from .faults.operations import frames, keys
from .faults.process import Worker, worker

# So many kills share a store, one after the other.
CHAIN = 5


@pytest.fixture(scope="module")
def killable() -> Iterator[Worker]:
    """Return a worker."""
    with worker() as started:
        yield started


@pytest.fixture(scope="module")
def template(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with sixty samples of shipped classes, six of two others, a version fitted here, and an update."""
    folder = tmp_path_factory.mktemp("template")
    with Learner.open(tiny_bundle, folder / "device.db", threads=1) as learner:
        for seed, n, own in ((900_001, 60, []), (900_002, 6, ["crack", "crack", "crack", "rust", "rust", "rust"])):
            x, y = frames(seed, n)
            learner.observe(x, own or y, tags=[f"visit-{seed}"] * n, keys=keys(seed, n))
            if not own:
                assert learner.adapt(on_insufficient="apply").applied
        learner.save_update(folder / "head.accu")
        learner.apply_update(folder / "head.accu")
    return folder / "device.db"


@pytest.fixture(scope="module")
def bare(tiny_bundle: Path) -> Iterator[Learner]:
    """Return a learner without a store."""
    with Learner.open(tiny_bundle, threads=1) as learner:
        yield learner


def kills(numbers: range, killable: Worker, bare: Learner, bundle: Path, template: Path, folder: Path) -> Counter[str]:
    """Kill once for each number, and count in what."""
    hit: Counter[str] = Counter()
    life = None
    for i in numbers:
        turn, place = divmod(i, len(KINDS))
        kind, mode = KINDS[place], MODES[(turn + place + 1) % len(MODES)]
        if life is None or kind == "create" or i % CHAIN == 0:
            life = Life(folder / str(i), bundle, bare, i, None if kind == "create" else template)
        try:
            hit[kill(life, killable, kind, mode)] += 1
        except AssertionError as error:
            error.add_note(f"kill {i}, in {kind} by {mode}")
            raise
        if kind == "create":
            life = None
    return hit


def test_killed_in_every_operation(
    killable: Worker, bare: Learner, tiny_bundle: Path, template: Path, tmp_path: Path
) -> None:
    """34 kills, two for each kind of operation."""
    hit = kills(range(2 * len(KINDS)), killable, bare, tiny_bundle, template, tmp_path)
    assert hit.total() - hit["none"] >= len(KINDS), hit


@pytest.mark.slow
def test_killed_two_hundred_times(
    killable: Worker, bare: Learner, tiny_bundle: Path, template: Path, tmp_path: Path
) -> None:
    """200 kills at other moments; every operation was in flight when some of them came."""
    hit = kills(range(100, 300), killable, bare, tiny_bundle, template, tmp_path)
    assert hit.total() == 200
    assert set(KINDS) <= hit.keys(), hit


@pytest.mark.parametrize("seed", range(3))
def test_what_was_put_aside_is_not_embedded_again(
    killable: Worker, bare: Learner, tiny_bundle: Path, tmp_path: Path, seed: int
) -> None:
    """A long observation killed twice and made a third time embeds each frame once, but for the batches in flight."""
    n, store, rng = 200, tmp_path / "device.db", random.Random(seed)  # noqa: S311  no secret
    order = {"kind": "observe", "seed": seed, "n": n, "labels": [None] * n, "tag": "visit", "progress": True}
    staged = 0
    for _ in range(2):
        assert "ready" in killable.begin(tiny_bundle, store)
        killable.tell(order | {"step": rng.randint(350, 600)})
        told = [line["progress"][0] for line in killable.last_words()]
        assert killable.status == -signal.SIGKILL
        assert read_state(store).samples == {}
        # What was put aside is not lost again; of what is told to be embedded, only a batch is not put aside yet.
        assert max([staged, *told]) <= read_staged(store) < n
        staged = read_staged(store)
    assert staged
    assert "ready" in killable.begin(tiny_bundle, store)
    result = killable.do(order | {"progress": False})
    killable.end()
    assert result == {"ids": list(range(1, n + 1)), "embedded": n - staged}
    assert read_staged(store) == 0
    x, _ = frames(seed, n)
    codes = [row for i in range(0, n, 32) for row in bare._session.codes(x[i : i + 32])]
    assert read_codes(store) == {i + 1: row.tobytes() for i, row in enumerate(codes)}
