"""Resuming where it cannot go well: other people's folders, other data, files that somebody removed or changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import OutputExistsError, TrainingError
from acclimate.server.config.read import as_json, as_toml, config_of
from acclimate.server.data import Data, load_data
from acclimate.server.pretrain import pretrain
from acclimate.server.training.position import check_config
from acclimate.server.training.state import save_state

from .data_files import noise_image, write_image, write_image_folder
from .small_runs import make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


def _stop(folder: Path, at: int, **given: Any) -> None:
    """Leave a run in the middle."""

    def stop(done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(folder, progress=stop, **given)


def _tree(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def test_a_folder_of_somebody_else_is_refused_and_stays(tmp_path: Path) -> None:
    """Settings of one's own, a film that is still being loaded, a folder named model: nothing of it is touched."""
    (tmp_path / "config.toml").write_text("# mine\n" + as_toml(make_config()))
    (tmp_path / ".film.part").mkdir()
    (tmp_path / ".film.part" / "half").write_text("half")
    (tmp_path / "model").mkdir()
    (tmp_path / "checkpoints").mkdir()
    before = _tree(tmp_path)
    with pytest.raises(OutputExistsError, match=r"or one of a run to resume, found .* Choose another one"):
        run_small(tmp_path, resume=True)
    assert _tree(tmp_path) == before


def test_a_run_killed_before_its_first_checkpoint_is_resumed(tmp_path: Path) -> None:
    """With settings alone, changed by hand beside the log, or with no more than half of its first file."""
    _stop(tmp_path / "a", 1)
    (tmp_path / "a" / "log.jsonl").unlink()
    assert run_small(tmp_path / "a", resume=True).steps == 18
    _stop(tmp_path / "b", 1)
    (tmp_path / "b" / "config.toml").write_text(as_toml(make_config(epochs=2)))
    assert run_small(tmp_path / "b", resume=True).steps == 18
    (tmp_path / "c" / ".config.toml.abcd1234.part").mkdir(parents=True)
    assert run_small(tmp_path / "c", resume=True).steps == 18


def test_best_weights_of_a_lost_attempt_are_dropped(tmp_path: Path) -> None:
    """At a rate too small to get better, newer ones that the checkpoint does not know are not taken for the best."""
    config = make_config(epochs=2, learning_rate=1e-12)
    _stop(tmp_path, 8, config=config, net=make_net(plain=True))
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-000000006"]
    shutil.copytree(tmp_path / "best-000000006", tmp_path / "best-000000999")
    notes = tmp_path / "best-000000999" / "checkpoint.json"
    notes.write_text(notes.read_text().replace('"step": 6', '"step": 999'))
    assert run_small(tmp_path, config, net=make_net(plain=True), resume=True).best_step == 6
    assert list(tmp_path.glob("best-*")) == []


@pytest.mark.parametrize(("checkpoints", "known"), [(1, ["best-000000012"]), (3, ["best-000000006", "best-000000012"])])
def test_best_weights_that_no_checkpoint_knows_are_dropped(tmp_path: Path, checkpoints: int, known: list[str]) -> None:
    """Killed before it had removed them, a run leaves earlier ones, too: resumed, it keeps those that are noted."""
    config = make_config(epochs=3, learning_rate=0.002, run={"keep_last": checkpoints})
    _stop(tmp_path, 14, config=config)
    assert [path.name for path in sorted(tmp_path.glob("best-*"))] == ["best-000000006", "best-000000012"]
    shutil.copytree(tmp_path / "best-000000006", tmp_path / "best-000000003")
    _stop(tmp_path, 13, config=config, resume=True)
    # One may go back to the checkpoint of step 6 while it is there.
    assert [path.name for path in sorted(tmp_path.glob("best-*"))] == known


