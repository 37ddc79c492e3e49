"""Adaptation without labels by the training loop: what it adds up, what it never looks at, and what the guard keeps."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.errors import InputError, TrainingError
from acclimate.server import work
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, Split, load_data
from acclimate.server.data.samples import Samples
from acclimate.server.objectives.adaptation import Adapted
from acclimate.server.objectives.make import make_objective
from acclimate.server.objectives.supervised import Supervised
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run
from acclimate.server.run_report.folder import read_run
from acclimate.server.run_report.page import page_of
from acclimate.server.training.batches import Batches
from acclimate.server.training.logs import read_log
from acclimate.server.training.paired import PairedBatches
from acclimate.server.training.settings import ADAPTATION, ObjectiveSettings
from acclimate.server.transfer import guarded
from acclimate.server.transfer.adversarial import domain_loss, ramp
from acclimate.server.transfer.coral_loss import coral_loss
from acclimate.server.transfer.discrepancy import MultiKernelMMD
from acclimate.server.transfer.guard import Verdict
from acclimate.server.transfer.joint import JointMMD

from .small_runs import FEATURES, InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch
# The package has a function of that name.


def make_pair(*, shift: float = 0.5, validation: int = 45, dtype: torch.dtype = torch.float32) -> Data:
    """Return the clusters, and 70 samples of them that are shifted, without labels."""
    data = make_data(validation=validation, vary=0.2, dtype=dtype)
    other = make_data(train=70, validation=0, dtype=dtype).train
    assert isinstance(other.dataset, InMemory)
    samples = InMemory(other.dataset.x + shift, torch.full((70,), -1), 0.2)
    return replace(data, target=Split(samples, np.full(70, -1), [f"target {i}" for i in range(70)], None))


def config_of(name: str, *, objective: dict[str, Any] | None = None, **training: Any) -> PretrainConfig:
    """Return settings of a short run without the guard."""
    return make_config(objective={"name": name, "guard": False} | (objective or {}), **training)


def objective_of(name: str, net: nn.Module, **more: Any) -> Adapted:
    """Return the module that trains a network, in float64."""
    sources = more.pop("sources", 1)
    settings = ObjectiveSettings(name=name, domain_units=8, **more)
    made = make_objective(net, settings, (3,), head="auto", shape=(FEATURES,), sources=sources)
    assert isinstance(made, Adapted)
    return made


def batch(n: int = 9, m: int = 6, *, sources: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, labels and domains of a batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n + m, FEATURES, generator=generator, dtype=torch.float64)
    return x, torch.arange(n) % 3, torch.cat([torch.arange(n) % sources + 1, torch.zeros(m, dtype=torch.int64)])


@pytest.mark.parametrize("name", ADAPTATION)
def test_the_loss_is_the_one_written_down(name: str) -> None:
    """Cross-entropy of the source, plus weight times ramp times the distance of what the last linear layer takes.

    With dan that of the answers' probabilities is added, with jan they are part of it.
    """
    net = make_net(plain=True).double()
    objective = objective_of(name, net, adaptation_weight=2.5)
    x, labels, domains = batch()
    (found,) = objective(x, (labels, domains, torch.tensor([0.3])))
    features, logits = net[:2](x), net(x)
    own, others = features[:9], features[9:]
    shares = logits.softmax(1)
    ways: dict[str, Callable[[], Tensor | None]] = {
        "dan": lambda: MultiKernelMMD()(own, others) + MultiKernelMMD()(shares[:9], shares[9:]),
        "jan": lambda: JointMMD()([own, shares[:9]], [others, shares[9:]]),
        "deep-coral": lambda: coral_loss(own, others),
        # The features' part is in its gradient.
        "dann": lambda: domain_loss(objective.domain(features), domains) if objective.domain else None,
    }
    distance = ways[name]()
    assert distance is not None
    weight = 1.0 if name == "dann" else 2.5 * ramp(torch.tensor(0.3))
    expected = functional.cross_entropy(logits[:9], labels) + weight * distance
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    if name == "dann":
        first = next(net.parameters())
        (gradient,) = torch.autograd.grad(found, first, retain_graph=True)
        parts = (functional.cross_entropy(logits[:9], labels), distance)
        plain = [torch.autograd.grad(part, first, retain_graph=True)[0] for part in parts]
        torch.testing.assert_close(gradient, plain[0] - 2.5 * ramp(torch.tensor(0.3)) * plain[1], rtol=1e-6, atol=1e-9)


def test_each_source_is_aligned_by_itself() -> None:
    """Three sources: the mean of their distances from the target; one with a single sample in a batch has no part."""
    net = make_net(plain=True).double()
    objective = objective_of("dan", net, sources=3)
    x, labels, domains = batch(9, 6, sources=3)
    layers = net[:2](x), net(x).softmax(1)

    def distance(chosen: Tensor) -> Tensor:
        return torch.stack([MultiKernelMMD()(layer[:9][chosen], layer[9:]) for layer in layers]).sum()

    distances = [distance(domains[:9] == one) for one in (1, 2, 3)]
    loss = functional.cross_entropy(net(x)[:9], labels)
    share = torch.tensor([1.0])
    weight = ramp(share[0])
    (found,) = objective(x, (labels, domains, share))
    torch.testing.assert_close(found, loss + weight * torch.stack(distances).mean(), rtol=1e-6, atol=0)
    few = torch.cat([torch.tensor([1, 1, 1, 1, 2, 2, 2, 2, 3]), domains[9:]])
    two = [distance(few[:9] == one) for one in (1, 2)]
    (found,) = objective(x, (labels, few, share))
    torch.testing.assert_close(found, loss + weight * torch.stack(two).mean(), rtol=1e-6, atol=0)


def test_named_layers_are_aligned_instead() -> None:
    """The sum over modules that settings name, by result or input; what is none is refused."""
    net = make_net(plain=True).double()
    objective = objective_of("deep-coral", net, layers=("0", "2:input"), adaptation_weight=1.0)
    x, labels, domains = batch()
    (found,) = objective(x, (labels, domains, torch.tensor([1.0])))
    distances = [coral_loss(part(x)[:9], part(x)[9:]) for part in (net[0], net[:2])]
    expected = functional.cross_entropy(net(x)[:9], labels) + ramp(torch.tensor(1.0)) * sum(distances)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    with pytest.raises(InputError, match="name of a module"):
        objective_of("dan", net, layers=("nowhere",))


@pytest.mark.parametrize("name", ADAPTATION)
def test_weight_0_is_the_source_alone_bit_for_bit(tmp_path: Path, name: str) -> None:
    """A whole run with BatchNorm, dropout, accumulation and an average: the weights of the supervised objective."""
    training: dict[str, Any] = {"ema": 0.9, "accumulation": 2, "monitor": "last"}
    alone = run_small(tmp_path / "alone", make_config(**training), data=make_pair())
    none = config_of(name, objective={"adaptation_weight": 0.0}, **training)
    run = run_small(tmp_path / "none", none, data=make_pair())
    assert torch.equal(weights(run.model), weights(alone.model))
    some = run_small(tmp_path / "some", config_of(name, **training), data=make_pair())
    assert not torch.equal(weights(some.model), weights(alone.model))


def test_with_weight_0_the_target_does_not_even_pass_through_the_model() -> None:
    """It would change BatchNorm's statistics: loss and statistics are those of the source's rows alone."""
    nets = [make_net().double(), make_net().double()]
    x, labels, domains = batch()
    found = []
    for net, objective in (
        (nets[0], objective_of("dann", nets[0], adaptation_weight=0.0)),
        (nets[1], Supervised(nets[1], 3)),
    ):
        torch.manual_seed(0)
        net.train()
        given = (x, (labels, domains, torch.tensor([0.5]))) if isinstance(objective, Adapted) else (x[:9], labels)
        found.append(objective(*given))
    assert torch.equal(found[0], found[1])
    assert torch.equal(weights(nets[0]), weights(nets[1]))


class _DiedError(Exception):
    pass


def _die_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise _DiedError

    return progress


@pytest.mark.parametrize("name", ADAPTATION)
def test_a_run_cut_off_and_resumed_ends_in_the_same_weights(tmp_path: Path, name: str) -> None:
    """Bit for bit, with a target of another batch size that varies, accumulation and an average."""
    config = config_of(
        name, objective={"target_batch": 20}, ema=0.9, accumulation=2, run={"checkpoint_every": 4}, epochs=3
    )
    whole = run_small(tmp_path / "whole", config, data=make_pair())
    with pytest.raises(_DiedError):
        run_small(tmp_path / "cut", config, data=make_pair(), progress=_die_at(10))
    resumed = run_small(tmp_path / "cut", config, data=make_pair(), resume=True)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    logs = [[r["loss"] for r in read_log(tmp_path / folder) if r["kind"] == "epoch"] for folder in ("whole", "cut")]
    assert logs[0] == logs[1]
    other = replace(make_pair(), target=make_data(train=60).train)
    with pytest.raises(TrainingError, match="target samples"):
        run_small(tmp_path / "cut", config, data=other, resume=True)


def test_the_shorter_stream_is_cycled_and_its_place_follows_from_the_step() -> None:
    """Each target sample once in each of its own epochs, varied anew; an epoch begun later gives the same batches."""
    data = make_pair()
    assert data.target is not None
    source = Batches(data.train.dataset, 96, 16, parts=2, seed=1)
    target = Batches(data.target.dataset, 70, 10, parts=2, seed=2)
    batches = PairedBatches(source, target, total=12, names=data.target.names)
    steps = [step for epoch in (0, 1) for step in batches.epoch(epoch)]
    assert len(steps) == 12
    keys = [[key for part in step for key in part[2][8:]] for step in steps]
    first = [key for step in keys[:7] for key in step]
    assert sorted(first) == sorted(f"target {i}" for i in range(70))
    assert set(keys[7]) <= set(first)
    x, (labels, domains, share), _ = steps[9][1]
    assert (x.shape, labels.shape, domains.tolist()) == ((13, FEATURES), (8,), [1] * 8 + [0] * 5)
    assert float(share) == pytest.approx(9 / 12)
    again = list(batches.epoch(1, 3))
    for own, other in zip(steps[9:], again, strict=True):
        for part, twin in zip(own, other, strict=True):
            assert torch.equal(part[0], twin[0])
            assert part[2] == twin[2]
    varied = {key: part[0][8 + i] for part in steps[0] for i, key in enumerate(part[2][8:])}
    later = [(key, part[0][8 + i]) for step in steps[7:] for part in step for i, key in enumerate(part[2][8:])]
    assert any(key in varied and not torch.equal(varied[key], x) for key, x in later)


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_labels_of_the_target_are_never_read(tmp_path: Path, form: str) -> None:
    """Poisoned ones, and none at all, end in the same weights: NaN, and names that are no class."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(60, FEATURES)).astype(np.float32), np.arange(60) % 3
    poison = np.where(np.arange(60) % 2, np.nan, 1e30) if form == "npz" else np.array(["never"] * 60)
    found: list[Tensor] = []
    for labels in (None, poison, draws.permutation(y)):
        for name, own, rows in (("train", y, x), ("target", labels, x + 1)):
            if form == "npz":
                arrays: dict[str, Any] = {"x": rows} if own is None else {"x": rows, "y": own}
                np.savez(tmp_path / f"{name}.npz", **arrays)
                continue
            columns = {} if own is None else {"label": own.tolist()}
            columns |= {f"f{i}": rows[:, i].tolist() for i in range(FEATURES)}
            lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
            (tmp_path / f"{name}.csv").write_text("\n".join(lines))
        train, target = (str(tmp_path / f"{name}.{form}") for name in ("train", "target"))
        data = load_data(DataSettings(train=train, target=target, augment=("jitter",)), seed=0)
        assert data.target is not None
        assert isinstance(data.target.dataset, Samples)
        assert set(data.target.dataset.labels.tolist()) == {-1}
        run = run_small(tmp_path / f"run {len(found)}", config_of("dann"), data=data)
        found.append(weights(run.model))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_target_is_prepared_as_the_source(tmp_path: Path) -> None:
    """Columns by name in any order, brought to the source's mean and deviation, varied by draws of their own."""
    rows = np.random.default_rng(0).normal(3, 2, (40, 2))
    lines = [f"{a},{b},{'ab'[i % 2]},{'xy'[i % 2]}" for i, (a, b) in enumerate(rows)]
    (tmp_path / "s.csv").write_text("\n".join(["first,second,label,where", *lines]))
    (tmp_path / "t.csv").write_text("\n".join(["second,first", *(f"{b},{a}" for a, b in rows)]))
    settings = DataSettings(
        train=str(tmp_path / "s.csv"), target=str(tmp_path / "t.csv"), validation_share=0.0, domain="where"
    )
    data = load_data(settings, seed=0)
    assert data.target is not None
    for row in range(40):
        torch.testing.assert_close(data.target.dataset[row][0], data.train.dataset[row][0])
    assert data.train.domains is not None
    assert list(data.train.domains)[:3] == ["x", "y", "x"]
    varied = load_data(replace(settings, augment=("jitter",)), seed=0)
    assert varied.target is not None
    assert not torch.equal(varied.target.dataset[0][0], varied.train.dataset[0][0])


