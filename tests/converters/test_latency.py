"""The speed of files is measured in turn, in the processor's time, once for each file."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters.quantization import latency
from acclimate.converters.quantization.latency import Stopwatch, latencies

pytestmark = pytest.mark.needs_torch
SAMPLE = np.zeros((1, 2), np.float32)


class Clock:
    """A processor's clock that backbones move on, each at its own pace times that of the machine."""

    def __init__(self, paces: Iterator[float]) -> None:
        self.now, self.paces, self.calls = 0.0, paces, ""

    def load(self, content: bytes) -> Any:
        """Return a backbone that takes as long as its file's second byte says, in units of the machine's pace."""
        clock = self

        class Loaded:
            def embed(self, frames: np.ndarray) -> None:
                clock.calls += chr(content[0])
                clock.now += content[1] * next(clock.paces)

        return Loaded()


@pytest.fixture(params=["linux", "win32"])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let a clock stand for the processor's, and where there is no fine one, for that on the wall."""
    made, broken = Clock(iter(lambda: 1.0, None)), iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(latency, "sys", SimpleNamespace(platform=request.param))
    fine, other = ("perf_counter", "thread_time") if request.param == "win32" else ("thread_time", "perf_counter")
    monkeypatch.setattr(latency, fine, lambda: made.now)
    monkeypatch.setattr(latency, other, lambda: float(next(broken)))
    monkeypatch.setattr(latency, "_MOST_SECONDS", 1e9)
    return made


def test_backbones_take_turns_and_disturbance_counts_for_nothing(clock: Clock) -> None:
    """One call of each after the other; the first, and now and then a slow one, move neither figure."""
    slow = (50.0 if i < 6 or i % 7 == 0 else 1.0 for i in range(1000))
    clock.paces = slow
    assert latencies([clock.load(b"a\x04"), clock.load(b"b\x03")], SAMPLE) == [4.0, 3.0]
    assert clock.calls == "ab" * (len(clock.calls) // 2)


def test_long_calls_are_made_less_often(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful at least, however long they take."""
    monkeypatch.setattr(latency, "_MOST_SECONDS", 0.0)
    assert latencies([clock.load(b"a\x04")], SAMPLE) == [4.0]
    assert 8 <= len(clock.calls) <= 10


def test_a_file_is_measured_once_and_told_in_the_seconds_of_the_first_time(clock: Clock) -> None:
    """A file that is measured while the machine is half as fast is compared as if it were not."""
    watch = Stopwatch(clock.load, b"f\x08", SAMPLE)
    assert watch.seconds({"float": b"f\x08", "int8": b"i\x02"}) == {"float": 8.0, "int8": 2.0}
    clock.calls, clock.paces = "", iter(lambda: 2.0, None)
    found = watch.seconds({"float": b"f\x08", "int8": b"i\x02", "weights": b"w\x06"})
    assert found == {"float": 8.0, "int8": 2.0, "weights": 6.0}
    assert set(clock.calls) == {"f", "w"}
    clock.calls = ""
    assert watch.seconds({(): b"i\x02", None: b"f\x08"}) == {(): 2.0, None: 8.0}
    assert clock.calls == ""


def test_one_file_alone(clock: Clock) -> None:
    """Float alone is measured too."""
    assert Stopwatch(clock.load, b"f\x08", SAMPLE).seconds({"float": b"f\x08"}) == {"float": 8.0}
