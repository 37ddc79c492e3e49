"""Where a run stands, kept on disk with everything that the next step depends on, and restored from there."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import TrainingError
from ..data.identity import other_samples
from ..folder import remove_parts
from .average import Average, copy_state
from .divergence import require_scores
from .metrics import Metrics
from .settings import TrainingSettings
from .sharding import full, local, sharded_like
from .state import State, load_state, newest, save_state
from .steps import Trainee, whole
from .stopping import Best, score_of

CHECKPOINTS = "checkpoints"
_ADVICE = "Remove that folder to resume from an earlier one, or begin anew."


@dataclass
class Position:
    """Where a run stands; what is random follows from seed, step and epoch, and is not kept.

    Args:
        step: Steps taken.
        epoch: Whole epochs.
        best: The best validation score so far.
        epochs: The log's record of each epoch.
        loss_sum: Sum of the losses of this epoch's steps so far.
        loss_count: How many there are.
    """

    step: int = 0
    epoch: int = 0
    best: Best = field(default_factory=Best)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0

    @property
    def loss(self) -> float:
        """Mean of the losses of this epoch's steps so far."""
        return self.loss_sum / max(self.loss_count, 1)

    def add_loss(self, loss: float) -> None:
        """Take in the loss of a step."""
        self.loss_sum += loss
        self.loss_count += 1

    def judge(self, tasks: tuple[Metrics, ...], training: TrainingSettings, keep: Callable[[], None]) -> dict[str, Any]:
        """Take in the scores of an epoch, and return what the log says of them.

        Args:
            tasks: The scores, one per task.
            training: Which of them decides.
            keep: Called where they are the best so far.

        Raises:
            TrainingError: If they are not finite; nothing is taken in or kept.
        """
        require_scores(tasks, self.step, training.learning_rate)
        score = score_of(tasks, training.monitor)
        best = Best(score, self.step) if training.monitor == "last" else self.best.after(score, self.step)
        if best.step == self.step:
            keep()
        self.best = best
        return {"score": score, "best_step": best.step, "tasks": [asdict(task) for task in tasks]}

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Begin the next epoch, with the log's record of this one."""
        self.epochs.append(record)
        self.epoch += 1
        self.loss_sum, self.loss_count = 0.0, 0

    def patience_ended(self, patience: int | None) -> bool:
        """Whether so many epochs went by without a better score; never without a number."""
        return patience is not None and self.best.waited >= patience


