"""Settings that change nothing are told, each with its reason; those that do are not."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

from acclimate.server.config.no_effect import RULES, Circumstances, told_in_vain
from acclimate.server.config.read import config_of, sections
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.load import form_of
from acclimate.server.pretrain import pretrain

from .small_runs import make_config, make_data, make_net

pytestmark = pytest.mark.needs_torch


def vain(around: Circumstances, **given: dict[str, Any]) -> dict[str, str]:
    """Return the reasons by setting, of settings as they would stand in a file."""
    plain = {"model": {"name": "x:y"}, "data": {"train": "data.npz"}, **given}
    plain["model"] = {"name": "x:y", **plain["model"]}
    plain["data"] = {"train": "data.npz", **plain["data"]}
    found = (sentence.partition(" has no effect: ") for sentence in told_in_vain(config_of(plain), around))
    return {name: reason for name, _, reason in found}


def test_every_rule_is_of_settings_that_exist() -> None:
    """No name of a rule is out of date, and no section has a setting in the rules that it lacks."""
    known = {f"{name}.{field.name}" for name, kind in sections().items() for field in dataclasses.fields(kind)}
    for names, _ in RULES:
        assert set(names.split()) <= known, names


@pytest.mark.parametrize("form", ["image", "sound", "series", "table", "tensor", "shards", None])
def test_defaults_are_never_told(form: str | None) -> None:
    """What nobody set is nobody's mistake."""
    assert vain(Circumstances(form=form, validated=False, own_data=True, own_model=True)) == {}


@pytest.mark.parametrize(
    ("form", "given", "names"),
    [
        ("tensor", {"data": {"size": [8, 8], "mean": [0.5], "standardise": False}}, "size mean standardise"),
        ("table", {"data": {"size": [8, 8], "channels": 1, "standardise": False}}, "size channels"),
        ("image", {"data": {"size": [8, 8], "mean": [0.5], "seconds": 2.0, "window": 5}}, "seconds window"),
        ("sound", {"data": {"mean": [0.5], "seconds": 2.0, "size": [8, 8], "standardise": False}}, "size standardise"),
        ("series", {"data": {"window": 8, "stride": 2, "mels": 8}}, "mels"),
        ("series", {"data": {"stride": 2}}, "stride"),
        ("shards", {"data": {"samples": 8, "size": [8, 8], "group": "who"}}, "group"),
        ("image", {"data": {"samples": 8, "shuffle": 9}}, "samples shuffle"),
        (None, {"data": {"size": [8, 8], "seconds": 2.0}}, ""),
        ("image", {"data": {"erase": 0.5, "shift": 0.2, "augment": ["erase"]}}, "shift"),
        ("sound", {"data": {"noise": 0.5, "masks": [0.1, 0.1], "augment": ["noise"]}}, "masks"),
        ("table", {"data": {"jitter": 0.5, "scale": 0.2, "augment": ["jitter"]}}, "scale"),
        ("table", {"data": {"validation": "v.npz", "validation_share": 0.3}}, "validation_share"),
        ("table", {"data": {"features": ["a"], "root": "r"}}, "features root"),
        ("table", {"data": {"train": "a.csv", "features": ["a"], "root": "r"}}, "root"),
        ("table", {"training": {"warmup": 0.1}}, "warmup"),
        ("table", {"training": {"warmup": 0.1, "schedule": "cosine"}}, ""),
        (
            "table",
            {"objective": {"temperature": 0.1, "redundancy": 0.1, "hidden": 9, "combine": "equal"}},
            "combine hidden temperature redundancy",
        ),
        ("image", {"objective": {"name": "simclr", "temperature": 0.1, "redundancy": 0.1, "hidden": 9}}, "redundancy"),
        (
            "image",
            {"objective": {"name": "simclr"}, "training": {"mixup": 0.2, "patience": 3, "label_smoothing": 0.0}},
            "mixup patience label_smoothing",
        ),
        ("table", {"objective": {"name": "multi-task", "combine": "equal"}, "training": {"cutmix": 1.0}}, "cutmix"),
        ("table", {"model": {"code": "net.py:make"}}, "code"),
        (
            "table",
            {"data": {"target": "t.npz", "domain": "d"}, "objective": {"layers": ["1"], "guard": False}},
            "target domain layers guard",
        ),
        (
            "table",
            {
                "data": {"target": "t.npz"},
                "objective": {"name": "dan", "target_batch": 9, "domain_units": 9},
                "training": {"mixup": 0.2, "patience": 3},
            },
            "domain_units mixup patience",
        ),
        (
            "table",
            {"data": {"target": "t.npz"}, "objective": {"name": "jan", "adaptation_weight": 0.0, "target_batch": 9}},
            "target target_batch",
        ),
        (
            "table",
            {"data": {"target": "t.npz", "target_validation": "v.npz"}, "objective": {"name": "jan", "guard": False}},
            "target_validation",
        ),
    ],
)
def test_what_changes_nothing_is_told(form: str | None, given: dict[str, dict[str, Any]], names: str) -> None:
    """By name; the settings beside it that do change something are not."""
    assert sorted(name.partition(".")[2] for name in vain(Circumstances(form=form), **given)) == sorted(names.split())


