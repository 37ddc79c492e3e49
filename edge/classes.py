"""The classes of a learner: a sequence of names with what can be done to them."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

from ..errors import LabelError
from .checks import check_ids, check_name
from .session import Session


class Classes(Sequence[str]):
    """Names of all classes, shipped ones first, then in the order in which they were added.

    A class keeps its id through renaming, and an id is never given twice. Every change is one transaction, and
    `predict` follows at once: a renamed class answers by its new name, merged ones add their probabilities up, a
    removed one is never predicted again. The next `adapt` learns from what the samples say then.

    Args:
        session: The opened learner.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._store = session, session.store

    def __len__(self) -> int:
        return len(self._store.classes())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return tuple(self._store.classes().values())[index]

    def __iter__(self) -> Iterator[str]:
        # One look at the store, where `Sequence` would look once for each name.
        return iter(self[:])

    def __contains__(self, value: object) -> bool:
        return _named(value) in self[:]

    def index(self, value: object, start: int = 0, stop: int = sys.maxsize) -> int:
        """Return the place of a name; ValueError where there is no such class."""
        return self[:].index(_named(value), start, stop)

    def count(self, value: object) -> int:
        """Return 1 where there is such a class, else 0."""
        return self[:].count(_named(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Classes | tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # the names change

    def __repr__(self) -> str:
        return f"Classes{tuple(self)!r}"

    @property
    def ids(self) -> dict[str, int]:
        """The stable id of every class by its name."""
        return {name: number for number, name in self._store.classes().items()}

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the shipped classes that are not trained on."""
        frozen = self._store.frozen_classes()
        return tuple(name for number, name in self._store.classes().items() if number in frozen)

    def add(self, name: str) -> None:
        """Add a class without samples.

        Raises:
            LabelError: If the name is not a name, or taken.
        """
        with self._store.transaction():
            self._store.add_classes([self._free(name)])

    def rename(self, name: str, to: str) -> None:
        """Give a class another name; id, samples and versions stay.

        Raises:
            LabelError: If there is no such class, or the new name is taken.
        """
        with self._store.transaction():
            number = self._id(name)
            if check_name(to) != self._store.classes()[number]:
                self._store.rename_class(number, self._free(to))

    def merge(self, names: Sequence[str], into: str) -> None:
        """Make several classes one.

        Args:
            names: The classes; of shipped ones the source statistics are added up.
            into: One of them, or another class, or a new name: then the first of `names` gets it.

        Raises:
            LabelError: If a class is missing, or fewer than two are named.
        """
        given = None if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
        if given is None:
            raise LabelError(f"expected a list of classes to merge, found {names!r:.80}.")
        with self._store.transaction():
            known, target = self.ids, check_name(into)
            numbers = list(dict.fromkeys(self._id(name, known) for name in given))
            if not numbers or len({*numbers, known.get(target, numbers[0])}) < 2:
                raise LabelError(f"expected at least two classes to merge, found {given}.")
            kept = known.get(target, numbers[0])
            self._store.merge_classes([number for number in numbers if number != kept], kept)
            if target not in known:
                self._store.rename_class(kept, target)

    def split(self, name: str, ids: Sequence[int], into: str) -> None:
        """Split a new class off: some of a class's samples become another one.

        Args:
            name: The class.
            ids: Sample ids of it.
            into: Name of the new class.

        Raises:
            LabelError: If there is no such class, the name is taken, or a sample is of another class.
            InputError: If an id is not stored.
        """
        with self._store.transaction():
            number, samples = self._id(name), check_ids(ids)
            own = set(self._store.find(label_id=number).tolist())
            foreign = [i for i in samples if i not in own]
            if foreign or not samples:
                raise LabelError(f"expected ids of samples of {name!r}, found {foreign[:5] or 'none'}.")
            self._store.add_classes([self._free(into)])
            self._store.label(samples, [self.ids[check_name(into)]] * len(samples))

    def remove(self, name: str, *, forget: bool = False) -> None:
        """Remove a class. It is not predicted any more, and the next `adapt` does without it.

        For local samples that is exact. Of a shipped class, its mean leaves the source statistics, and its share of the
        spread within the classes, which all shipped classes have in common, is estimated.

        Args:
            name: The class.
            forget: Whether its samples are forgotten as by `Learner.forget`; else they stay, without a label.

        Raises:
            LabelError: If there is no such class.
        """
        with self._session.adapting:
            self._store.remove_class(self._id(name), forget=forget)

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Keep a shipped class as it was shipped: local samples of it are stored, and not trained on.

        Args:
            name: The class, with source statistics or a shipped head.
            frozen: False to learn from its samples again.

        Raises:
            LabelError: If there is no such class, or it was not shipped.
        """
        with self._store.transaction():
            number = self._id(name)
            if frozen and number not in self._store.shipped_classes():
                raise LabelError(f"expected a shipped class to freeze, found {name!r}, which was added here.")
            bundle, runtime = self._session.bundle, self._session.runtime
            if frozen and bundle.head(runtime) is None and f"{runtime}/source.safetensors" not in bundle.sizes:
                raise LabelError(
                    f"expected a shipped class to freeze, found {name!r}, which was shipped with neither head nor "
                    f"source statistics: there is nothing to keep."
                )
            self._store.set_frozen(number, frozen)

    def _id(self, name: str, known: Mapping[str, int] | None = None) -> int:
        found = (self.ids if known is None else known).get(check_name(name))
        if found is None:
            raise LabelError(f"expected one of the classes {list(self)[:20]}, found {name!r}.")
        return found

    def _free(self, name: str) -> str:
        checked = check_name(name)
        if checked in self.ids:
            raise LabelError(
                f"expected a name that no class has yet, found {checked!r}. Merge the two, or choose another."
            )
        return checked


def _named(value: object) -> str:
    """Return a name as it is stored, a whole number as its decimal one; for others the empty one, of no class."""
    try:
        return check_name(value)
    except LabelError:
        return ""
