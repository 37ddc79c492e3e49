"""What may be asked of a tail: refused before any work where it cannot be."""

from collections.abc import Sequence
from typing import Literal, get_args

from ..errors import InputError
from ..manifest import Task
from .source import HeadChoice
from .training.objective import Penalty
from .training.optimiser import Optimiser

Train = Literal["all"] | Sequence[str]
USUAL = {"optimiser": "sgd", "penalty": "l2sp"}


def check_training(
    optimiser: Optimiser, penalty: Penalty, head: HeadChoice | None, *, deeper: bool, with_source: bool
) -> None:
    """Refuse a way of training that cannot be, before any work.

    Args:
        optimiser: See `convert`.
        penalty: See `convert`.
        head: See `convert`.
        deeper: Whether a tail was asked for.
        with_source: Whether there is source data.

    Raises:
        InputError: If the arguments do not fit together.
    """
    for name, value, known in (
        ("optimiser", optimiser, get_args(Optimiser)),
        ("penalty", penalty, get_args(Penalty)),
    ):
        if value not in known:
            raise InputError(f"expected {name} as one of {known}, found {value!r}. By default it is {USUAL[name]!r}.")
        if not deeper and value != USUAL[name]:
            raise InputError(f"expected `{name}` beside a tail, found it without one. Pass last=N or cut=NAME.")
    if penalty == "ewc" and not with_source:
        raise InputError(
            "expected source data for penalty='ewc', whose Fisher information is measured on it, found none. "
            "Pass source=(x, y), or penalty='l2sp'."
        )
    if penalty == "ewc" and head is None:
        raise InputError(
            "expected a shipped head for penalty='ewc', found head=None: without one the source says nothing of what "
            "lies in front of it. Convert with head='keep' or 'fit', or with penalty='l2sp'."
        )


def check_tail_arguments(last: int | None, cut: str | None, task: Task, train: Train) -> None:
    """Refuse what cannot be, before any work.

    Raises:
        InputError: If the arguments do not fit together.
    """
    if last is None and cut is None:
        if train != "all":
            raise InputError("expected `train` beside a tail, found it without one. Pass last=N or cut=NAME.")
        return
    if last is not None and cut is not None:
        raise InputError(f"expected either last or cut, found {last} and {cut!r}. Leave one out.")
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
        raise InputError(f"expected last as a number of blocks from 1, found {last!r}. See `acclimate cuts`.")
    if task != "classification":
        raise InputError(f"expected classification for a tail, found {task!r}. Convert without last and cut.")
