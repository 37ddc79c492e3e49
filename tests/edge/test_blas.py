"""Products of a small adaptation run on one thread, and afterwards on as many as before."""

import threading

import numpy as np
import pytest

from acclimate.edge.adaptation.blas import threads_for

threadpoolctl = pytest.importorskip("threadpoolctl")


def _threads() -> int:
    np.eye(2) @ np.eye(2)
    pools = [
        pool
        for pool in threadpoolctl.threadpool_info()
        if pool["internal_api"] == "openblas" and "numpy" in pool["filepath"]
    ]
    if not pools:
        pytest.skip("numpy has no OpenBLAS here")
    return int(pools[0]["num_threads"])


@pytest.fixture(autouse=True)
def two_threads() -> object:
    """Start from two threads, whatever the machine has."""
    with threadpoolctl.threadpool_limits(2):
        if _threads() != 2:
            pytest.skip("numpy's products take one thread here")
        yield


def test_small_adaptations_take_one_thread() -> None:
    """Inside there is one thread; afterwards, also after an error, there are as many as before."""
    with threads_for(200, 2_064):
        assert _threads() == 1
    assert _threads() == 2
    with pytest.raises(ValueError, match="stop"), threads_for(200, 2_064):
        raise ValueError("stop")
    assert _threads() == 2


def test_large_adaptations_take_all() -> None:
    """Products that take seconds are worth every core."""
    with threads_for(10_000, 2_064):
        assert _threads() == 2


def test_the_last_one_out_restores() -> None:
    """Two learners may adapt at once; the first to end must not speed up, or slow down for good, what is left."""
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with threads_for(200, 64):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with threads_for(200, 64):
        thread.start()
        assert entered.wait(10)
    assert _threads() == 1
    leave.set()
    thread.join()
    assert _threads() == 2
