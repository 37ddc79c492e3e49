"""Processes and threads that load data: ended with the loop that reads from them, and told of when one dies."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from ...errors import TrainingError


@contextmanager
def opened(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Read batches of a loader in the block; its workers end with the block.

    A worker that died and is not waited for makes torch raise an error whenever any other process ends.
    """
    batches = iter(loader)
    try:
        yield batches
    finally:
        getattr(batches, "_shutdown_workers", int)()


@contextmanager
def ahead(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Read the next batch in a thread while the one before is worked on; the thread ends with the block.

    Args:
        batches: Read one by one, as without a thread; must leave alone what others use, such as torch's generator. An
            error comes when its batch is asked for.
    """
    thread = ThreadPoolExecutor(1, "batches")

    def taken() -> Iterator[Any]:
        waiting = thread.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = thread.submit(next, batches, None)
            yield batch

    try:
        yield taken()
    finally:
        thread.shutdown(cancel_futures=True)


@contextmanager
def deaths_told(workers: int) -> Iterator[None]:
    """Raise TrainingError where a worker died in the block; torch tells of it in the middle of anything.

    Args:
        workers: How many there are; without any, no error is taken for that.
    """
    died = ""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # One that dies while it hands over a batch breaks the connection.
        if not workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
            raise
        # Some of these errors have no text.
        died = str(error) or type(error).__name__
    if died:
        # Not from within: the error there would keep the loader alive.
        raise TrainingError(
            f"expected processes that load data to live, found that one died ({died}). Nothing is lost since the last "
            f"checkpoint: lower run.workers, or give them more memory, and resume."
        )
