"""What a store keeps in one value each, as an attribute that is read from the file and written in a transaction."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from .connection import Connection

V = TypeVar("V")


class Holder(Protocol):
    """What has such attributes: a `Store`."""

    @property
    def connection(self) -> Connection:
        """The open database."""

    def transaction(self) -> AbstractContextManager[None]:
        """Run statements all or none, durable on return."""


class Kept(Generic[V]):
    """An attribute of a store.

    Args:
        read: Reads it.
        write: Writes it, inside a transaction.
    """

    def __init__(self, read: Callable[[Connection], V], write: Callable[[Connection, V], None]) -> None:
        self._read, self._write = read, write

    def __get__(self, store: Holder, owner: type | None = None) -> V:
        return self._read(store.connection)

    def __set__(self, store: Holder, value: V) -> None:
        with store.transaction():
            self._write(store.connection, value)


def count(name: str) -> Kept[int]:
    """Return an attribute that is a whole number in the settings."""
    return Kept(lambda db: db.count_setting(name), lambda db, value: db.set(name, value))


def flag(name: str) -> Kept[bool]:
    """Return an attribute that is 0 or 1 in the settings."""
    return Kept(lambda db: bool(db.count_setting(name)), lambda db, value: db.set(name, int(value)))
