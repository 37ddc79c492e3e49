"""A compression run: what it trains, keeps, resumes and refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")
pytest.importorskip("torch_pruning", reason="acclimate[server] is not installed")

import numpy as np
import torch
from torch import nn

from acclimate.errors import InputError, OutputExistsError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.compress import CompressConfig, compress_to_budget, read_compress_config
from acclimate.server.compress.candidates import Work, make_candidates, names_of
from acclimate.server.compress.raw_samples import raw_samples
from acclimate.server.compress.settings import CompressSettings, compress_config_of
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import as_json
from acclimate.server.data import load_data
from acclimate.server.models import architecture_of, build_model, load_model
from acclimate.server.run_lock import LOCK_FILE
from acclimate.server.trained import load_trained

from .compress_nets import frames, net
from .held_folders import other_process

pytestmark = pytest.mark.needs_torch
_HERE = Path(__file__).parent / "compress_nets.py"
# Large enough that 8 bits save more than they cost.
_WIDE = """
from torch import nn

def make():
    layers = nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 96, 3, 2, 1), nn.ReLU(), nn.Conv2d(96, 96, 3, 1, 1)
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 4))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A file of settings: the small network on frames that it labels itself, a fifth of them otherwise."""
    x = frames(160, seed=1)
    with torch.no_grad():
        y = net()(x).argmax(1).numpy()
    # Of all four classes.
    y[::5] = np.arange(len(y[::5])) % 4
    np.savez(tmp_path / "data.npz", x=(255 * x[:, 0].numpy()).astype(np.uint8), y=y)
    path = tmp_path / "compress.toml"
    path.write_text(
        f'[model]\nname = "{_HERE}:net"\n[data]\ntrain = "{tmp_path / "data.npz"}"\nvalidation_share = 0.4\n'
        "mean = [0.2]\nstd = [0.3]\n[training]\nepochs = 2\nbatch_size = 16\n"
        "[run]\ntensorboard = false\nreport = false\n"
        "[compress]\nratios = [0.5]\nmultiple = 2\nquantize_steps = 4\ncalibration = 32\nmax_drop = 90.0\n"
    )
    return path


def _work(config: CompressConfig, folder: Path, **calls: Any) -> Work:
    data = load_data(config.data, seed=0)
    samples = raw_samples(data, config.data, calibration=32, evaluation=40, seed=0)
    size = len(data.classes)
    built = build_model(config.model, size, data.shape), architecture_of(config.model, size, data.shape)
    return Work(config, data, samples, folder, *built, "cpu", **calls)


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_sections_are_read_and_checked(settings: Path) -> None:
    """The objective is distillation unless it is said, with its own settings; the budget comes from the section."""
    config = read_compress_config(settings, ["objective.distil_temperature=2", "compress.max_size_mb=3"])
    assert (config.objective.name, config.objective.distil_temperature) == ("distillation", 2)
    assert config.compress.budget.limits() == {"max_size_mb": 3, "max_drop": 90}
    assert compress_config_of(as_json(config)) == config
    assert read_compress_config(settings, ['objective.name="supervised"']).objective.name == "supervised"
    for change, message in (
        ("compress.ratio=0.3", "Did you mean 'ratios'"),
        ("compress.ratios=[30]", "compress.ratios as a list of numbers above 0 and below 1, found 30"),
        ("compress.ratios=[0.3, 0.3]", "ratios that differ"),
        ('compress.steps=["quantize-aware", "prune"]', "quantize-aware last"),
        ('compress.steps=["distil"]', r"compress\.student with the step"),
        ('compress.student="x"', r"compress\.student with the step"),
        ('objective.name="simclr"', r"objective\.name out of distillation, supervised"),
        ('objective.teacher="x"', "without objective.teacher"),
        ("compres.ratios=[0.3]", r"Did you mean \[compress\]"),
    ):
        with pytest.raises(InputError, match=message):
            read_compress_config(settings, [change])


def test_names_of_candidates_follow_the_steps() -> None:
    """One for each ratio, one after the other; 8 bits make no name of their own."""
    assert names_of(CompressSettings()) == ("original", "pruned-0.3", "pruned-0.5")
    found = CompressSettings(steps=("distil", "prune", "low-rank", "quantize-aware"), student="a", ratios=(0.25,))
    assert names_of(found) == ("original", "student", "student-pruned-0.25", "student-pruned-0.25-low-rank")


def test_raw_samples_are_what_the_sensor_gave(settings: Path) -> None:
    """Frames as they lay in the file, though data was normalised; evaluation is of the validation part alone."""
    config = read_compress_config(settings)
    data = load_data(config.data, seed=0)
    found = raw_samples(data, config.data, calibration=32, evaluation=1000, seed=0)
    stored = np.load(config.data.train)
    rows = {frame.tobytes(): label for frame, label in zip(stored["x"], stored["y"], strict=True)}
    assert found.calibration.shape == (32, 12, 12, 1)
    assert found.calibration.dtype == np.uint8
    assert (found.options["mean"], found.options["std"]) == ((0.2,), (0.3,))
    assert data.validation is not None
    assert data.validation.labels is not None
    assert len(found.evaluation) == len(data.validation.labels)
    assert [rows[one.tobytes()] for one in found.evaluation] == found.evaluation_y.tolist()
    assert not {one.tobytes() for one in found.evaluation} & {one.tobytes() for one in found.calibration}


def test_series_and_rows_are_given_as_they_were_recorded(tmp_path: Path) -> None:
    """Standardised channels are undone, and time comes first; the wrapped model takes that."""
    draws = np.random.default_rng(0)
    for name, shape in (("series", (80, 20, 3)), ("rows", (80, 5))):
        x = (draws.normal(size=shape) * 7 + 30).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(80) % 2)
        text = {"model": {"name": "m:f"}, "data": {"train": str(tmp_path / f"{name}.npz")}}
        config = compress_config_of(text)
        data = load_data(config.data, seed=0)
        found = raw_samples(data, config.data, calibration=80, evaluation=80, seed=0)
        distances = np.abs(found.calibration[:, None] - x[None]).reshape(len(found.calibration), 80, -1).max(2).min(1)
        assert distances.max() < 1e-4
        normal = (found.calibration - np.asarray(found.options["mean"])) / np.asarray(found.options["std"])
        width = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), 2)).double()
        with torch.no_grad():
            given = found.wrapped(width)(torch.from_numpy(normal))
            torch.testing.assert_close(given, width(found.calibration_x.double()), rtol=1e-4, atol=1e-4)


class _DiedError(Exception):
    pass


def test_candidates_are_trained_by_the_original_and_not_twice(settings: Path, tmp_path: Path) -> None:
    """Student, pruned and factorised; cut off in the second, the first is only loaded and all end as in one go."""
    changes = [
        'compress.steps=["distil", "prune", "low-rank"]',
        f'compress.student="{_HERE}:Net"',
        "compress.rank_error=0.9",
        "run.checkpoint_every=3",
    ]
    config = read_compress_config(settings, changes)
    stages: list[str] = []
    whole, skipped = make_candidates(_work(config, tmp_path / "whole", stage=stages.append))
    assert [one.name for one in whole] == list(names_of(config.compress)) == ["original", *stages]
    assert not skipped
    sizes = [sum(p.numel() for p in one.model.parameters()) for one in whole]
    assert sizes[1] == sizes[0] > sizes[2] > sizes[3]
    assert whole[2].told["parameters"] == [sizes[0], sizes[2]]
    assert whole[3].told["ranks"].keys() == {"head"}

    def die(done: int, total: int) -> None:
        if stages[-1] == "student-pruned-0.5" and done == 7:
            raise _DiedError

    with pytest.raises(_DiedError):
        make_candidates(_work(config, tmp_path / "cut", stage=stages.append, progress=die))
    steps: list[str] = []
    again = _work(config, tmp_path / "cut", stage=stages.append, progress=lambda *_: steps.append(stages[-1]))
    resumed, _ = make_candidates(again)
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(_weights(one.model), _weights(other.model))
    assert "student" not in steps
    assert 0 < steps.count("student-pruned-0.5") < steps.count("student-pruned-0.5-low-rank")


def test_factors_that_save_nothing_are_no_candidate(settings: Path, tmp_path: Path) -> None:
    """It is told, and nothing is trained."""
    config = read_compress_config(settings, ['compress.steps=["low-rank"]', "compress.rank_error=0"])
    made, skipped = make_candidates(_work(config, tmp_path / "run"))
    assert [one.name for one in made] == ["original"]
    assert [name for name, _ in skipped] == ["low-rank"]
    assert not (tmp_path / "run").exists()


def test_what_cannot_work_is_told_before_anything_is_trained(settings: Path, tmp_path: Path) -> None:
    """No budget, several processes, modules that are none, too little data; nothing is written."""
    out = tmp_path / "run"
    for changes, message in (
        (["compress.ignored=['neck']"], "found 'neck'"),
        (["data.validation_share=0"], "no validation samples"),
        (["compress.steps=['low-rank']", "compress.layers=['neck']"], "linear layers of Net"),
        (["compress.multiple=64"], "found that none can"),
    ):
        with pytest.raises(InputError, match=message):
            compress_to_budget(settings, overrides=changes, out=out, device="cpu")
    config = read_compress_config(settings)
    with pytest.raises(InputError, match="expected a budget"):
        compress_to_budget(replace(config, compress=replace(config.compress, max_drop=None)), out=out)
    assert not out.exists()


def test_a_folder_in_use_is_refused(settings: Path, tmp_path: Path) -> None:
    """One that holds something, with and without `resume`; a file; a run under torchrun."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--resume"):
        compress_to_budget(settings, out=tmp_path / "other")
    with pytest.raises(OutputExistsError, match=r"thesis\.txt"):
        compress_to_budget(settings, out=tmp_path / "other", resume=True)
    with pytest.raises(OutputExistsError, match="found a file"):
        compress_to_budget(settings, out=settings)


