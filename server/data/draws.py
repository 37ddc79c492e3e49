"""Random numbers that depend on the run's seed, the epoch and the sample alone."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(seed: int, epoch: int, index: int, view: int = 0) -> int:
    """Return a seed of 63 bits for one look at one sample."""
    digest = hashlib.blake2b(struct.pack("<4q", seed, epoch, index, view), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let torch's generator of the CPU begin at a seed, and put it back afterwards.

    The transforms of torchvision draw from it. `torch.manual_seed` would seed accelerators, too, and with them the
    training itself.
    """
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
