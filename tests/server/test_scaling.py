"""The cost model of a step: closed forms, links found again from times, and the table of the documentation."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.scaling import Link, StepTime, Workload, exchange_time, fit_link, step_time

pytestmark = pytest.mark.needs_torch


def test_an_exchange_is_the_closed_form_of_the_ring() -> None:
    """2 (n - 1) / n of the bytes over the bandwidth, and 2 (n - 1) latencies; half as much again for FSDP."""
    link = Link(bandwidth=1e9, latency=1e-4)
    assert exchange_time(8e6, 1, link) == 0
    assert exchange_time(8e6, 2, link) == pytest.approx(8e-3 + 2e-4)
    assert exchange_time(8e6, 8, link) == pytest.approx(2 * 7 / 8 * 8e-3 + 14e-4)
    assert exchange_time(8e6, 8, link, rounds=3) == pytest.approx(1.5 * exchange_time(8e6, 8, link))
    # However many there are, no process sends more than twice what it holds.
    assert exchange_time(8e6, 10_000, Link(1e9)) == pytest.approx(16e-3, rel=1e-3)


def test_an_exchange_is_what_a_simulated_ring_takes() -> None:
    """Messages of one n-th each, all processes at once, until each has the sum of all."""
    n, size, link = 5, 1_000.0, Link(bandwidth=100.0, latency=0.5)
    # held[p][c]: the processes whose chunk c is in process p's sum.
    held = [[{p} for _ in range(n)] for p in range(n)]
    seconds = 0.0
    for turn in range(2 * (n - 1)):
        sent = [(p, (p - turn) % n, set(held[p][(p - turn) % n])) for p in range(n)]
        for p, chunk, content in sent:
            held[(p + 1) % n][chunk] |= content
        seconds += link.latency + size / n / link.bandwidth
    assert all(len(chunk) == n for process in held for chunk in process)
    assert exchange_time(size, n, link) == pytest.approx(seconds)


def test_a_step_is_the_slower_of_computing_and_reading_and_what_follows() -> None:
    """Each part by hand; twice the readers read twice as fast; a checkpoint is shared out to its steps."""
    work = Workload(
        sample_seconds=1e-3,
        gradient_bytes=4e6,
        step_seconds=2e-3,
        read_seconds=5e-3,
        readers=4,
        checkpoint_seconds=3.0,
        checkpoint_every=100,
    )
    found = step_time(work, batch_size=64, processes=4, link=Link(1e9))
    assert (found.compute, found.input) == pytest.approx((18e-3, 20e-3))
    assert (found.exchange, found.checkpoint) == pytest.approx((6e-3, 30e-3))
    assert found.total == pytest.approx(56e-3)
    assert StepTime(3.0, 2.0, 0.5, 0.25).total == 3.75
    alone = step_time(work, batch_size=64, processes=1, link=Link(1.0))
    assert alone.exchange == 0
    fsdp = step_time(work, batch_size=64, processes=4, link=Link(1e9), sharding="fsdp")
    assert fsdp.exchange == pytest.approx(9e-3)


def test_a_link_is_found_again_from_times() -> None:
    """Exact times give it exactly; with 5 % of noise it is near; a latency is never below 0."""
    link, sizes = Link(bandwidth=2e9, latency=3e-4), [2.0**k for k in range(8, 26, 2)]
    exact = [exchange_time(size, 4, link) for size in sizes]
    found = fit_link(sizes, exact, 4)
    assert (found.bandwidth, found.latency) == pytest.approx((2e9, 3e-4), rel=1e-9)
    noise = np.random.default_rng(0).normal(1, 0.05, len(sizes))
    found = fit_link(sizes, [t * f for t, f in zip(exact, noise, strict=True)], 4)
    assert (found.bandwidth, found.latency) == pytest.approx((2e9, 3e-4), rel=0.1)
    assert fit_link([1e6, 2e6], [1e-3, 2.1e-3], 2).latency == 0


def test_numbers_that_mean_nothing_are_refused() -> None:
    """A batch that does not divide, another sharding, no bandwidth, no number, and times that tell nothing."""
    work = Workload(sample_seconds=1.0, gradient_bytes=1.0)
    with pytest.raises(InputError, match=r"multiple of the number of processes, found 10 and 4"):
        step_time(work, batch_size=10, processes=4, link=Link(1.0))
    with pytest.raises(InputError, match=r"out of none, fsdp, found 'zero'"):
        step_time(work, batch_size=8, processes=4, link=Link(1.0), sharding="zero")
    with pytest.raises(InputError, match=r"expected bandwidth as a finite number above 0, found 0"):
        Link(0)
    with pytest.raises(InputError, match=r"expected sample_seconds as a finite number of 0 or more, found nan"):
        Workload(sample_seconds=float("nan"), gradient_bytes=1)
    with pytest.raises(InputError, match="larger all-reduces to take longer"):
        fit_link([1e3, 1e6], [1.0, 0.5], 2)
    with pytest.raises(InputError, match="two sizes or more"):
        fit_link([1e3, 1e3], [1.0, 1.0], 2)


def test_the_table_of_the_documentation_is_what_the_model_gives() -> None:
    """Its code runs, and with that work and those links each row is computed again."""
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    names: dict[str, Any] = {"print": lambda total: names.update(printed=total)}
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile("\n".join(code), "scaling.md", "exec"), names)  # noqa: S102
    assert f"# {names['printed']:.4f} s" in page
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| (none|fsdp) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    first = 0.0
    for processes, batch, sharding, figures in rows:
        n, size = int(processes), int(batch.replace(",", ""))
        link = names["inside"] if n <= 8 else names["between"]
        step = step_time(names["work"], batch_size=size, processes=n, link=link, sharding=sharding)
        rate = size / step.total
        first = first or rate
        times = [f"{1e3 * part:.1f}" for part in (step.compute, step.input, step.exchange, step.total)]
        assert figures.split(" | ") == [*times, f"{rate:,.0f}", f"{rate / first:.1f}"]
