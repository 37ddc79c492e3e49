"""Distillation by the training loop: its steps are the ones written down, and the teacher is only asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from acclimate.errors import InputError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data
from acclimate.server.models import architecture_of
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run
from acclimate.server.training import predict_logits
from acclimate.server.training.logs import read_log
from acclimate.server.training.mixing import mix
from acclimate.server.training.settings import ObjectiveSettings

from .small_runs import CLASSES, FEATURES, InMemory, make_config, make_data, make_net, weights

pytestmark = pytest.mark.needs_torch
_HINTED = {"hints": ("1=0", "2"), "hint_weight": 0.5, "relations": "2=1", "angle_weight": 1.0}


def _distil(
    out: Path, config: PretrainConfig, teacher: nn.Module | None, *, net: nn.Module | None = None, **more: Any
) -> Run:
    arguments: dict[str, Any] = {"data": make_data(), "device": "cpu", "model": net or make_net()} | more
    return pretrain(config, out=out, teacher=teacher, **arguments)


def _config(*, objective: dict[str, Any] | None = None, **training: Any) -> PretrainConfig:
    return make_config(objective={"name": "distillation"} | (objective or {}), **training)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def test_one_step_is_the_one_computed_by_hand(tmp_path: Path) -> None:
    """The loss, its gradient in closed form, and the first step of Adam, of a linear student in float64."""
    torch.manual_seed(0)
    teacher, student = (nn.Linear(FEATURES, CLASSES).double() for _ in range(2))
    data = make_data(dtype=torch.float64)
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    objective = {"distil_temperature": 2.5, "hard_weight": 0.3}
    config = _config(
        objective=objective, epochs=1, batch_size=96, schedule="constant", weight_decay=0.0, gradient_norm=1e9
    )
    run = _distil(tmp_path / "run", config, teacher, net=student, data=data)
    x, labels = dataset.x.numpy(), np.eye(CLASSES)[dataset.y.numpy()]
    weight, bias, taught_weight, taught_bias = (
        value.detach().numpy() for value in (student.weight, student.bias, teacher.weight, teacher.bias)
    )
    own, taught = x @ weight.T + bias, x @ taught_weight.T + taught_bias
    p, q, hard = _softmax(taught / 2.5), _softmax(own / 2.5), _softmax(own)
    loss = 0.7 * 2.5**2 * (p * np.log(p / q)).sum(1).mean() - 0.3 * (labels * np.log(hard)).sum(1).mean()
    (step,) = (record for record in read_log(tmp_path / "run") if record["kind"] == "step")
    assert step["loss"] == pytest.approx(loss, rel=1e-12)
    slope = (0.7 * 2.5 * (q - p) + 0.3 * (hard - labels)) / 96
    found = run.model.state_dict()
    for name, value, gradient in (("weight", weight, slope.T @ x), ("bias", bias, slope.sum(0))):
        moved = value - 0.02 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(found[name].numpy(), moved, rtol=1e-12)


class _DiedError(Exception):
    pass


def test_a_run_cut_off_and_resumed_ends_in_the_same_weights(tmp_path: Path) -> None:
    """Bit for bit, with hints, mixup and an average; no checkpoint holds the teacher, which stays as it was."""
    teacher = make_net(seed=3).train()
    before = weights(teacher)
    config = _config(objective=_HINTED, mixup=0.4, ema=0.9, accumulation=2, run={"checkpoint_every": 4})
    data = make_data(vary=0.2)
    whole = _distil(tmp_path / "whole", config, teacher, data=data)

    def die(done: int, total: int) -> None:
        if done == 10:
            raise _DiedError

    with pytest.raises(_DiedError):
        _distil(tmp_path / "cut", config, teacher, progress=die, data=data)
    resumed = _distil(tmp_path / "cut", config, teacher, resume=True, data=data)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert torch.equal(weights(teacher), before)
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    (state,) = (tmp_path / "cut" / "checkpoints").iterdir()
    with safe_open(state / "module.safetensors", "pt") as file:
        names = set(file.keys())
    assert {name.partition(".")[0] for name in names} == {"model", "matches"}


def test_hints_and_relations_change_what_is_learnt(tmp_path: Path) -> None:
    """Each of them adds to the loss of the first step, before anything was learnt."""
    teacher = make_net(seed=3)
    found = []
    tried: list[dict[str, Any]] = [
        *({}, {"hints": ("1=0",)}, {"hints": ("1=0",), "hint_weight": 2.0}, {"relations": "2"})
    ]
    for number, objective in enumerate(tried):
        config = _config(objective=objective, epochs=1)
        _distil(tmp_path / str(number), config, teacher)
        found.append(next(r["loss"] for r in read_log(tmp_path / str(number)) if r["kind"] == "step"))
    answers, hinted, twice, related = found
    assert hinted > answers
    assert twice - answers == pytest.approx(2 * (hinted - answers), rel=1e-4)
    assert related > answers


def test_a_teacher_from_a_checkpoint_is_the_teacher_itself(tmp_path: Path) -> None:
    """The same weights as with the module; other classes, and a folder that is none, are refused before training."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n"
        "    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))\n"
    )
    code = f"{tmp_path / 'net.py'}:make"
    teacher = make_net(seed=3)
    architecture = architecture_of(ModelSettings(name=code), CLASSES, (FEATURES,))
    for name, classes in (("teacher", "abc"), ("other", "bac")):
        save_checkpoint(tmp_path / name, teacher, architecture=architecture, notes={"classes": list(classes)})
    named = _config(objective={"teacher": str(tmp_path / "teacher"), "teacher_code": code}, epochs=1)
    runs = [_distil(tmp_path / "a", named, None), _distil(tmp_path / "b", _config(epochs=1), teacher)]
    assert torch.equal(*(weights(run.model) for run in runs))
    for objective, message in (
        ({"teacher": str(tmp_path / "other"), "teacher_code": code}, "teacher of the classes a, b, c"),
        ({"teacher": str(tmp_path / "none")}, "expected a checkpoint or the folder of a run"),
        ({}, r"expected objective\.teacher"),
    ):
        with pytest.raises(InputError, match=message):
            _distil(tmp_path / "c", _config(objective=objective), None)
    with pytest.raises(TrainingError, match=r"model\.code"):
        _distil(tmp_path / "c", _config(objective={"teacher": str(tmp_path / "teacher")}), None)
    assert not (tmp_path / "c").exists()