def guarded_run(out: Path, name: str = "dan", **more: Any) -> Run:
    """Train with the guard."""
    data = more.pop("data", None) or make_pair()
    return run_small(out, make_config(objective={"name": name}, epochs=2), data=data, **more)


@pytest.mark.parametrize("kept", [True, False])
def test_the_guard_keeps_the_model_that_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kept: bool
) -> None:
    """Refused, the weights are those of a run on the source alone, and a warning says so; the other's stay beside."""
    plain = run_small(
        tmp_path / "plain", config_of("dan", objective={"adaptation_weight": 0.0}, epochs=2), data=make_pair()
    )
    adapted = run_small(tmp_path / "adapted", config_of("dan", epochs=2), data=make_pair())
    monkeypatch.setattr(guarded, "judge_adaptation", lambda *_, **__: Verdict(kept, "a reason", {"a": 1.0}))
    run = guarded_run(tmp_path / "run")
    chosen = adapted if kept else plain
    assert torch.equal(weights(run.model), weights(chosen.model))
    assert run.metrics == chosen.metrics
    assert run.verdict == Verdict(kept, "a reason", {"a": 1.0})
    assert json.loads((tmp_path / "run" / "adaptation.json").read_text())["kept"] is kept
    assert (tmp_path / "run" / "adapted").is_dir() is not kept
    assert ("was refused" in caplog.text) is not kept
    monkeypatch.setattr(guarded, "judge_adaptation", None)
    again = guarded_run(tmp_path / "run", resume=True)
    assert torch.equal(weights(again.model), weights(chosen.model))
    assert again.verdict == run.verdict


