"""Of several processes under torchrun that fail alike, one speaks."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from ..errors import AcclimateError

_REFUSED = 1
# Within it, others come to the same refusal, or have told theirs before they left.
_PATIENCE = timedelta(seconds=5)
# torchrun ends all processes once one has ended: the one that speaks should be the first.
_MARGIN = 1.0


@contextmanager
def one_voice() -> Iterator[None]:
    """Leave without a word where the first process refuses the same, or another's refusal broke the connection.

    What one process alone refuses is told. Without torchrun's store, every process speaks.
    """
    try:
        yield
    except AcclimateError as error:
        if not _is_told(str(error)):
            raise
        raise SystemExit(_REFUSED) from None
    except RuntimeError:
        # What torch raises in a process whose others are gone.
        if not _others_told():
            raise
        raise SystemExit(_REFUSED) from None


def _is_told(message: str) -> bool:
    """Tell the others of a refusal, and return whether the first process tells people the same."""
    store = _store()
    if store is None:
        return False
    with suppress(RuntimeError):
        rank = os.environ.get("RANK", "0")
        store.set(_key(rank), message)
        store.set(_key("any"), rank)
        if rank != "0":
            store.wait([_key("0")], _PATIENCE)
            return _left(store.get(_key("0")).decode(errors="replace") == message)
    return False


def _others_told() -> bool:
    """Return whether another process has told of a refusal."""
    store = _store()
    if store is not None:
        with suppress(RuntimeError):
            store.wait([_key("any")], _PATIENCE)
            if os.environ.get("RANK", "0") == "0":
                # Who waits to hear whether the first process says the same need not wait any longer.
                store.set(_key("0"), "")
            return _left(True)
    return False


def _left(told: bool) -> bool:
    if told:
        time.sleep(_MARGIN)
    return told


def _key(what: str) -> str:
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"acclimate/{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{attempt}/{what}"


def _store() -> Any:
    """Return the store that torchrun keeps for its processes; None where there is no torchrun, or no more."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, and missing from its list of names

    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_PATIENCE)
    except (KeyError, ValueError, RuntimeError):
        return None
