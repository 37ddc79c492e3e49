"""Names of the shipped classes, and the source's labels in their terms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..edge.checks import check_name
from ..errors import InputError, LabelError

Labels = Sequence[Any] | NDArray[Any]


def name_classes(classes: Sequence[str] | None, labels: Labels | None, outputs: int | None) -> tuple[str, ...]:
    """Settle the names of the shipped classes.

    Args:
        classes: Names in the order of the head's outputs, or None.
        labels: Labels of the source data, or None.
        outputs: Outputs of the head that is kept, or None if none is.

    Returns:
        The names: those given; else the labels that occur, sorted; for a kept head without names "0", "1", ...

    Raises:
        InputError: If the names do not fit the head, or occur twice; if a head with fewer than two outputs is kept.
        LabelError: If a name is no name.
    """
    if outputs is not None and outputs < 2:
        raise InputError(
            f"expected a head of at least two outputs to keep, one for each class, found {outputs}: it would call "
            f"everything the same. Give the model an output for each class, fit a new head on source data "
            f"(head='fit'), ship none (head=None), or, where the output is a measured value, convert with "
            f"task='regression'."
        )
    if classes is not None:
        names = tuple(check_name(name) for name in classes)
        if len(set(names)) != len(names):
            raise InputError(f"expected every class name once, found one twice in {list(names)[:20]}.")
        if outputs is not None and len(names) != outputs:
            raise InputError(
                f"expected {outputs} class names, one per output of the model's head, found {len(names)}. "
                f"Name them in the order of its outputs, or convert with head='fit' or head=None."
            )
        return names
    if outputs is not None:
        return tuple(str(i) for i in range(outputs))
    if labels is None:
        return ()
    found = {check_name(label) for label in labels}
    return tuple(sorted(found, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name)))


def class_ids(labels: Labels, names: Sequence[str], n: int) -> NDArray[np.int64]:
    """Turn the source's labels into places in the list of classes.

    Args:
        labels: One per sample: names, or, if they are whole numbers that are no names here, places.
        names: The shipped classes.
        n: Number of samples.

    Returns:
        ``(n,) int64``.

    Raises:
        LabelError: If their number differs, or one is neither a name nor a place.
    """
    if isinstance(labels, str | bytes) or len(labels) != n:
        raise LabelError(f"expected one label per source sample ({n}), found {len(labels)}.")
    places = {name: i for i, name in enumerate(names)}
    given = [check_name(label) for label in labels]
    unknown = sorted(set(given) - set(places))
    if not unknown:
        return np.array([places[name] for name in given], np.int64)
    whole = all(isinstance(label, int | np.integer) for label in labels)
    if whole and all(0 <= int(label) < len(names) for label in labels):
        return np.array([int(label) for label in labels], np.int64)
    if list(names) == [str(i) for i in range(len(names))]:
        # Nobody called them so: these are the outputs of a head that is kept.
        raise LabelError(
            f"expected to be told which of the model's {len(names)} outputs stands for which class, since the source "
            f"labels are names: {unknown[:5]}. Pass classes=[...], the names in the order of the outputs, or fit a new "
            f"head on the source data (head='fit')."
        )
    raise LabelError(
        f"expected source labels among the classes {list(names)[:20]}, found {unknown[:5]}. "
        f"Name every class in `classes`, or leave `classes` out."
    )
