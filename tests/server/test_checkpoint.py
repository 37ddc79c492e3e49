"""Checkpoints: they come back as they were, and nothing else is taken for one."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import safetensors.torch
import torch
from torch import nn

from acclimate.errors import OutputExistsError, TrainingError
from acclimate.server.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.needs_torch


def make_net(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2))


def digest_of(model: nn.Module) -> str:
    return hashlib.sha256(safetensors.torch.save(model.state_dict())).hexdigest()


def test_round_trip_is_exact(tmp_path: Path) -> None:
    """Weights, buffers, notes and hash come back bit for bit, and no part of the writing is left behind."""
    model = make_net()
    model.get_buffer("1.running_mean").add_(0.5)
    path = tmp_path / "runs" / "teacher"
    written = save_checkpoint(path, model, architecture="tiny", notes={"accuracy": 0.98, "seeds": [1, 2]})
    other = make_net()
    read = load_checkpoint(path, other, architecture="tiny")
    assert read == written
    assert read.notes == {"accuracy": 0.98, "seeds": [1, 2]}
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert [entry.name for entry in path.parent.iterdir()] == ["teacher"]
    assert sorted(entry.name for entry in path.iterdir()) == ["checkpoint.json", "weights.safetensors"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Neither a file nor a folder at the path is touched."""
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for name, message in (("file", "is there already"), ("folder", "found a folder")):
        with pytest.raises(OutputExistsError, match=message):
            save_checkpoint(tmp_path / name, make_net(), architecture="tiny")
    assert (tmp_path / "file").read_text() == "kept"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle: told by name with what to do, and no folder, whole or half, remains."""
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> None:
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(TrainingError, match=r"write a checkpoint to .*teacher, found that No space left .* make room"):
        save_checkpoint(tmp_path / "teacher", make_net(), architecture="tiny")
    assert list(tmp_path.iterdir()) == []


def test_weights_or_notes_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    """NaN weights and notes that are no JSON: nothing is written."""
    model = make_net()
    with torch.no_grad():
        model.get_parameter("3.weight")[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"NaN or infinity in '3\.weight'"):
        save_checkpoint(tmp_path / "a", model, architecture="tiny")
    with pytest.raises(TrainingError, match="notes of JSON values"):
        save_checkpoint(tmp_path / "a", make_net(), architecture="tiny", notes={"x": float("inf")})
    assert list(tmp_path.iterdir()) == []


def _flip_bit(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def _truncate(folder: Path) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[: len(content) // 2])


def _edit_record(**change: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / "checkpoint.json").read_text())
        (folder / "checkpoint.json").write_text(json.dumps(record | change))

    return edit


def _replace_weights(content: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(content)
        _edit_record(sha256=hashlib.sha256(content).hexdigest())(folder)

    return replace


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flipped": (_flip_bit, "SHA-256"),
    "truncated": (_truncate, "SHA-256"),
    "weights gone": (lambda folder: (folder / "weights.safetensors").unlink(), "expected weights.safetensors"),
    "record gone": (lambda folder: (folder / "checkpoint.json").unlink(), "expected checkpoint.json"),
    "record no JSON": (lambda folder: (folder / "checkpoint.json").write_text("{"), "with JSON"),
    "record no text": (lambda folder: (folder / "checkpoint.json").write_bytes(b"\xff\xfe\x00"), "with JSON"),
    "record nested": (lambda folder: (folder / "checkpoint.json").write_text("[" * 200_000), "with JSON"),
    "record a list": (lambda folder: (folder / "checkpoint.json").write_text("[]"), "found another file"),
    "foreign": (_edit_record(format="other"), "found another file"),
    "newer": (_edit_record(version=2), "version 1.*found 2"),
    "no hash": (_edit_record(sha256=None), "expected architecture, sha256 and notes"),
    "pickle": (_replace_weights(b"\x80\x04N."), "safetensors format"),
    "empty": (_replace_weights(b""), "safetensors format"),
    "wider": (
        _replace_weights(safetensors.torch.save(make_net(5).state_dict())),
        r"expected float32 \(4,\) as '0\.bias'.*found float32 \(5,\)",
    ),
    "fewer": (_replace_weights(safetensors.torch.save({"0.bias": torch.zeros(4)})), "found no tensor"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path, damage: str) -> None:
    """Each gets an error of ours that says what is wrong, and the model stays as it was."""
    spoil, message = DAMAGE[damage]
    save_checkpoint(tmp_path / "net", make_net(), architecture="tiny")
    spoil(tmp_path / "net")
    model = make_net()
    before = digest_of(model)
    with pytest.raises(TrainingError, match=message):
        load_checkpoint(tmp_path / "net", model, architecture="tiny")
    assert digest_of(model) == before


def test_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    """The name is compared, since networks of equal shapes may compute different things."""
    save_checkpoint(tmp_path / "net", make_net(), architecture="tiny")
    with pytest.raises(TrainingError, match=r"expected a checkpoint of 'other'.*found one of 'tiny'"):
        load_checkpoint(tmp_path / "net", make_net(), architecture="other")
    with pytest.raises(FileNotFoundError, match="found nothing"):
        load_checkpoint(tmp_path / "none", make_net(), architecture="tiny")