@pytest.mark.parametrize("place", ["adapting", "beside", "judging", "copying", "removing"])
def test_a_guarded_run_cut_off_anywhere_ends_in_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """While it adapts, trains beside, judges, or puts the other model into place."""
    verdict = Verdict(False, "a reason", {})
    monkeypatch.setattr(guarded, "judge_adaptation", lambda *_, **__: verdict)
    whole = guarded_run(tmp_path / "whole")

    def die(*_: object, **__: object) -> None:
        raise _DiedError

    def dies_beside(settings: PretrainConfig) -> PretrainConfig:
        monkeypatch.setattr("acclimate.server.training.loop.store", die)
        return guarded.source_only(settings)

    target = {"judging": "judge_adaptation", "copying": "new_folder", "removing": "remove_folder"}.get(place)
    progress = _die_at(8) if place == "adapting" else None
    if target is not None:
        monkeypatch.setattr(guarded, target, die)
    elif place == "beside":
        monkeypatch.setattr(work, "source_only", dies_beside)
    with pytest.raises(_DiedError):
        guarded_run(tmp_path / "cut", progress=progress)
    monkeypatch.undo()
    monkeypatch.setattr(guarded, "judge_adaptation", lambda *_, **__: verdict)
    run = guarded_run(tmp_path / "cut", resume=True)
    assert run.verdict == verdict
    assert torch.equal(weights(run.model), weights(whole.model))
    assert (tmp_path / "cut" / "adapted").is_dir()


