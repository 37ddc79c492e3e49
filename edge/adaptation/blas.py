"""Threads of numpy's matrix products: many small ones are faster on one."""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

# Below so many operations of its greatest products an adaptation takes a fraction of a second on one core.
SMALL = 2e9
# What numpy's wheels call the functions of the OpenBLAS inside them, from the newest on, and what a system's own does.
_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
_MODULES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
_lock = threading.Lock()
# How many callers are inside, and the number of threads before the first.
_inside, _before = 0, 0


def small(samples: int, width: int) -> bool:
    """Return whether an adaptation is so small that its products are done on one thread."""
    return 2.0 * samples * width * min(samples, width) < SMALL


@contextmanager
def threads_for(samples: int, width: int) -> Iterator[None]:
    """Keep numpy's products on one thread while a small adaptation runs.

    OpenBLAS makes its threads wait for each other in a loop: where another process, or the inference runtime, has a
    core, each of a few hundred products of a millisecond may wait for tens. On a busy machine of two cores an
    adaptation took three to thirty times as long on two threads; on an idle one the second thread gains a few
    milliseconds.

    Args:
        samples: Number of samples.
        width: Dimensions of the latent.
    """
    with one_thread() if small(samples, width) else nullcontext():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep numpy's products on one thread.

    It holds for the process, so other threads' products are slower meanwhile. Without OpenBLAS nothing is done.
    """
    found = _functions()
    if found is None:
        yield
        return
    global _inside, _before
    get, put = found
    with _lock:
        if not _inside:
            _before = get()
            put(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                put(_before)


def _functions() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """Return OpenBLAS's functions that get and set the number of threads, or None."""
    core = next((sys.modules[name] for name in _MODULES if name in sys.modules), None)
    if core is None or core.__file__ is None:
        return None
    try:
        library = ctypes.CDLL(core.__file__)
    except OSError:
        return None
    for name in _NAMES:
        if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
