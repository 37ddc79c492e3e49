"""Files of shards: named by a pattern, opened where they are, read sample by sample."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ...errors import InputError
from ...extras import require
from .shard_members import read_members
from .shard_samples import ShardSample, sample_of

# webdataset runs what stands behind "pipe:" in a shell, and hands addresses to curl.
_ADDRESS = re.compile(r"https?://[\w.\-:]+/[\w./?=%+,~@\-]*")


def expand_shards(pattern: str) -> list[str]:
    """Return the shards that a pattern names: ``train-{000..099}.tar``, paths or addresses.

    Raises:
        InputError: If one is missing, or is no plain path or address.
    """
    require("webdataset", extra="server", needed_by="reading shards")
    import braceexpand

    try:
        found = list(braceexpand.braceexpand(pattern))
    except ValueError as error:
        raise InputError(f"expected a pattern of shards, found {pattern!r}: {error}. Mend data.train.") from error
    for shard in found:
        if "://" in shard or shard.startswith("pipe:"):
            if not _ADDRESS.fullmatch(shard):
                raise InputError(f"expected a path or a plain https address of a shard, found {shard!r}. Mend it.")
        elif not Path(shard).is_file():
            raise InputError(f"expected a shard at {shard}, found none. Restore it, or mend the pattern.")
    return found


def read_shard(shard: str, labels: Sequence[str]) -> Iterator[ShardSample]:
    """Read the samples of a shard.

    Args:
        shard: Path or address.
        labels: Names of the tasks.

    Raises:
        InputError: If it cannot be read; the message names shard and sample.
    """
    from webdataset.tariterators import group_by_keys

    name = Path(shard).name
    try:
        with _opened(shard) as file:
            for group in group_by_keys(read_members(file, name)):
                yield sample_of(group, name, labels)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}: expected each member once, found that {error}. Write the shard anew.") from error
    # What is fetched tells only when it is closed that there was nothing.
    except OSError as error:
        raise InputError(f"expected a shard at {shard}, found that {error!s:.300}. Restore it, or mend it.") from error


def _opened(shard: str) -> IO[bytes]:
    if "://" not in shard:
        return Path(shard).open("rb")
    from webdataset.gopen import gopen

    stream: IO[bytes] = gopen(shard)
    return stream