def test_the_model_that_a_killed_process_had_removed_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between removing the refused model and giving the other its place, there is none; to resume makes it."""
    monkeypatch.setattr(guarded, "judge_adaptation", lambda *_, **__: Verdict(False, "a reason", {}))
    whole = guarded_run(tmp_path / "run")
    (tmp_path / "run" / "model").rename(tmp_path / "gone")
    run = guarded_run(tmp_path / "run", resume=True)
    assert torch.equal(weights(run.model), weights(whole.model))


def test_labelled_samples_of_the_target_decide_where_there_are_some(tmp_path: Path) -> None:
    """The adapted model is kept if it is right on as many of them, and the scores say on how many."""
    data = make_pair()
    held = make_data(train=30, validation=0).train
    run = guarded_run(tmp_path / "run", data=replace(data, target_validation=held))
    assert run.verdict is not None
    before, after = (run.verdict.scores[f"{name}_accuracy"] for name in ("source_only", "adapted"))
    assert run.verdict.kept is (after >= before)
    assert "30 labelled samples" in run.verdict.reason


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """No target; a target of another shape or form; shards; several tasks; domains that nothing tells."""
    with pytest.raises(InputError, match=r"data\.target"):
        run_small(tmp_path / "run", config_of("dan"))
    with pytest.raises(InputError, match="one task for the objective dan"):
        run_small(tmp_path / "run", config_of("dan"), data=make_data(tasks=2), net=make_net(outputs=6))
    with pytest.raises(InputError, match="one number or more"):
        ObjectiveSettings(name="dan", bandwidths=())
    for name, x in (("s", np.zeros((6, 4), np.float32)), ("t", np.zeros((6, 5), np.float32))):
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(6) % 2)
    np.savez(tmp_path / "i.npz", x=np.zeros((6, 4, 4), np.uint8))
    train = str(tmp_path / "s.npz")
    for target, message in (("t.npz", r"shape \(4,\) in the target"), ("i.npz", r"like the training data \(table\)")):
        with pytest.raises(InputError, match=message):
            load_data(DataSettings(train=train, target=str(tmp_path / target)), seed=0)
    with pytest.raises(InputError, match="a shard at t-0"):
        load_data(DataSettings(train=train, target="t-{0..1}.tar"), seed=0)
    for held, message in (("h", "labelled samples as data.target_validation"), ("g", "finite numbers")):
        x = np.full((6, 4), 0 if held == "h" else np.nan, np.float32)
        np.savez(tmp_path / f"{held}.npz", x=x, y=np.full(6, -1))
        with pytest.raises(InputError, match=message):
            load_data(DataSettings(train=train, target=train, target_validation=str(tmp_path / f"{held}.npz")), seed=0)
    config = config_of("dan")
    unlabelled = replace(make_pair(), target_validation=make_pair().target)
    with pytest.raises(InputError, match=r"expected labelled samples as data\.target_validation"):
        run_small(tmp_path / "run", make_config(objective={"name": "dan"}), data=unlabelled)
    named = replace(config, data=replace(config.data, domain="where"))
    with pytest.raises(InputError, match=r"data\.domain"):
        run_small(tmp_path / "run", named, data=make_pair())


@pytest.mark.parametrize(
    ("training", "target_batch", "message"),
    [
        ({"batch_size": 1}, None, r"found 1\. Set training\.batch_size to 2 or more"),
        ({"batch_size": 2, "accumulation": 2}, None, r"found 1\. Set training\.batch_size to 4 or more"),
        ({"accumulation": 2}, 3, r"objective\.target_batch as a multiple of 2.*found 3\. Set it to 4"),
        ({"accumulation": 2}, 2, r"objective\.target_batch as a multiple of 2.*found 2\. Set it to 4"),
        ({"batch_size": 72, "accumulation": 36}, None, "expected 72 target samples or more.*found 70"),
    ],
)
def test_sides_of_a_single_sample_are_refused(
    tmp_path: Path, training: dict[str, Any], target_batch: int | None, message: str
) -> None:
    """They have no spread: nothing would be aligned, and the run be one on the source alone without a word."""
    config = config_of("dann", objective={"target_batch": target_batch}, **training)
    with pytest.raises(InputError, match=message):
        run_small(tmp_path / "run", config, data=make_pair(), net=make_net(plain=True))


def test_a_model_without_a_linear_layer_is_aligned_where_settings_say(tmp_path: Path) -> None:
    """Its features are nowhere by themselves: the message says which setting names them."""
    net = nn.Sequential(nn.Unflatten(1, (FEATURES, 1)), nn.Conv1d(FEATURES, 3, 1), nn.Flatten())
    with pytest.raises(InputError, match=r"Name modules as objective\.layers"):
        run_small(tmp_path / "run", config_of("dan"), data=make_pair(), net=net)
    run = run_small(
        tmp_path / "run", config_of("dan", objective={"layers": ("0",)}, epochs=1), data=make_pair(), net=net
    )
    assert run.steps


def test_a_target_is_checked_before_training_and_known_by_its_content(tmp_path: Path) -> None:
    """A target image that cannot be read is told at once; with other pixels under the same names no run is resumed."""
    Image = pytest.importorskip("PIL.Image")
    draws = np.random.default_rng(0)
    for folder, labels in (("source", ("a", "b")), ("target", ("x",))):
        for label in labels:
            (tmp_path / folder / label).mkdir(parents=True)
            for i in range(8):
                pixels = draws.integers(0, 256, (6, 6, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / label / f"{i}.png")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make() -> nn.Module:\n    return nn.Sequential("
        "nn.Flatten(), nn.Linear(108, 2))\n"
    )
    config = config_of("dan", epochs=1, batch_size=4)
    own = replace(config.data, train=str(tmp_path / "source"), target=str(tmp_path / "target"), size=(6, 6))
    config = replace(config, model=ModelSettings(name=f"{tmp_path / 'net.py'}:make"), data=own)
    pretrain(config, out=tmp_path / "run", device="cpu")
    pretrain(config, out=tmp_path / "run", resume=True, device="cpu")
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "target" / "x" / "3.png")
    with pytest.raises(TrainingError, match="other contents of the target samples"):
        pretrain(config, out=tmp_path / "run", resume=True, device="cpu")
    (tmp_path / "target" / "x" / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png"):
        pretrain(config, out=tmp_path / "other", device="cpu")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kept", [True, False])
def test_the_page_of_a_run_tells_what_the_guard_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Its reason and the scores of both models; where the adapted one is refused, whose scores the page has."""
    scores = {"source_only_way_back": 0.625, "adapted_way_back": 0.5}
    monkeypatch.setattr(guarded, "judge_adaptation", lambda *_, **__: Verdict(kept, "A reason.", scores))
    config = make_config(objective={"name": "dan"}, epochs=1, run={"report": True})
    run = run_small(tmp_path / "run", config, data=make_pair())
    text = (tmp_path / "run" / "report.html").read_text("utf-8")
    for told in ("A reason.", "62.5%", "50.0%", "Validation samples are of the source", f"{run.metrics[0].loss:.4f}"):
        assert told in text
    assert ("was refused" in text) is not kept
    (tmp_path / "run" / "adaptation.json").write_text("{broken")
    assert page_of(read_run(tmp_path / "run")).provenance[-1][0] == "not read"
