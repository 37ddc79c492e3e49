"""Runs of Keras models but for TensorFlow: settings, data, logs, scores, checkpoints; numpy trains instead."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError, MissingExtraError, OutputExistsError, TrainingError
from acclimate.server.checkpoint import read_record
from acclimate.server.config.model import ModelSettings
from acclimate.server.keras.asked import asked_model, check_settings, is_keras, saved_model
from acclimate.server.keras.inputs import inputs_of
from acclimate.server.keras.process import PYTHON
from acclimate.server.models import load_model
from acclimate.server.run_report.record import read_record as read_run_record
from acclimate.server.training.logs import read_log
from acclimate.server.training.mixing import mix
from acclimate.server.training.settings import ObjectiveSettings, TrainingSettings

from . import keras_runs, small_runs

pytestmark = [
    pytest.mark.needs_torch,
    pytest.mark.skipif(os.name != "posix", reason="the process that takes TensorFlow's place is started by a script"),
]


@pytest.fixture(autouse=True)
def _fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, str(keras_runs.fake_python(tmp_path_factory.mktemp("bin"))))
    for name in ("FAKE_DIES_AT", "FAKE_NAN_AT", "FAKE_VERSION", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def kept_keys(record: Any) -> Any:
    """Return the names in a record, those inside too."""
    return {name: kept_keys(value) for name, value in record.items()} if isinstance(record, dict) else None


def test_a_run_leaves_what_torch_leaves(tmp_path: Path) -> None:
    """The same kinds of records with the same names, the same notes; scores are those of the kept file's answers."""
    data = small_runs.make_data()
    seen: list[Any] = []
    run = keras_runs.run_keras(tmp_path / "keras", keras_runs.keras_config(ema=0.5), data=data, listener=seen.append)
    small_runs.run_small(tmp_path / "torch", replace(keras_runs.keras_config(ema=0.5)), data=data)
    found, wanted = (read_log(tmp_path / name) for name in ("keras", "torch"))
    assert [(r["kind"], r["step"]) for r in found] == [(r["kind"], r["step"]) for r in wanted]
    assert [kept_keys(r) for r in found] == [kept_keys(r) for r in wanted]
    assert json.loads(json.dumps(seen)) == found
    notes, others = (read_record(tmp_path / name / "model").notes for name in ("keras", "torch"))
    assert kept_keys(notes) == kept_keys(others)
    files = {path.name for path in (tmp_path / "torch" / "model").iterdir()} - {"weights.safetensors"}
    assert {path.name for path in (tmp_path / "keras" / "model").iterdir()} == files | {"model.keras"}
    assert data.validation is not None
    x = torch.stack([data.validation.dataset[i][0] for i in range(45)])
    assert data.validation.labels is not None
    logits, labels = run.model(x).double(), torch.from_numpy(data.validation.labels)
    assert run.metrics[0].accuracy == pytest.approx(float((logits.argmax(1) == labels).double().mean()), abs=1e-12)
    # Of the averaged weights, which are the ones that are kept.
    assert run.metrics[0].loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-9)
    assert run.metrics[0].accuracy > 0.6
    record = read_run_record(tmp_path / "keras")
    assert record is not None
    # Of the process that trained it, whatever this one has.
    assert {"tensorflow": "2.99", "keras": "3.99"}.items() <= record.attempts[0].versions.items()
    assert "torch" in record.attempts[0].versions
    assert run.steps == 18
    assert run.speed is not None
    assert 0 <= run.speed.input_wait <= 1


def test_rates_are_those_of_the_schedule(tmp_path: Path) -> None:
    """Of every step, on both sides: with warm-up, logged as torch's are."""
    config = keras_runs.keras_config(schedule="cosine", warmup=0.2, epochs=2)
    keras_runs.run_keras(tmp_path / "keras", config)
    small_runs.run_small(tmp_path / "torch", config)
    rates = [
        [r["learning_rate"] for r in read_log(tmp_path / name) if r["kind"] == "step"] for name in ("keras", "torch")
    ]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("stopped", [6, 9])
