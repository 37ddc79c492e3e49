"""Stored maps, a batch at a time: kept in memory where they are few, else read from the store each time."""

import numpy as np
from numpy.typing import NDArray

from ...latent import Codes
from ...map_code import MapCode
from ..head import Ids
from ..store.store import Store
from .graphs import Float32

# Bytes of maps that are kept in memory; maps read together.
KEPT, _ROWS = 2**26, 32


class StoredMaps:
    """The maps of some samples.

    Args:
        store: Where they are.
        ids: ``(n,)`` the samples.
        code: How they are stored.
        kept: Bytes that may be held in memory.
    """

    def __init__(self, store: Store, ids: Ids, code: MapCode, kept: int = KEPT) -> None:
        self._store, self.ids, self._code = store, ids, code
        self._codes: Codes | None = None
        if len(ids) * code.size <= kept:
            self._codes = np.empty((len(ids), code.size), np.uint8)
            for start in range(0, len(ids), _ROWS):
                self._codes[start : start + _ROWS] = store.maps(ids[start : start + _ROWS])

    def read(self, rows: NDArray[np.integer]) -> Float32:
        """Return the maps of some samples, ``(m, *shape) float32``.

        Args:
            rows: ``(m,)`` their places among the ids.

        Raises:
            InputError: If one of them is not stored any more.
            StoreCorruptError: If one of them is damaged.
        """
        codes = self._store.maps(self.ids[rows]) if self._codes is None else self._codes[rows]
        return self._code.decode(codes)
