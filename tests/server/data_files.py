"""Small files of data that tests write."""

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def noise_image(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    """Return random pixels ``(height, width, channels)``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image; folders are made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)


def write_image_folder(root: Path, counts: Mapping[str, int], *, size: int = 8, first: int = 0) -> None:
    """Write different images in one folder per class."""
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            write_image(root / name / f"{i:03}.png", noise_image(first + 1000 * place + i, size, size))


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a PNG file of a hundred bytes that says it has billions of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def wav_bytes(sound: NDArray[np.int16], rate: int = 16_000) -> bytes:
    """Return a WAV file of 16 bits, ``(n,)`` or ``(n, channels)``."""
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.astype("<i2").tobytes())
    return buffer.getvalue()


def write_shard(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """Write a tar file with files of the given names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