def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path, stopped: int) -> None:
    """In the middle of an epoch, at its end: bit for bit, with every line of the log."""
    config = keras_runs.keras_config(ema=0.9, mixup=0.4, cutmix=0.3, balanced=True, run={"checkpoint_every": 4})
    data = small_runs.make_data(vary=0.2)

    def stop(done: int, total: int) -> None:
        if done == stopped:
            raise KeyboardInterrupt

    keras_runs.run_keras(tmp_path / "whole", config, data=data)
    with pytest.raises(KeyboardInterrupt):
        keras_runs.run_keras(tmp_path / "cut", config, data=data, progress=stop)
    keras_runs.run_keras(tmp_path / "cut", config, data=data, resume=True)
    found, wanted = (keras_runs.tensors_of(tmp_path / name, 18) for name in ("cut", "whole"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    timed = {"samples_per_second", "input_wait"}
    lines = [[{k: v for k, v in r.items() if k not in timed} for r in read_log(tmp_path / n)] for n in ("cut", "whole")]
    assert lines[0] == lines[1]
    models = [(tmp_path / name / "model" / "model.keras").read_bytes() for name in ("cut", "whole")]
    assert models[0] == models[1]


def test_patience_ends_a_run_and_the_best_stays(tmp_path: Path) -> None:
    """A rate that changes next to nothing: no epoch is better than the first."""
    config = keras_runs.keras_config(learning_rate=1e-12, epochs=9, patience=2, monitor="accuracy")
    run = keras_runs.run_keras(tmp_path / "run", config)
    assert (run.steps, run.best_step) == (18, 6)
    assert not list((tmp_path / "run").glob("best-*"))


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    """Their step is the last; there are no scores."""
    run = keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config(), data=small_runs.make_data(validation=0))
    assert (run.steps, run.best_step, run.metrics) == (18, 18, ())


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was checkpointed before stays; the run goes on from there."""
    monkeypatch.setenv("FAKE_DIES_AT", "8")
    with pytest.raises(TrainingError, match=r"found that it ended: something was wrong\. Nothing is lost"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    monkeypatch.delenv("FAKE_DIES_AT")
    assert keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config(), resume=True).steps == 18


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step and samples are named, and nothing of it is kept."""
    monkeypatch.setenv("FAKE_NAN_AT", "8")
    with pytest.raises(TrainingError, match=r"found loss nan .* in step 8 \(samples row \d+, row"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000006"]


def test_another_version_in_the_other_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setenv("FAKE_VERSION", "0.0.1")
    with pytest.raises(InputError, match=r"found 0\.0\.1. Install the same there"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    assert not (tmp_path / "run").exists()


def test_folders_and_files_that_were_changed_are_refused(tmp_path: Path) -> None:
    """A folder in use; settings of another run; a Keras file that is not what was written."""
    out = tmp_path / "run"
    keras_runs.run_keras(out, keras_runs.keras_config())
    with pytest.raises(OutputExistsError):
        keras_runs.run_keras(out, keras_runs.keras_config())
    with pytest.raises(TrainingError, match=r"training\.ema"):
        keras_runs.run_keras(out, keras_runs.keras_config(ema=0.5), resume=True)
    assert keras_runs.run_keras(out, keras_runs.keras_config(), resume=True).speed is None
    (out / "model" / "model.keras").write_bytes(b"other")
    with pytest.raises(TrainingError, match=r"expected model\.keras in .* found it changed or gone"):
        keras_runs.run_keras(out, keras_runs.keras_config(), resume=True)


def test_inputs_are_blended_as_those_of_torch() -> None:
    """The same draws by seed and step; channels go last; rows of targets add up to 1."""
    x, y = torch.randn(6, 3, 5, 4), torch.arange(6) % 3
    training = TrainingSettings(mixup=0.4, seed=3)
    found = inputs_of(7, (x, y, list(range(6))), training, 3)
    # What `Steps._inputs` does.
    from acclimate.server.data.draws import seed_of

    torch.manual_seed(seed_of(3, 7, 0, 2))
    wanted, targets = mix(x, y, 3, mixup=0.4, cutmix=0.0)
    np.testing.assert_array_equal(found["x"], wanted.permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(found["y"], targets.numpy())
    np.testing.assert_allclose(found["y"].sum(1), 1, rtol=1e-6)
    plain = inputs_of(0, (x, y, list(range(6))), TrainingSettings(), 3)
    np.testing.assert_array_equal(plain["y"], np.eye(3)[y])
    with pytest.raises(TrainingError, match="expected a label of one task for each sample"):
        inputs_of(0, (x, y - 1, list(range(6))), TrainingSettings(), 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model": ModelSettings(name="keras:VGG16", weights="w.h5")},
            r"model\.weights = 'w\.h5'\. Save the model whole",
        ),
        ({"model": ModelSettings(name="keras:VGG16", head="top")}, r"model\.head = 'top'"),
        ({"model": ModelSettings(name="keras:VGG16", code="net.py:make")}, r"model\.code"),
        ({"objective": ObjectiveSettings(name="simclr")}, r"objective\.name = 'simclr'\. Set it to supervised"),
        ({"training": TrainingSettings(accumulation=2)}, r"training\.accumulation = 2\. Lower"),
        ({"training": TrainingSettings(precision="float16")}, r"training\.precision = 'float16'"),
        ({"run": {"sharding": "fsdp"}}, r"run\.sharding = 'fsdp'"),
    ],
)
def test_what_keras_models_do_not_take_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    """Before data are read or a process begins."""
    config = keras_runs.keras_config(run=change.pop("run", None))
    with pytest.raises(InputError, match=said):
        check_settings(replace(config, **change))


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun each would train a model of its own."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE = '2'\. Train in one process"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())


def test_several_tasks_are_refused(tmp_path: Path) -> None:
    """One column of labels."""
    with pytest.raises(InputError, match="expected labels of one task for a Keras model, found 2"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config(), data=small_runs.make_data(tasks=2))


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("keras:MobileNetV2", {"application": "MobileNetV2", "weights": None}),
        ("keras:MobileNetV2@random", {"application": "MobileNetV2", "weights": None}),
        ("keras:ResNet50@imagenet", {"application": "ResNet50", "weights": "imagenet"}),
        ("keras:nets.mine:make", {"function": "nets.mine:make"}),
        ("keras:my nets/net.py:make", {"function": "my nets/net.py:make"}),
    ],
)
def test_names_of_models(name: str, asked: dict[str, Any]) -> None:
    """Applications with or without weights, functions in modules and files."""
    assert is_keras(name)
    assert asked_model(name) == asked


