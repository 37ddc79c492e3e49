"""Keep the exporters' chatter off the terminal."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what exporters print, warn, log and write from native code; errors still raise.

    What other threads write to ``sys.stdout`` and ``sys.stderr``, a progress bar for example, still reaches them.
    Native code's standard error is held back for the whole process meanwhile.
    """
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        stack.callback(logging.disable, level)
        stderr = stack.enter_context(_native_stderr_away())
        stack.enter_context(contextlib.redirect_stdout(_for_other_threads(sys.stdout)))
        stack.enter_context(contextlib.redirect_stderr(_for_other_threads(stderr)))
        yield


class _OtherThreads:
    """A stream that takes what every thread but its maker's writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._maker = threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._maker else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _for_other_threads(stream: TextIO) -> TextIO:
    # Without a console (a service, a window system) Python's streams are None.
    return stream if stream is None else cast(TextIO, _OtherThreads(stream))


@contextlib.contextmanager
def _native_stderr_away() -> Iterator[TextIO]:
    try:
        saved = os.dup(2)
    except OSError:
        yield sys.stderr
        return
    with tempfile.TemporaryFile() as sink, os.fdopen(saved, "w", buffering=1) as real:
        shares = sys.stderr is not None and _descriptor(sys.stderr) == 2
        if shares:
            sys.stderr.flush()
        os.dup2(sink.fileno(), 2)
        try:
            yield real if shares else sys.stderr
        finally:
            real.flush()
            os.dup2(saved, 2)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