def test_the_reason_is_that_of_the_circumstances(tmp_path: Path) -> None:
    """Data or model handed over, no validation samples, a folder of images, a checkpoint with weights of its own."""
    assert vain(Circumstances(own_data=True), data={"size": [8, 8]}) == {"data.size": "the data was handed over."}
    assert vain(Circumstances(own_model=True), model={"seed": 3}) == {"model.seed": "the model was handed over."}
    found = vain(Circumstances(validated=False), training={"patience": 3, "monitor": "loss"})
    assert found == dict.fromkeys(("training.patience", "training.monitor"), "there are no validation samples.")
    folder = {"train": str(tmp_path), "labels": ["x"], "group": "who"}
    assert set(vain(Circumstances(form="image"), data=folder)) == {"data.labels", "data.group"}
    (tmp_path / "checkpoint.json").write_text("{}")
    found = vain(Circumstances(), model={"name": str(tmp_path), "weights": "w.pth", "code": "net.py:make"})
    assert found == {"model.weights": "model.name is a checkpoint, which has its own."}


@pytest.mark.parametrize(
    ("shape", "dtype", "form"),
    [
        ((20, 5), np.float32, "table"),
        ((20, 6, 2), np.float32, "series"),
        ((20, 3, 4, 4), np.float32, "tensor"),
        ((20, 4, 4, 3), np.uint8, "image"),
    ],
)
def test_what_samples_are_is_known_of_data_that_was_loaded(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, form: str
) -> None:
    """By how they are prepared; of data from elsewhere nothing is known."""
    np.savez(tmp_path / "x.npz", x=np.arange(np.prod(shape)).reshape(shape).astype(dtype), y=np.arange(20) % 2)
    assert form_of(load_data(DataSettings(train=str(tmp_path / "x.npz")), seed=0)) == form
    assert form_of(make_data()) is None


def test_a_run_tells_them_before_it_trains(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As warnings of the log; and blending changes nothing indeed where no labels are learnt."""
    objective = {"name": "simclr", "hidden": 8, "projection": 4}

    def go(name: str, **training: Any) -> Any:
        config = make_config(objective=objective, epochs=1, **training)
        return pretrain(config, out=tmp_path / name, data=make_data(vary=0.2), model=make_net(), device="cpu")

    plain = go("plain").model.state_dict()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        blended = go("blended", mixup=0.4).model.state_dict()
    assert [record.message for record in caplog.records] == [
        "training.mixup has no effect: the objective learns without labels."
    ]
    assert all((plain[name] == blended[name]).all() for name in plain)