def store(
    folder: Path,
    trainee: Trainee,
    average: Average | None,
    position: Position,
    config: Mapping[str, Any],
    *,
    keep: int,
) -> None:
    """Write where a run stands; all processes take part, the main one writes.

    Args:
        folder: Of all checkpoints of the run.
        trainee: What is trained.
        average: Its moving average, if there is one.
        position: Where the run stands.
        config: Its settings.
        keep: Newest checkpoints that stay.

    Raises:
        TrainingError: If it cannot be written.
    """
    tensors = {"module": whole(trainee.module.state_dict()), "optimizer": _optimizer_tensors(trainee)}
    if average is not None:
        tensors["average"] = whole(average.state)
    if held := _penalty_tensors(trainee):
        tensors["penalty"] = whole(held)
    if trainee.engine.is_main_process:
        scaler = trainee.engine.scaler
        record = {
            **asdict(position),
            "config": dict(config),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        save_state(folder, State(position.step, tensors, record), keep=keep)
    trainee.engine.wait_for_everyone()


def restore(folder: Path, trainee: Trainee, average: Average | None, config: Mapping[str, Any]) -> Position:
    """Bring a run to where its newest checkpoint stands; without one, to its beginning.

    Args:
        folder: Of all checkpoints of the run.
        trainee: What is trained, changed in place.
        average: Its moving average, changed in place.
        config: Its settings and data; all but the section [run] have to be those of the checkpoint.

    Returns:
        Where it stands.

    Raises:
        TrainingError: If the checkpoint is damaged, or of another run.
    """
    if trainee.engine.is_main_process:
        remove_parts(folder)
    trainee.engine.wait_for_everyone()
    path = newest(folder)
    if path is None:
        return Position()
    state = load_state(path)
    check_config(state.record.get("config"), config, path)
    position = position_of(state.record, path)
    held = _penalty_tensors(trainee)
    names = {"module", "optimizer"} | ({"average"} if average is not None else set()) | ({"penalty"} if held else set())
    if state.tensors.keys() != names:
        raise TrainingError(f"expected {sorted(names)} in {path}, found {sorted(state.tensors)}. Begin anew.")
    module = trainee.module.state_dict()
    copy_state(trainee.module, _fitting(state.tensors["module"], module, path))
    if average is not None:
        average.state = _fitting(state.tensors["average"], average.state, path)
    if held:
        for name, tensor in _fitting(state.tensors["penalty"], held, path).items():
            local(held[name]).copy_(local(tensor))
    _fill_optimizer(trainee, state.tensors["optimizer"], path)
    if trainee.engine.scaler is not None and state.record.get("scaler"):
        _fill_scaler(trainee, state.record["scaler"], path)
    return position


def position_of(record: Mapping[str, Any], path: Path) -> Position:
    """Return where a run stands, of a checkpoint's record.

    Args:
        record: From `load_record`.
        path: Of the checkpoint, for messages.

    Raises:
        TrainingError: If something is missing, or is of another type.
    """
    best = _checked(record, "best", dict, path)
    epochs = _checked(record, "epochs", list, path)
    if not all(isinstance(one, dict) for one in epochs):
        raise TrainingError(f"expected epochs in {path} as records, found other values. {_ADVICE}")
    return Position(
        step=_checked(record, "step", int, path),
        epoch=_checked(record, "epoch", int, path),
        best=Best(
            score=None if best.get("score", 0) is None else _checked(best, "score", float, path),
            step=_checked(best, "step", int, path),
            waited=_checked(best, "waited", int, path),
        ),
        epochs=list(epochs),
        loss_sum=_checked(record, "loss_sum", float, path),
        loss_count=_checked(record, "loss_count", int, path),
    )


def _checked(record: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    value: Any = record.get(key)
    # A whole number may stand for another one; true and false are numbers only to Python.
    fits = isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)
    if not fits or (kind is int and value < 0):
        what = {int: "a count", float: "a number", list: "a list", dict: "an object"}[kind]
        raise TrainingError(f"expected {key} in {path} as {what}, found {value!r:.60}. {_ADVICE}")
    return value


def _penalty_tensors(trainee: Trainee) -> dict[str, Tensor]:
    return {} if trainee.penalty is None else trainee.penalty.tensors()


def _optimizer_tensors(trainee: Trainee) -> dict[str, Tensor]:
    # In the same order in every process: what is sharded is put together by all at once.
    found = dict(sorted(trainee.optimizer.state_dict()["state"].items()))
    return {
        f"{i}.{name}": full(value).contiguous() for i, named in found.items() for name, value in sorted(named.items())
    }


def _fill_scaler(trainee: Trainee, found: Any, path: Path) -> None:
    try:
        trainee.engine.scaler.load_state_dict(found)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(f"expected the scale of losses in {path}, found that {error}. {_ADVICE}") from error


def _fill_optimizer(trainee: Trainee, tensors: Mapping[str, Tensor], path: Path) -> None:
    optimizer = trainee.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise TrainingError(f"expected what an optimizer notes in {path}, found {key!r:.60}. {_ADVICE}")
        pattern = parameters[int(number)]
        # Counts of steps are scalars, and stay on the processor.
        state.setdefault(int(number), {})[name] = sharded_like(value, pattern) if value.dim() else value
    inner = optimizer.optimizer
    inner.load_state_dict({"state": state, "param_groups": inner.state_dict()["param_groups"]})


def _fitting(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    unlike = [n for n in sorted(found.keys() | wanted.keys()) if _kind(found.get(n)) != _kind(wanted.get(n))]
    if unlike:
        name = unlike[0]
        raise TrainingError(
            f"expected {_kind(wanted.get(name))} as {name!r} in {path}, found {_kind(found.get(name))}: it is of "
            f"another model. Resume it with the model that it was made with."
        )
    return {name: sharded_like(found[name], pattern) for name, pattern in wanted.items()}


def _kind(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def check_config(found: object, wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with other settings or data; settings of the section [run] may differ.

    A setting that the first do not know is of a later version, and was at its default.

    Args:
        found: Settings that a run was made with, by section and name; what is known of its data, likewise.
        wanted: Those it is to go on with.
        path: Where the first are from, for messages.

    Raises:
        TrainingError: If they differ; the message names all that do.
    """
    if not isinstance(found, Mapping) or not all(isinstance(part, Mapping) for part in found.values()):
        raise TrainingError(f"expected config in {path} as sections of settings, found {found!r:.60}. {_ADVICE}")
    # Settings are made of what this module's package holds.
    from ..config.read import default_settings

    defaults = default_settings()
    told: list[str] = []
    for section in sorted((found.keys() | wanted.keys()) - {"run"}):
        was, now = {**defaults.get(section, {}), **found.get(section, {})}, wanted.get(section, {})
        keys = [key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
        if section == "samples":
            told += other_samples(was, now)
        else:
            told += [f"{section}.{key} = {_shown(now.get(key))} instead of {_shown(was.get(key))}" for key in keys]
    if told:
        raise TrainingError(
            f"expected the settings and data that {path} was made with, found {'; '.join(told)}. Resume with the same "
            f"settings and data, or begin anew in another folder."
        )


def _shown(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
