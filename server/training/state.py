"""States of a run on disk: everything that the next step depends on, as safetensors and JSON."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ...errors import OutputExistsError, TrainingError
from ..folder import new_folder, remove_folder
from ..full_disk import advice_for
from .divergence import require_weights

FORMAT = "acclimate-training-state"
VERSION = 1
_RECORD = "state.json"
_MAX_RECORD_BYTES = 2**26
_NAME = re.compile(r"step-(\d{9})")
_ADVICE = "Remove that folder to resume from an earlier one, or begin anew."


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands.

    Args:
        step: Steps taken.
        tensors: Groups of named tensors on the processor: ``module``, ``optimizer``, and ``average`` and
            ``penalty`` if there is one.
        record: Everything else, JSON values only. Numbers come back to the bit.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]


def save_state(folder: Path, state: State, *, keep: int) -> Path:
    """Write a state, and remove the oldest ones beyond those that are kept.

    Args:
        folder: Holds one folder per state.
        state: The state.
        keep: How many of the newest are kept.

    Returns:
        Its folder.

    Raises:
        TrainingError: If weights are not finite, or it cannot be written, on a full disk for example. Earlier states
            stay.
    """
    for group in ("module", "average"):
        require_weights(state.tensors.get(group, {}), state.step)
    target = folder / f"step-{state.step:09d}"
    files = {f"{group}.safetensors": safetensors.torch.save(dict(named)) for group, named in state.tensors.items()}
    record = {
        "format": FORMAT,
        "version": VERSION,
        "step": state.step,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "record": state.record,
    }
    try:
        # One of the same step is of an earlier attempt that was resumed from before it.
        remove_folder(target)
        with new_folder(target) as part:
            for name, content in files.items():
                (part / name).write_bytes(content)
            (part / _RECORD).write_text(json.dumps(record, allow_nan=False) + "\n", encoding="utf-8")
    except OutputExistsError:
        raise
    except OSError as error:
        last = newest(folder)
        raise TrainingError(
            f"expected to write a checkpoint of step {state.step} to {folder}, found that {error.strerror or error}. "
            f"{f'That of {last.name} is whole' if last else 'There is none yet'}: {advice_for(error)}, and resume."
        ) from error
    for old in all_states(folder)[:-keep]:
        remove_folder(old)
    return target


def newest(folder: Path) -> Path | None:
    """Return the folder of the newest state, or None."""
    found = all_states(folder)
    return found[-1] if found else None


def load_state(path: Path) -> State:
    """Read a state.

    Raises:
        TrainingError: If it is none, or damaged.
    """
    step, digests, record = _load_head(path)
    groups = ("module", "optimizer", "average", "penalty")
    tensors = {
        group: _read(path / f"{group}.safetensors", digests[f"{group}.safetensors"])
        for group in groups
        if f"{group}.safetensors" in digests
    }
    return State(step, tensors, record)


def load_record(path: Path) -> Mapping[str, Any]:
    """Read what a state holds besides tensors. Errors are those of `load_state`."""
    return _load_head(path)[2]


def all_states(folder: Path) -> list[Path]:
    """Return the folders of all states, the newest last."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def _load_head(path: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    try:
        with (path / _RECORD).open("rb") as file:
            found = json.loads(file.read(_MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"expected {_RECORD} with JSON in {path}, found that {error}. {_ADVICE}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise TrainingError(f"expected a state of {FORMAT} {VERSION} in {path}, found another file. {_ADVICE}")
    step, digests, record = (found.get(name) for name in ("step", "sha256", "record"))
    if not (isinstance(step, int) and isinstance(digests, dict) and isinstance(record, dict)):
        raise TrainingError(f"expected step, sha256 and record in {path / _RECORD}, found {sorted(found)}. {_ADVICE}")
    return step, digests, record


def _read(path: Path, digest: object) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise TrainingError(f"expected {path} as it was written, found it changed or incomplete. {_ADVICE}")
        return safetensors.torch.load(content)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise TrainingError(f"expected tensors in {path}, found that {error}. {_ADVICE}") from error
