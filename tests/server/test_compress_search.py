"""The choice within a budget is right by hand, and what is measured is what a device gets."""

import errno
import shutil
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate import Bundle
from acclimate.edge import Learner
from acclimate.errors import ConversionError, InputError, OutputExistsError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.compress import (
    Budget,
    Candidate,
    MeasuredModel,
    SearchReport,
    choose,
    prune,
    quantize_aware,
    search,
)

from .compress_nets import frames, net

pytestmark = pytest.mark.needs_torch
SHOWN, UNSEEN = frames(64, seed=1), frames(64, seed=3)


def measured(name: str, latency: float, size: float, accuracy: float) -> MeasuredModel:
    return MeasuredModel(name, False, latency, size, accuracy, 100 * (0.9 - accuracy), 1000)


TABLE = (
    measured("original", 10, 8, 0.90),
    measured("pruned", 5, 4, 0.88),
    measured("tiny", 2, 1, 0.80),
    measured("worse", 6, 4, 0.87),
)


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(max_latency_ms=20), 0),
        (Budget(max_latency_ms=6), 1),
        (Budget(max_size_mb=4), 1),
        (Budget(max_latency_ms=6, max_size_mb=1), 2),
        (Budget(max_drop=2.5), 1),
        (Budget(max_drop=20), 2),
        (Budget(max_drop=0), 0),
    ],
)
def test_the_best_within_the_budget_is_chosen(budget: Budget, chosen: int) -> None:
    """The most accurate within latency and size; the fastest where only the drop is bounded."""
    found = choose(TABLE, budget)
    assert found.chosen == found.nearest == chosen
    assert found.pareto == (0, 1, 2)
    assert found.impossible == found.missed == ()


def test_a_limit_that_nothing_keeps_is_named_with_the_nearest() -> None:
    """1 ms: 2 ms at best. Not the size, which the small one keeps."""
    found = choose(TABLE, Budget(max_latency_ms=1, max_size_mb=2))
    assert found.chosen is None
    assert [(one.limit, one.wanted, one.nearest, one.by) for one in found.impossible] == [("max_latency_ms", 1, 2, 2)]
    assert found.nearest == 2
    assert str(found) == "no model keeps max_latency_ms 1: 2 at best."
    assert found.impossible[0].within == 2
    assert not found.impossible[0].alone


def test_the_least_of_a_model_that_breaks_another_limit_is_told_apart() -> None:
    """1 ms and a drop of 2.5: 2 ms takes a model that is 10 points worse, and those that are not reach 5."""
    found = choose(TABLE, Budget(max_latency_ms=1, max_drop=2.5))
    (miss,) = found.impossible
    assert (miss.nearest, miss.by, miss.within, miss.alone) == (2, 2, 5, True)
    assert str(found) == "no model keeps max_latency_ms 1: 2 at best, 5 among those that keep every other limit."
    # The other limits are each kept by some model, together by none.
    (miss,) = choose(TABLE, Budget(max_latency_ms=1, max_size_mb=1, max_drop=1)).impossible
    assert (miss.nearest, miss.within, miss.alone) == (2, None, True)
    # Of two that nothing keeps, neither is why the other is not kept.
    both = choose(TABLE, Budget(max_latency_ms=1, max_size_mb=0.5)).impossible
    assert [(one.limit, one.nearest, one.alone) for one in both] == [
        ("max_latency_ms", 2, False),
        ("max_size_mb", 1, False),
    ]


def test_limits_that_are_kept_apart_but_not_together_are_told() -> None:
    """4 ms and a drop of 1 point: the nearest is the pruned one, a quarter too slow and a point too bad."""
    found = choose(TABLE, Budget(max_latency_ms=4, max_drop=1))
    assert found.chosen is None
    assert found.impossible == ()
    assert found.nearest == 1
    assert [(one.limit, one.nearest) for one in found.missed] == [("max_latency_ms", 5), ("max_drop", pytest.approx(2))]
    assert "each limit is kept by some model, all by none" in str(found)


