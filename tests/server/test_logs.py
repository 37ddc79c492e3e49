"""Logs and states on disk: what is written is what others read, and half of it never counts."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import OutputExistsError, TrainingError
from acclimate.server.folder import new_folder, remove_folder, remove_parts
from acclimate.server.training.logs import Log, read_log
from acclimate.server.training.state import State, load_state, newest, save_state

pytestmark = pytest.mark.needs_torch


def test_tensorboard_reads_the_events_and_forgets_those_of_a_cut_off_attempt(tmp_path: Path) -> None:
    """Its own reader finds every number once; after resuming at step 2, those of step 3 are the new ones."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Log(tmp_path, step=0, tensorboard=True) as log:
        for step in (1, 2, 3):
            log.write({"kind": "step", "step": step, "loss": step / 10})
    with Log(tmp_path, step=2, tensorboard=True) as log:
        log.write({"kind": "step", "step": 3, "loss": 0.75})
    events = loader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["step/loss"]
    found = [(event.step, round(event.value, 6)) for event in events.Scalars("step/loss")]
    assert found == [(1, 0.1), (2, 0.2), (3, 0.75)]
    assert [(r["step"], r["loss"]) for r in read_log(tmp_path)] == [(1, 0.1), (2, 0.2), (3, 0.75)]


def test_the_events_need_no_writer_that_loads_tensorflow(tmp_path: Path) -> None:
    """Writing them loads neither TensorFlow nor torch's writer."""
    import subprocess
    import sys

    pytest.importorskip("tensorboard")
    code = (
        "import sys\nfrom pathlib import Path\nfrom acclimate.server.training.logs import Log\n"
        f"with Log(Path({str(tmp_path)!r}), step=0, tensorboard=True) as log:\n"
        "    log.write({'kind': 'step', 'step': 1, 'loss': 1.0})\n"
        "print([m for m in ('tensorflow', 'torch.utils.tensorboard', 'grpc') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def make_state(step: int) -> State:
    tensors = {"module": {"w": torch.full((2,), step / 7)}, "optimizer": {"0.step": torch.tensor(float(step))}}
    return State(step, tensors, {"epoch": 1, "loss_sum": 0.1 + 0.2})


def test_a_state_comes_back_to_the_bit_and_old_ones_go(tmp_path: Path) -> None:
    """Tensors and numbers alike; of five, the newest two stay; one of the same step is replaced."""
    for step in (5, 10, 15, 20, 20):
        save_state(tmp_path, make_state(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000015", "step-000000020"]
    path = newest(tmp_path)
    assert path is not None
    state = load_state(path)
    assert state.step == 20
    assert torch.equal(state.tensors["module"]["w"], torch.full((2,), 20 / 7))
    assert state.record == {"epoch": 1, "loss_sum": 0.1 + 0.2}
    assert newest(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["module.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_state_is_refused(tmp_path: Path, name: str) -> None:
    """Each file cut short, missing, or of something else."""
    path = save_state(tmp_path, make_state(5), keep=1)
    content = (path / name).read_bytes()
    for damaged in (content[:-3], b"", b"{}" if name == "state.json" else content + b"x"):
        (path / name).write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"expected .*Remove that folder"):
            load_state(path)
    (path / name).unlink()
    with pytest.raises(TrainingError, match="Remove that folder"):
        load_state(path)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error in the block leaves nothing; a name that is taken is refused; parts of killed processes can be swept."""

    def fail() -> None:
        with new_folder(tmp_path / "a") as part:
            (part / "file").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "a") as part:
        (part / "file").write_text("whole")
    assert (tmp_path / "a" / "file").read_text() == "whole"
    with pytest.raises(OutputExistsError), new_folder(tmp_path / "a"):
        pass
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_only_parts_of_runs_are_swept(tmp_path: Path) -> None:
    """What a run may leave half written goes; folders of others that merely look like it stay."""
    ours = (".model.12345678.part", ".best-000000006.part", ".step-000000012.ab_d5678.part")
    others = (".b.12345678.part", ".film.part", ".best-of.part", ".model.backup.of.may.part", "step-000000001.part")
    for name in ours + others:
        (tmp_path / name).mkdir()
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