def test_another_teacher_is_no_teacher_to_resume_with(tmp_path: Path) -> None:
    """Its weights are told from others."""
    config = _config(epochs=1)

    def die(done: int, total: int) -> None:
        if done == 5:
            raise _DiedError

    cut = replace(config, run=replace(config.run, checkpoint_every=2))
    with pytest.raises(_DiedError):
        _distil(tmp_path / "run", cut, make_net(seed=3), progress=die)
    with pytest.raises(TrainingError, match=r"teacher\.weights"):
        _distil(tmp_path / "run", config, make_net(seed=4), resume=True)


def test_what_has_no_label_is_learnt_from_the_teacher(tmp_path: Path) -> None:
    """Without any label in the training data, mixed or not, the student comes to answer as the teacher does."""
    data = make_data(validation=0)
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    dataset.y[:] = -1
    unlabelled = np.full(len(dataset), -1)
    data = Data(replace(data.train, labels=unlabelled), None, data.classes, data.shape, data.source, data.tasks)
    teacher = make_net(seed=3, plain=True)
    for mixup in (0.0, 0.2):
        config = _config(objective={"hard_weight": 0.5}, epochs=30, mixup=mixup)
        run = _distil(tmp_path / str(mixup), config, teacher, net=make_net(plain=True), data=data)
        answers = [predict_logits(model, dataset.x).argmax(1) for model in (teacher, run.model)]
        assert float((answers[0] == answers[1]).double().mean()) > 0.85


def test_what_has_no_label_has_no_target_when_mixed() -> None:
    """A row of zeros, whatever it is blended with has its own share alone."""
    torch.manual_seed(0)
    _, targets = mix(torch.rand(4, 2), torch.full((4,), -1), 3, mixup=0.5, cutmix=0.0)
    assert not targets.any()


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A teacher for another objective, with other outputs or inputs; several tasks; places that are none."""
    with pytest.raises(InputError, match="with the objective distillation, found them with supervised"):
        ObjectiveSettings(teacher="folder")
    with pytest.raises(InputError, match="teacher with the objective distillation alone"):
        _distil(tmp_path / "run", make_config(), make_net())
    with pytest.raises(InputError, match="teacher with 3 outputs"):
        _distil(tmp_path / "run", _config(), make_net(outputs=4))
    with pytest.raises(InputError, match=r"teacher that takes samples of shape \(6,\)"):
        _distil(tmp_path / "run", _config(), nn.Linear(FEATURES + 1, CLASSES))
    with pytest.raises(InputError, match="one task for the objective distillation"):
        _distil(tmp_path / "run", _config(), make_net(), data=make_data(tasks=2), net=make_net(outputs=6))
    with pytest.raises(InputError, match="name of a module"):
        _distil(tmp_path / "run", _config(objective={"hints": ("body",)}), make_net())
    assert not (tmp_path / "run").exists()
