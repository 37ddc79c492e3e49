"""WAV files: the header read and checked, samples read in parts."""

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .fingerprint import open_file

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MOST_CHUNKS, _MOST_CHANNELS, _MOST_RATE = 1_000, 64, 384_000
# Kind of number and its size in bytes to how it is read; 24 bits have no type of their own.
_TYPES = {(_PCM, 1): "u1", (_PCM, 2): "<i2", (_PCM, 4): "<i4", (_FLOAT, 4): "<f4", (_FLOAT, 8): "<f8"}


@dataclass(frozen=True, eq=False)
class Wav:
    """A WAV file whose header was read.

    Args:
        source: The file, or its content.
        name: Its name in messages.
        rate: Samples per second.
        channels: Number of channels.
        kind: 1 for whole numbers, 3 for floating point.
        width: Bytes of one number.
        offset: Where the samples begin.
        frames: Samples of each channel.
    """

    source: Path | bytes
    name: str
    rate: int
    channels: int
    kind: int
    width: int
    offset: int
    frames: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Return the mean of the channels, ``(count,) float32``, -1 to 1, from a place on.

        Raises:
            InputError: If the file changed, or holds numbers that are not finite.
        """
        step = self.channels * self.width
        with _opened(self.source, self.name) as file:
            file.seek(self.offset + start * step)
            content = file.read(count * step)
        if len(content) != count * step:
            raise InputError(f"{self.name}: expected {count} samples from {start} on, found fewer. Restore the file.")
        every = _numbers(content, self.kind, self.width).reshape(count, self.channels)
        sound: NDArray[np.float32] = every.mean(axis=1, dtype=np.float32)
        if not np.isfinite(sound).all():
            raise InputError(f"{self.name}: expected finite samples, found NaN or infinity. Leave it out.")
        return sound


def open_wav(source: Path | bytes, name: str) -> Wav:
    """Read the header of a WAV file: whole numbers of 8 to 32 bits, or floating point.

    Args:
        source: The file, or its content.
        name: Its name in messages.

    Raises:
        InputError: If it is no such file, is cut off, or has no samples.
    """
    with _opened(source, name) as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise InputError(f"{name}: expected a WAV file, found another format. Convert it.")
        form: tuple[int, int, int, int] | None = None
        for _ in range(_MOST_CHUNKS):
            chunk = file.read(8)
            if len(chunk) < 8:
                break
            kind, length = struct.unpack("<4sI", chunk)
            if kind == b"fmt ":
                form = _form(file.read(min(length, 64)), name)
                file.seek(length - min(length, 64) + length % 2, 1)
            elif kind == b"data":
                return _wav(source, name, form, file.tell(), length, size)
            else:
                file.seek(length + length % 2, 1)
    raise InputError(f"{name}: expected samples in the WAV file, found none. Leave it out.")


def _wav(
    source: Path | bytes, name: str, form: tuple[int, int, int, int] | None, offset: int, length: int, size: int
) -> Wav:
    if form is None:
        raise InputError(f"{name}: expected the format before the samples, found none. Convert it.")
    if offset + length > size:
        raise InputError(
            f"{name}: expected {length:,} bytes of samples, as its header says, found {size - offset:,}: it is cut "
            f"off. Restore it, or leave it out."
        )
    kind, channels, rate, width = form
    frames = length // (channels * width)
    if not frames:
        raise InputError(f"{name}: expected samples in the WAV file, found none. Leave it out.")
    return Wav(source, name, rate, channels, kind, width, offset, frames)


def _form(content: bytes, name: str) -> tuple[int, int, int, int]:
    """Return kind, channels, rate and bytes of a number."""
    if len(content) < 16:
        raise InputError(f"{name}: expected the format of the samples, found {len(content)} bytes. Convert it.")
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == _EXTENSIBLE and len(content) >= 26:
        (kind,) = struct.unpack("<H", content[24:26])
    width = bits // 8
    if ((kind, width) not in _TYPES and (kind, width) != (_PCM, 3)) or bits % 8:
        raise InputError(
            f"{name}: expected whole numbers of 8, 16, 24 or 32 bits, or floating point of 32 or 64, found format "
            f"{kind} of {bits} bits. Convert it to 16 bits."
        )
    if not (0 < channels <= _MOST_CHANNELS and 0 < rate <= _MOST_RATE and block == channels * width):
        raise InputError(
            f"{name}: expected 1 to {_MOST_CHANNELS} channels at up to {_MOST_RATE:,} Hz, found {channels} at "
            f"{rate:,} Hz in blocks of {block} bytes. Convert it."
        )
    return kind, channels, rate, width


def _numbers(content: bytes, kind: int, width: int) -> NDArray[np.float32]:
    if (kind, width) == (_PCM, 3):
        # As the upper three bytes of four.
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        whole = wide.reshape(-1).view("<i4")
        return (whole / np.float32(2**31)).astype(np.float32)
    raw = np.frombuffer(content, _TYPES[kind, width])
    if kind == _FLOAT:
        with np.errstate(over="ignore"):
            return raw.astype(np.float32)
    if width == 1:
        return ((raw.astype(np.float32) - 128) / 128).astype(np.float32)
    return (raw.astype(np.float32) / np.float32(2 ** (8 * width - 1))).astype(np.float32)


def _opened(source: Path | bytes, name: str) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else open_file(source, name)
