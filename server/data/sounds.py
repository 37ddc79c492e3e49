"""Sounds in WAV files, and from a sound to what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import InputError
from .fingerprint import Fingerprint, fingerprint
from .found import UNLABELLED, Found
from .image_files import class_folders, find_class_folders
from .log_mel import log_mel
from .resample import resample
from .settings import DataSettings
from .texts import Texts
from .wav import Wav, open_wav


@dataclass(frozen=True)
class SoundReader:
    """Opens WAV files.

    Args:
        root: Folder that all files are below.
        names: Path of each from there, its name in messages.
    """

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        """Return the number of sounds."""
        return len(self.names)

    def read(self, row: int) -> Wav:
        """Return a sound, of which only the header is read yet."""
        return open_wav(self.root / self.names[row], self.names[row])

    def fingerprint(self, row: int) -> Fingerprint:
        """Return a hash of the file."""
        return fingerprint(self.root / self.names[row], self.names[row])


def find_sound_folder(folder: Path) -> Found:
    """Find the WAV files of a folder: one folder per class.

    Raises:
        InputError: If there are none, or if some lie beside the folders of classes.
    """
    found = find_class_folders(folder, (".wav",), "WAV files")
    labels = [label for _, label in found]
    names = Texts(file.relative_to(folder).as_posix() for file, _ in found)
    classes = class_folders(folder) if labels[0] != UNLABELLED else ()
    source = f"{len(names)} WAV files in {folder}"
    return Found(SoundReader(folder, names), (labels,), ("label",), names, None, "sound", source, classes)


@dataclass(frozen=True)
class SoundTransform:
    """Takes a part, resamples it, and makes a log-mel spectrogram. When varied: shift, noise, spec-augment.

    Args:
        settings: What to do.
    """

    settings: DataSettings

    def __call__(self, raw: Wav, *, vary: bool) -> Tensor:
        """Return ``(1, mels, frames) float32``."""
        settings = self.settings
        names = settings.augment if vary else ()
        length = round(settings.seconds * settings.sample_rate)
        sound = self._part(raw, length, "shift" in names)
        if "noise" in names:
            sound = sound + torch.randn(length) * (torch.rand(()) * settings.noise)
        rate = settings.sample_rate
        window, hop = (max(1, round(ms * rate / 1_000)) for ms in (settings.window_ms, settings.hop_ms))
        if window > length:
            raise InputError(f"expected data.window_ms of at most {settings.seconds * 1_000:g}, found more.")
        x = log_mel(sound, rate, mels=settings.mels, window=window, hop=hop)
        if "spec-augment" in names:
            x = mask_bands(mask_bands(x, 0, settings.masks[0]), 1, settings.masks[1])
        if settings.mean:
            x = x - settings.mean[0]
        return (x / settings.std[0] if settings.std else x)[None]

    def _part(self, raw: Wav, length: int, shifted: bool) -> Tensor:
        """Return a part of a sound: its middle or, shifted, a drawn one; a short one is padded at its end."""
        count = min(raw.frames, -(-length * raw.rate // self.settings.sample_rate))
        spare = raw.frames - count
        start = int(torch.randint(spare + 1, ())) if shifted else spare // 2
        sound = resample(torch.from_numpy(raw.read(start, count)), raw.rate, self.settings.sample_rate)[:length]
        move = 0
        if shifted:
            most = round(self.settings.shift * length)
            move = int(torch.randint(-most, most + 1, ()))
        # Negative padding cuts: what is moved out is gone, silence comes in.
        return functional.pad(sound, (move, length - len(sound) - move))


def mask_bands(x: Tensor, dim: int, share: float) -> Tensor:
    """Put the mean in place of a drawn stretch of rows or columns.

    Args:
        x: ``(mels, frames) float32``.
        dim: 0 masks bands, 1 masks time.
        share: Largest part that is masked.

    References:
        Park et al. 2019, "SpecAugment".
    """
    size = x.shape[dim]
    width = int(torch.randint(round(share * size) + 1, ()))
    start = int(torch.randint(size - width + 1, ()))
    masked = x.clone()
    masked.narrow(dim, start, width).fill_(x.mean())
    return masked