def test_a_folder_that_another_process_compresses_in_is_refused(settings: Path, tmp_path: Path) -> None:
    """New or to be resumed, by the number of the process, and before anything is written."""
    pytest.importorskip("fcntl", reason="this system has no such locks")
    for name, files in (("new", ()), ("begun", ("inputs.json",))):
        with other_process(tmp_path / name) as process:
            for file in files:
                (tmp_path / name / file).write_text("{}")
            before = sorted(path.name for path in (tmp_path / name).iterdir())
            with pytest.raises(InputError, match=rf"no other process .*{name}, found that process {process.pid} does"):
                compress_to_budget(settings, out=tmp_path / name, resume=bool(files), device="cpu")
            assert sorted(path.name for path in (tmp_path / name).iterdir()) == before


def test_the_folder_is_held_while_candidates_are_made(settings: Path, tmp_path: Path) -> None:
    """Who comes second is refused even if both found it empty; a lock that a killed process left is none."""
    pytest.importorskip("fcntl", reason="this system has no such locks")
    pytest.importorskip("onnxruntime", reason="acclimate[convert] is not installed")
    out = tmp_path / "run"
    out.mkdir()
    (out / LOCK_FILE).write_text("1\n")
    held: list[bool] = []

    def stop(name: str) -> None:
        if name == "rehearsal":
            # Nothing is held before there is something to write.
            held.append(_is_held(out))
        if name == "pruned-0.5":
            held.append(_is_held(out))
            raise _DiedError

    with pytest.raises(_DiedError):
        compress_to_budget(settings, out=out, device="cpu", stage=stop)
    assert held == [False, True]
    assert LOCK_FILE not in [path.name for path in out.iterdir()]
    with pytest.raises(OutputExistsError, match="--resume"):
        compress_to_budget(settings, out=out, device="cpu")

    def fill(name: str) -> None:
        if name == "rehearsal":
            (tmp_path / "late").mkdir()
            (tmp_path / "late" / "thesis.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match="found something in it"):
        compress_to_budget(settings, out=tmp_path / "late", device="cpu", stage=fill)
    assert [path.name for path in (tmp_path / "late").iterdir()] == ["thesis.txt"]


def _is_held(folder: Path) -> bool:
    """Ask another process, as locks are those of processes."""
    probe = (
        "import fcntl, os, sys\n"
        "try: fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except OSError: print('held')\n"
    )
    said = subprocess.run([sys.executable, "-c", probe, folder / LOCK_FILE], capture_output=True, text=True, check=True)
    return said.stdout.strip() == "held"


def test_an_original_of_other_classes_is_refused(settings: Path, tmp_path: Path) -> None:
    """With other outputs its new head would have learnt nothing and be the teacher; other names are told, too."""
    out = tmp_path / "run"
    (tmp_path / "wide.py").write_text(_WIDE.replace("Linear(96, 4)", "Linear(96, 7)"))
    with pytest.raises(InputError, match=r"model with 4 outputs, one per class of the data, found 7 of .*wide\.py"):
        compress_to_budget(settings, overrides=[f'model.name="{tmp_path / "wide.py"}:make"'], out=out, device="cpu")
    named = ModelSettings(name=f"{_HERE}:net")
    architecture = architecture_of(named, 4, (1, 12, 12))
    save_checkpoint(tmp_path / "net", net(), architecture=architecture, notes={"classes": list("abcd")})
    changes = [f'model.name="{tmp_path / "net"}"', f'model.code="{_HERE}:net"']
    with pytest.raises(InputError, match=r"classes 0, 1, 2, 3, in that order, found a, b, c, d in .*net\. Set data"):
        compress_to_budget(settings, overrides=changes, out=out, device="cpu")
    assert not out.exists()


def test_several_processes_are_refused(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun every process would write the same folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="expected one process"):
        compress_to_budget(settings, out=tmp_path / "run")


@pytest.mark.slow
def test_a_run_from_settings_to_a_device(settings: Path, tmp_path: Path) -> None:
    """The table, a bundle and a checkpoint that is loaded again to the bit; another budget resumes without training."""
    pytest.importorskip("onnxruntime", reason="acclimate[convert] is not installed")
    out = tmp_path / "run"
    stages: list[str] = []
    (tmp_path / "wide.py").write_text(_WIDE)
    code = f"{tmp_path / 'wide.py'}:make"
    named = [f'model.name="{code}"']
    changes = [*named, "compress.max_size_mb=1"]
    found = compress_to_budget(settings, overrides=changes, out=out, device="cpu", stage=stages.append)
    assert [(one.name, one.int8) for one in found.models] == [
        ("original", False),
        ("original", True),
        ("pruned-0.5", False),
        ("pruned-0.5", True),
    ]
    assert found.samples["evaluation"] == 64
    table = json.loads((out / "compress.json").read_text())
    assert [one["accuracy"] for one in table["models"]] == [one.accuracy for one in found.models]
    assert [one["chosen"] for one in table["models"]].index(True) == found.choice.chosen
    assert "Accuracy against latency" in (out / "report.html").read_text()
    assert found.bundle is not None
    assert found.bundle.read_bytes() == found.bundles[found.choice.chosen or 0].read_bytes()
    # The smallest in 8 bits alone is small enough.
    stages.clear()
    small = 1.001 * min(one.size_mb for one in found.models)
    changes = [*named, f"compress.max_size_mb={small}"]
    again = compress_to_budget(settings, overrides=changes, out=out, device="cpu", resume=True, stage=stages.append)
    assert again.choice.chosen == 3
    assert stages == ["data", "pruned-0.5", "export and measure"]
    assert again.model == out / "model"
    assert again.models[3].accuracy == found.models[3].accuracy
    trained = load_trained(out / "model", code=code)
    assert sum(p.numel() for p in trained.model.parameters()) == again.models[3].parameters
    assert any(hasattr(module, "activation_range") for module in trained.model.modules())
    kept = load_model(out / "runs" / "pruned-0.5", code=code)
    assert sum(p.numel() for p in kept.parameters()) == again.models[2].parameters
    # Nothing is small enough: what was chosen before goes, and the nearest is named.
    changes = [*named, "compress.max_size_mb=0.001"]
    none = compress_to_budget(settings, overrides=changes, out=out, device="cpu", resume=True)
    assert (none.choice.chosen, none.bundle, none.model) == (None, None, None)
    assert "a size of at most 0.001 MB, found 0.0" in str(none)
    assert "The nearest is pruned-0.5 (int8)" in str(none)
    assert not (out / "chosen.acc").exists()
    assert not (out / "model").exists()
    with pytest.raises(TrainingError, match=r"compress\.ratios"):
        compress_to_budget(settings, overrides=[*named, "compress.ratios=[0.4]"], out=out, resume=True)
