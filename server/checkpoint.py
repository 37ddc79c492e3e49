"""Checkpoints: a folder with the weights (safetensors) and what they are (JSON), written at once or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import TrainingError
from ..files import refuse_overwrite
from .folder import new_folder
from .full_disk import told_if_full

FORMAT = "acclimate-checkpoint"
VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "checkpoint.json"
_MAX_RECORD_BYTES = 2**20
_ADVICE = "Copy the checkpoint again, or train again."

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a checkpoint besides the weights.

    Args:
        architecture: Name of the network that the weights fit.
        sha256: Hash of the file of weights.
        notes: Whatever the writer noted: data, settings, accuracy. JSON values only.
    """

    architecture: str
    sha256: str
    notes: Mapping[str, Json] = field(default_factory=dict)


def save_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, *, architecture: str, notes: Mapping[str, Json] | None = None
) -> Checkpoint:
    """Write a model's weights and buffers.

    The folder appears under its name only when it is complete and on disk.

    Args:
        path: The folder to make.
        model: The model.
        architecture: Name of its network; `load_checkpoint` asks for the same name.
        notes: What to note about it; JSON values only.

    Returns:
        What was noted.

    Raises:
        OutputExistsError: If there is something at that path.
        TrainingError: If a weight is not finite, the notes are no JSON, or it cannot be written: the disk is full.
    """
    target = Path(path)
    refuse_overwrite(target, overwrite=False)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise TrainingError(f"expected finite weights, found NaN or infinity in {broken[0]!r}. Nothing was written.")
    weights = safetensors.torch.save(tensors)
    checkpoint = Checkpoint(architecture, hashlib.sha256(weights).hexdigest(), dict(notes or {}))
    record = record_of(checkpoint)
    with told_if_full("a checkpoint", target), new_folder(target) as folder:
        (folder / WEIGHTS_FILE).write_bytes(weights)
        (folder / RECORD_FILE).write_bytes(record)
    return checkpoint


def record_of(checkpoint: Checkpoint) -> bytes:
    """Return what stands in a checkpoint besides the weights, as `read_record` reads it.

    Raises:
        TrainingError: If the notes are no JSON.
    """
    record = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": checkpoint.architecture,
        "sha256": checkpoint.sha256,
        "notes": checkpoint.notes,
    }
    try:
        return f"{json.dumps(record, indent=2, allow_nan=False)}\n".encode()
    except (TypeError, ValueError) as error:
        raise TrainingError(f"expected notes of JSON values, found that {error}. Nothing was written.") from error


def load_checkpoint(path: str | os.PathLike[str], model: nn.Module, *, architecture: str) -> Checkpoint:
    """Read weights into a model, or leave it as it is and say what is wrong.

    Args:
        path: The folder.
        model: A model of the same architecture, on any device.
        architecture: Name of its network.

    Returns:
        What was noted.

    Raises:
        FileNotFoundError: If there is no such folder.
        TrainingError: If it is no checkpoint, is damaged, holds NaN or infinity, or belongs to another network.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"expected a checkpoint at {folder}, found nothing.")
    checkpoint = read_record(folder)
    if checkpoint.architecture != architecture:
        raise TrainingError(
            f"expected a checkpoint of {architecture!r} at {folder}, found one of {checkpoint.architecture!r}. "
            f"Load it into that network."
        )
    tensors = _read_weights(folder, checkpoint)
    wanted = model.state_dict()
    names = sorted(wanted.keys() | tensors.keys())
    unlike = [name for name in names if _kind(wanted.get(name)) != _kind(tensors.get(name))]
    if unlike:
        name = unlike[0]
        raise TrainingError(
            f"expected {_kind(wanted.get(name))} as {name!r} in {folder}, found {_kind(tensors.get(name))} "
            f"({len(unlike)} tensors differ). Load it into the network that it was saved from."
        )
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise TrainingError(f"expected finite weights in {folder}, found NaN or infinity in {broken[0]!r}. {_ADVICE}")
    model.load_state_dict(tensors)
    return checkpoint


def read_record(folder: Path) -> Checkpoint:
    """Read what stands in a checkpoint besides the weights. Errors are those of `load_checkpoint`."""
    path = folder / RECORD_FILE
    try:
        with path.open("rb") as file:
            # A longer file is no record; what is read of it is no JSON then.
            record = json.loads(file.read(_MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"expected {RECORD_FILE} with JSON in {folder}, found that {error}. {_ADVICE}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TrainingError(f"expected {RECORD_FILE} of format {FORMAT!r} in {folder}, found another file. {_ADVICE}")
    if record.get("version") != VERSION:
        raise TrainingError(
            f"expected a checkpoint of version {VERSION} in {folder}, found {record.get('version')!r}. "
            f"Load it with the version of Acclimate that wrote it."
        )
    architecture, digest, notes = (record.get(name) for name in ("architecture", "sha256", "notes"))
    if not (isinstance(architecture, str) and isinstance(digest, str) and isinstance(notes, dict)):
        raise TrainingError(f"expected architecture, sha256 and notes in {path}, found {sorted(record)}. {_ADVICE}")
    return Checkpoint(architecture, digest, notes)


def _read_weights(folder: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"expected {WEIGHTS_FILE} in {folder}, found that {error}. {_ADVICE}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != checkpoint.sha256:
        raise TrainingError(
            f"expected {path} with the SHA-256 {checkpoint.sha256[:12]}..., found {digest[:12]}...: it was changed or "
            f"is incomplete. {_ADVICE}"
        )
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise TrainingError(f"expected {path} in the safetensors format, found that {error}. {_ADVICE}") from error


def _kind(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