def test_excess_is_judged_by_shares_of_the_limits() -> None:
    """Half too slow is nearer than nine tenths too large, though 50 ms are more than .9 MB."""
    table = measured("slow", 150, 1.0, 0.9), measured("large", 110, 1.9, 0.9)
    assert choose(table, Budget(max_latency_ms=100, max_size_mb=1)).nearest == 0


def test_pareto_agrees_with_brute_force() -> None:
    """On every table of three models over two values a cost: none is left out that nothing beats, equal ones stay."""
    costs = list(product((1.0, 2.0), (1.0, 2.0), (0.5, 0.9)))
    for rows in product(costs, repeat=3):
        models = [measured(str(i), *row) for i, row in enumerate(rows)]
        expected = []
        for i, (latency, size, accuracy) in enumerate(rows):
            as_good = [o for o in rows if o[0] <= latency and o[1] <= size and o[2] >= accuracy]
            if all(other == (latency, size, accuracy) for other in as_good):
                expected.append(i)
        assert list(choose(models, Budget(max_drop=100)).pareto) == expected


def test_what_is_measured_is_what_a_device_gets(
    tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy as the device's own learner has it, the size of the file; exports are stood in for by a real bundle."""
    pytest.importorskip("onnxruntime", reason="acclimate[convert] is not installed")
    asked: list[object] = []

    def export(model: nn.Module, calibration: object, path: Path, runtime: str, options: dict[str, object]) -> None:
        asked.append((options["quantize"], options["taps"], runtime, int(model.state_dict()["weight"][0, 0])))
        shutil.copy(tiny_bundle, path)

    monkeypatch.setattr(import_module("acclimate.server.compress.search"), "_export", export)
    x, named = scenes.frames(60, seed=5, shift=False)
    with Learner.open(tiny_bundle, store=tmp_path / "store.db", runtime="onnx") as learner:
        classes = list(Bundle(tiny_bundle).manifest.classes)
        answers = np.array([classes.index(label) for label in learner.predict(x).labels])
    y = np.array([classes.index(label) for label in named])
    y[::4] = (y[::4] + 1) % len(classes)

    def make(number: int) -> nn.Module:
        made = nn.Linear(2, 3)
        nn.init.constant_(made.weight, number)
        return made

    told: list[tuple[int, int]] = []
    report = search(
        [Candidate("a", partial(make, 1)), Candidate("b", partial(make, 2))],
        x,
        (x, y),
        Budget(max_size_mb=1e-6),
        folder=tmp_path / "new" / "folder",
        options={"taps": "last"},
        quantize_aware=lambda model: make(int(model.state_dict()["weight"][0, 0]) * 10),
        progress=lambda *done: told.append(done),
    )
    assert asked == [(q, "last", "onnx", n) for q, n in ((False, 1), (True, 10), (False, 2), (True, 20))]
    assert [path.name for path in report.paths] == ["a-float.acc", "a-int8.acc", "b-float.acc", "b-int8.acc"]
    for one, path in zip(report.models, report.paths, strict=True):
        assert one.accuracy == float((answers == y).mean()) < 0.9
        assert one.drop == 0
        assert one.size_mb == path.stat().st_size / 1e6
        assert one.latency_ms > 0
        assert one.parameters == 9
    assert report.chosen is None
    assert report.choice.impossible[0].nearest == tiny_bundle.stat().st_size / 1e6
    assert told == [(i, 4) for i in range(1, 5)]
    report.paths[2].unlink()
    with pytest.raises(OutputExistsError, match="b-int8"):
        search([Candidate("b", make)], x, (x, y), Budget(max_drop=1), folder=report.paths[0].parent)  # type: ignore[arg-type]


def test_a_full_disk_ends_a_search(
    tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the candidate, which would be left out of the table: the bundle is named, wherever it was."""
    pytest.importorskip("onnxruntime", reason="acclimate[convert] is not installed")
    full: list[str] = []

    def convert(model: nn.Module, calibration: object, *, out: Path, **options: object) -> None:
        if out.name in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        shutil.copy(tiny_bundle, out)

    def aware() -> nn.Module:
        save_checkpoint(tmp_path / "none" / "b", nn.Linear(2, 3), architecture="b")
        return nn.Linear(2, 3)

    monkeypatch.setattr("acclimate.converters.convert", convert)
    x, _ = scenes.frames(8, seed=5, shift=False)
    candidates = [Candidate("a", lambda: nn.Linear(2, 3)), Candidate("b", lambda: nn.Linear(2, 3), aware)]
    given = (candidates, x, (x, np.zeros(8, np.int64)), Budget(max_drop=100))
    full.append("b-float.acc")
    with pytest.raises(TrainingError, match=r"write a candidate to .*b-float\.acc, found that No space .* make room"):
        search(*given, folder=tmp_path / "one")
    full.clear()
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if path.name == "weights.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(TrainingError, match=r"write a checkpoint to .*none/b, found that No space"):
            search(*given, folder=tmp_path / "two")
    assert len(search(*given, folder=tmp_path / "three").models) == 4


@pytest.mark.slow
def test_pruned_and_trained_for_8_bits(tmp_path: Path) -> None:
    """Three kinds of candidates in one table; one that cannot be exported is told and does not stop the search."""

    def pruned() -> nn.Module:
        return prune(net(), SHOWN, ratio=0.5)[0]

    class Choosing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.detach().sum()) > 0 else -x

    def run(candidates: list[Candidate], folder: Path) -> SearchReport:
        return search(
            candidates,
            SHOWN.numpy(),
            (UNSEEN.numpy(), truth),
            Budget(max_drop=100),
            folder=folder,
            quantize_aware=lambda model: quantize_aware(model, torch.split(SHOWN, 16), steps=20)[0],
            options={
                "axes": ("channel", "height", "width"),
                "taps": "last",
                "float_convolutions": 0,
                "least_cosine": -1,
            },
        )

    # What the network itself answers, a fifth of it wrong: in float it is right in four of five.
    with torch.no_grad():
        truth = net()(UNSEEN).argmax(1).numpy().copy()
    truth[::5] = (truth[::5] + 1) % 4
    candidates = [
        Candidate("net", net),
        Candidate("pruned", pruned),
        Candidate("no", lambda: nn.Sequential(Choosing(), net())),
    ]
    report = run(candidates, tmp_path)
    assert report.models[0].accuracy == pytest.approx(1 - len(UNSEEN[::5]) / len(UNSEEN))
    assert [one.name for one in report.models] == ["net", "net", "pruned", "pruned"]
    assert report.models[2].parameters < report.models[0].parameters
    assert report.models[2].size_mb < report.models[0].size_mb
    assert [name for name, _ in report.failed] == ["no-float", "no-int8"]
    assert report.chosen in report.paths
    with pytest.raises(ConversionError):
        run(candidates[2:], tmp_path / "again")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Names that are no file's or occur twice, labels that do not fit, budgets without a limit."""
    x, y = UNSEEN.numpy(), np.zeros(len(UNSEEN), np.int64)
    for names in ([], ["a", "a"], ["../a"], [".a"], ["a b"]):
        with pytest.raises(InputError, match="expected candidates with different names"):
            search([Candidate(name, net) for name in names], x, (x, y), Budget(max_drop=1), folder=tmp_path)
    with pytest.raises(InputError, match="found no limit"):
        search([Candidate("a", net)], x, (x, y), Budget(), folder=tmp_path)
    with pytest.raises(InputError, match="one class each"):
        search([Candidate("a", net)], x, (x, y[:3]), Budget(max_drop=1), folder=tmp_path)
    with pytest.raises(InputError, match="max_size_mb above 0"):
        Budget(max_size_mb=0)
    with pytest.raises(InputError, match="one limit or more, found 4 and 0"):
        choose(TABLE, Budget())
    assert not list(tmp_path.iterdir())


def test_of_models_as_far_beyond_one_limit_the_one_nearer_to_the_other_is_nearest() -> None:
    """A model in float and in 8 bits lose alike; the faster one is nearer to both limits."""
    table = [measured("original", 40, 8, 0.90), measured("small", 5.1, 4, 0.86), measured("small8", 5, 1, 0.86)]
    assert choose(table, Budget(max_latency_ms=4, max_drop=1)).nearest == 2
