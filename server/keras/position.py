"""Where a run of a Keras model stands, kept on disk with all of TensorFlow's variables, and restored from there."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..folder import remove_parts
from ..training.position import Position, check_config, position_of
from ..training.state import State, load_state, newest, save_state
from .process import KerasProcess


def store(process: KerasProcess, folder: Path, position: Position, config: Mapping[str, Any], *, keep: int) -> None:
    """Write where a run stands.

    Args:
        process: Holds the model and its optimiser.
        folder: Of all checkpoints of the run.
        position: Where the run stands.
        config: Its settings and data.
        keep: Newest checkpoints that stay.

    Raises:
        TrainingError: If it cannot be written.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for name, array in process.ask("state").arrays.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = torch.from_numpy(array)
    save_state(folder, State(position.step, groups, {**asdict(position), "config": dict(config)}), keep=keep)


def restore(process: KerasProcess, folder: Path, config: Mapping[str, Any]) -> Position:
    """Bring a run to where its newest checkpoint stands; without one, to its beginning.

    Args:
        process: Holds the model and its optimiser, which are filled.
        folder: Of all checkpoints of the run.
        config: Its settings and data; all but the section [run] have to be those of the checkpoint.

    Returns:
        Where it stands.

    Raises:
        TrainingError: If the checkpoint is damaged, or of another run.
    """
    remove_parts(folder)
    path = newest(folder)
    if path is None:
        return Position()
    state = load_state(path)
    check_config(state.record.get("config"), config, path)
    position = position_of(state.record, path)
    arrays = {f"{group}/{n}": t.numpy() for group, named in state.tensors.items() for n, t in named.items()}
    process.ask("restore", arrays)
    return position
