"""A disk that is full: the message names the file and what to do, and what was written before stays."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np

from acclimate.errors import OutputExistsError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.full_disk import told_if_full
from acclimate.server.report import Report, write_report

from .small_runs import make_config, make_net, run_small

pytestmark = pytest.mark.needs_torch


def _full_for(monkeypatch: pytest.MonkeyPatch, where: Callable[[Path], bool]) -> None:
    """Let the disk be full, without a file's name, as the system tells it, for some files."""
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if where(path):
            write(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size, for the block."""
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_the_system_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    """For real: weights beyond the largest file that the system allows; nothing is left of them."""
    with _largest_file(256), pytest.raises(TrainingError, match=r"write a checkpoint to .*net, found that .*make room"):
        save_checkpoint(tmp_path / "net", make_net(), architecture="tiny")
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(tmp_path / "net", make_net(), architecture="tiny")


def test_what_is_no_full_disk_is_not_told_as_one(tmp_path: Path) -> None:
    """A folder that cannot be written to wants no room."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"found that File exists.* mend that"):
        save_checkpoint(tmp_path / "file" / "net", make_net(), architecture="tiny")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("best-000000012", r"write a checkpoint to .*best-000000012, found that No space .* go on with --resume"),
        ("validation.json", r"write what scores are made of to .*best-000000012/validation\.json, found that No space"),
        ("step-000000012", r"write a checkpoint of step 12 .*step-000000006 is whole"),
    ],
)
def test_a_run_whose_disk_is_full_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, message: str
) -> None:
    """Weights, scores, checkpoint of the second epoch: the first one's stay, and once there is room it ends as ever."""
    config = make_config(learning_rate=0.002)
    seen: list[str] = []

    def second(path: Path) -> bool:
        seen.append(str(path))
        found = [text for text in seen if part in text]
        # The scores of the first epoch go through.
        return part in str(path) and (part != "validation.json" or len(found) > 1)

    with monkeypatch.context() as patch:
        _full_for(patch, second)
        with pytest.raises(TrainingError, match=message):
            run_small(tmp_path / "run", config)
    assert (tmp_path / "run" / "checkpoints" / "step-000000006").is_dir()
    assert (tmp_path / "run" / "best-000000006" / "validation.json").is_file()
    resumed = run_small(tmp_path / "run", config, resume=True)
    whole = run_small(tmp_path / "whole", config)
    assert (resumed.steps, resumed.best_step, resumed.metrics) == (whole.steps, whole.best_step, whole.metrics)


def test_a_log_and_settings_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning, and in the middle of a run."""
    with monkeypatch.context() as patch:
        _full_for(patch, lambda path: path.name == "config.toml")
        with pytest.raises(TrainingError, match=r"write the settings to .*config\.toml, found that No space"):
            run_small(tmp_path / "a")
    # The log is the largest file of a run that writes nothing else.
    with _largest_file(3_000), pytest.raises(TrainingError, match=r"write the log to .*log\.jsonl, found that"):
        run_small(tmp_path / "b", make_config(epochs=1, batch_size=2))
    assert run_small(tmp_path / "b", make_config(epochs=1, batch_size=2), resume=True).steps == 48


def test_a_report_that_cannot_be_written_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's error has its name, which the command line prints; the page that was there stays."""
    page = tmp_path / "report.html"
    write_report(page, Report("a", "b"))
    before = page.read_bytes()
    _full_for(monkeypatch, lambda path: path.name == "report.html")
    with pytest.raises(OSError, match="No space left") as caught:
        write_report(page, Report("c", "d"), overwrite=True)
    assert caught.value.filename == str(page)
    assert page.read_bytes() == before


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    """A file that is there is no full disk, though it is an error of the system, too."""
    with pytest.raises(OutputExistsError, match="there"), told_if_full("a checkpoint", tmp_path):
        raise OutputExistsError("there")
    elsewhere = OSError(errno.ENOSPC, "No space left", "/other/place")
    with pytest.raises(TrainingError, match="No space left at /other/place"), told_if_full("it", tmp_path / "a"):
        raise elsewhere


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["chosen.acc", "compress.json", "report.html", "weights.safetensors"])
def test_an_earlier_choice_stays_where_a_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whichever of its files the disk has no room for; once there is, all of them are the new one's."""
    pytest.importorskip("torch_pruning", reason="acclimate[server] is not installed")
    from acclimate.server.compress.keep import keep

    work, made, report = _choice(tmp_path)
    keep(work, made, (), report(0), {"search": 1.0})
    before = _tree(work.folder)
    assert {"chosen.acc", "compress.json", "report.html", "model/weights.safetensors"} <= before.keys()
    with monkeypatch.context() as patch:
        _full_for(patch, lambda path: path.name == name)
        with pytest.raises(TrainingError, match=r"found that No space left on device.*make room"):
            keep(work, made, (), report(1), {"search": 1.0})
    assert _tree(work.folder) == before
    keep(work, made, (), report(1), {"search": 1.0})
    after = _tree(work.folder)
    assert after.keys() == before.keys()
    for path in ("chosen.acc", "compress.json", "report.html"):
        assert after[path] != before[path]
    # Nothing is chosen: nothing of an earlier choice is left.
    keep(work, made, (), report(None), {"search": 1.0})
    assert not {"chosen.acc", "model/weights.safetensors"} & _tree(work.folder).keys()


def _choice(folder: Path) -> Any:
    """Return what a compression has made of two candidates, and what returns a search's choice among them."""
    from acclimate.server.compress import MeasuredModel, SearchReport
    from acclimate.server.compress.budget import Choice
    from acclimate.server.compress.candidates import Made, Work
    from acclimate.server.compress.raw_samples import raw_samples
    from acclimate.server.compress.settings import compress_config_of
    from acclimate.server.data import load_data
    from acclimate.server.models import architecture_of, build_model

    np.savez(folder / "x.npz", x=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32), y=np.arange(40) % 3)
    code = shutil.copyfile(Path(__file__).parent / "small_nets.py", folder / "small_nets.py")
    sections = {
        "model": {"name": f"{code}:make"},
        "data": {"train": str(folder / "x.npz")},
        "compress": {"max_drop": 90.0, "steps": ["prune"]},
    }
    config = compress_config_of(sections)
    data = load_data(config.data, seed=0)
    samples = raw_samples(data, config.data, calibration=8, evaluation=4, seed=0)
    models = [build_model(replace(config.model, seed=seed), 3, data.shape) for seed in (0, 1)]
    architecture = architecture_of(config.model, 3, data.shape)
    out = folder / "out"
    (out / "candidates").mkdir(parents=True)
    paths = tuple(out / "candidates" / f"{name}.acc" for name in "ab")
    for path in paths:
        path.write_text(path.name)
    work = Work(config, data, samples, out, models[0], architecture)
    made = [Made(name, model, architecture, {}) for name, model in zip("ab", models, strict=True)]
    measured = tuple(MeasuredModel(name, False, 1.0, 1.0, 0.5, 0.0, 9) for name in "ab")

    def report(chosen: int | None) -> SearchReport:
        return SearchReport(measured, Choice(chosen, chosen or 0, (0, 1)), paths, ())

    return work, made, report
