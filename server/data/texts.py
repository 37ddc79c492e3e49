"""Many texts in one piece of memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Texts(Sequence[str]):
    """Texts that never change, such as the names of a million files.

    A list of them would be copied into every worker, page by page, as Python counts references (pytorch #13246).

    Args:
        texts: What it holds.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # Names of files need not be UTF-8.
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place = range(len(self))[index]
        piece = self._bytes[self._ends[place] : self._ends[place + 1]]
        return piece.tobytes().decode("utf-8", "surrogateescape")


class Chosen(Sequence[str]):
    """Some of a sequence of texts, looked up when they are asked for.

    Args:
        texts: All of them.
        rows: ``(n,) int64`` places of those that are here.
    """

    def __init__(self, texts: Sequence[str], rows: NDArray[np.int64]) -> None:
        self.texts, self.rows = texts, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.texts[int(row)] for row in self.rows[index]]
        return self.texts[int(self.rows[index])]