def test_best_weights_stay_until_a_checkpoint_knows_better_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after better weights were kept and before the checkpoint that knows them: the earlier ones are there."""
    config = make_config(learning_rate=0.002)
    count = 0

    def dying(*given: Any, **named: Any) -> Path:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return save_state(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("acclimate.server.training.position.save_state", dying)
        with pytest.raises(KeyboardInterrupt):
            run_small(tmp_path / "run", config)
    assert sorted(path.name for path in (tmp_path / "run").glob("best-*")) == ["best-000000006", "best-000000012"]
    resumed = run_small(tmp_path / "run", config, resume=True)
    assert torch.equal(weights(resumed.model), weights(run_small(tmp_path / "whole", config).model))


def _other_labels(data: Data) -> Data:
    assert data.train.labels is not None
    return replace(data, train=replace(data.train, labels=data.train.labels[::-1].copy()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: make_data(90),
            "found 90 training samples instead of 96.* Resume with the same settings and data",
        ),
        (_other_labels, "found other labels of the training samples. Resume"),
        (lambda data: replace(data, validation=make_data(60, 42).validation), "found 42 validation samples instead of"),
        (lambda data: replace(data, validation=None), "found no validation samples instead of 45. Resume"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, change: Callable[[Data], Data], message: str) -> None:
    """Fewer samples, other labels, another validation part or none: told by name, and nothing is dropped."""
    _stop(tmp_path, 8)
    before = _tree(tmp_path)
    with pytest.raises(TrainingError, match=message):
        run_small(tmp_path, data=change(make_data()), resume=True)
    assert _tree(tmp_path) == before


def test_everything_that_differs_is_told_at_once(tmp_path: Path) -> None:
    """Settings with both values, but those of [run], and the data; of a run in the middle and of one that ended."""
    _stop(tmp_path / "cut", 8)
    run_small(tmp_path / "ended")
    other = make_config(epochs=5, patience=2, run={"log_every": 3})
    message = (
        "found other labels of the training samples; training.epochs = 5 instead of 3; training.patience = 2 instead "
        "of none. Resume"
    )
    for name in ("cut", "ended"):
        with pytest.raises(TrainingError, match=message):
            run_small(tmp_path / name, other, data=_other_labels(make_data()), resume=True)


def test_other_contents_under_the_same_names_are_refused(tmp_path: Path) -> None:
    """One pixel of one image changed, in the middle of a run and after its end; data handed over is not read for it."""
    write_image_folder(tmp_path / "images", {"a": 12, "b": 12})
    sections = {
        "model": {"name": "a network of mine"},
        "data": {"train": str(tmp_path / "images")},
        "training": {"epochs": 2, "batch_size": 8},
        "run": {"tensorboard": False},
    }
    config = config_of(sections)

    def go(name: str, **given: Any) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        pretrain(config, out=tmp_path / name, model=net, device="cpu", **given)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("cut", progress=stop)
    go("ended")
    go("ended", resume=True)
    pixels = noise_image(3)
    pixels[0, 0] ^= 255
    write_image(tmp_path / "images" / "a" / "003.png", pixels)
    for name in ("cut", "ended"):
        with pytest.raises(TrainingError, match=r"found other contents of the (training|validation) samples. Resume"):
            go(name, resume=True)
    go("ended", resume=True, data=load_data(config.data, seed=0))


def test_weights_that_somebody_removed_are_told(tmp_path: Path) -> None:
    """Of a run that had ended, and of one in the middle."""
    run_small(tmp_path / "ended", make_config(epochs=1))
    shutil.rmtree(tmp_path / "ended" / "model")
    with pytest.raises(TrainingError, match=r"expected the best weights so far at .*best-000000006.*begin anew"):
        run_small(tmp_path / "ended", make_config(epochs=1), resume=True)
    _stop(tmp_path / "cut", 8)
    shutil.rmtree(tmp_path / "cut" / "best-000000006")
    with pytest.raises(TrainingError, match=r"best-000000006.*found none. Put that folder back"):
        run_small(tmp_path / "cut", resume=True)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({"config": None}, "expected step, metrics and config noted in"),
        ({"step": "6"}, "expected step, metrics and config noted in"),
        ({"metrics": [{"accuracy": 1.0}]}, r"expected scores noted in .* as \['accuracy', .*found {'accuracy': 1.0}"),
        ({"metrics": [{"recall": [1.0], "accuracy": 1.0}]}, "expected scores noted in .*found {'recall'"),
        ({"metrics": [7]}, "expected scores noted in .*found 7"),
        ({"config": {"training": 3}}, "expected config in .* as sections of settings"),
    ],
)
def test_notes_of_another_form_are_told(tmp_path: Path, notes: dict[str, Any], message: str) -> None:
    """The model of a run that had ended, with notes that are not those of a run."""
    run_small(tmp_path, make_config(epochs=1))
    path = tmp_path / "model" / "checkpoint.json"
    record = json.loads(path.read_text())
    record["notes"] |= notes
    path.write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=message):
        run_small(tmp_path, make_config(epochs=1), resume=True)
    path.write_text(json.dumps(record | {"notes": {}}))
    with pytest.raises(TrainingError, match=r"noted in .*found \[\]. Restore"):
        run_small(tmp_path, make_config(epochs=1), resume=True)


def test_a_state_with_values_of_other_types_is_told(tmp_path: Path) -> None:
    """Each value of where the run stands, as another type or missing, by name."""
    _stop(tmp_path, 8)
    path = tmp_path / "checkpoints" / "step-000000006" / "state.json"
    whole = json.loads(path.read_text())
    wrong: dict[str, list[Any]] = {
        "step": ["6", -1, True, None],
        "epoch": [1.5, None],
        "best": [3, {}, {"score": "high", "step": 6, "waited": 0}, {"score": None, "step": None, "waited": 0}],
        "epochs": [{}, [1]],
        "loss_sum": ["0", None],
        "loss_count": [0.5, None],
        "config": [None, 3, {"training": 3}],
    }
    for name, values in wrong.items():
        for value in values:
            path.write_text(json.dumps(whole | {"record": whole["record"] | {name: value}}))
            with pytest.raises(TrainingError, match=r"expected .* in .*step-000000006.*, found .*begin anew"):
                run_small(tmp_path, resume=True)
    path.write_text(json.dumps(whole))
    assert run_small(tmp_path, resume=True).steps == 18


def test_a_setting_that_a_later_version_added_was_at_its_default(tmp_path: Path) -> None:
    """A run of an earlier version is resumed; with another value than the default it is refused."""
    known = as_json(make_config())
    older = {name: {key: value for key, value in part.items() if key != "warmup"} for name, part in known.items()}
    check_config(older, known, tmp_path)
    changed = {**known, "training": {**known["training"], "warmup": 0.1}}
    with pytest.raises(TrainingError, match=r"training\.warmup = 0\.1 instead of 0\.0"):
        check_config(older, changed, tmp_path)