def test_names_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    """Other weights, no name, a file that is not there; other libraries are no Keras models."""
    for name in ("keras:MobileNetV2@best", "keras:Mobile Net", "keras:"):
        with pytest.raises(InputError, match="expected keras:NAME"):
            asked_model(name)
    with pytest.raises(InputError, match="found nothing at"):
        asked_model(str(tmp_path / "none.keras"))
    assert not is_keras("torchvision:resnet18")
    assert not is_keras(str(tmp_path))


def test_a_checkpoint_names_its_model(tmp_path: Path) -> None:
    """The folder of a run, and that of its model, mean the file in it; another run begins there."""
    keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    file = tmp_path / "run" / "model" / "model.keras"
    for name in (tmp_path / "run", tmp_path / "run" / "model"):
        assert saved_model(name) == file
        assert asked_model(str(name)) == {"file": str(file)}
    with pytest.raises(InputError, match="found one of a Keras model, which TensorFlow loads"):
        load_model(tmp_path / "run")
    again = keras_runs.run_keras(tmp_path / "again", keras_runs.keras_config(str(tmp_path / "run")))
    assert again.steps == 18


def test_missing_tensorflow_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other Python is named; one that is not there is told, too."""
    monkeypatch.setenv(PYTHON, str(tmp_path / "none"))
    with pytest.raises(InputError, match=f"expected a Python in {PYTHON}, found no file"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    monkeypatch.delenv(PYTHON)
    from acclimate import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "tensorflow" else object())
    with pytest.raises(MissingExtraError, match=r"needs 'tensorflow', .* pip install 'acclimate\[keras\]'"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    assert not (tmp_path / "run").exists()
