"""Sounds: WAV files of every usual kind, resampled, turned into log-mel spectrograms; each against another reader."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.draws import drawn_from
from acclimate.server.data.log_mel import FLOOR, log_mel
from acclimate.server.data.resample import resample
from acclimate.server.data.sounds import SoundTransform, mask_bands
from acclimate.server.data.wav import open_wav

from .data_files import wav_bytes

pytestmark = pytest.mark.needs_torch


def tone(hertz: float, rate: int, seconds: float = 1.0) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def raw_wav(
    content: bytes, *, kind: int, bits: int, channels: int = 1, rate: int = 16_000, extra: bytes = b""
) -> bytes:
    width = bits // 8 * channels
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<i4", "<f4", "<f8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_each_kind_of_number_reads_as_scipy_reads_it(tmp_path: Path, dtype: str, channels: int) -> None:
    """8, 16 and 32 bits and floating point, mono and stereo, whole and in parts: the mean of the channels, -1 to 1."""
    wavfile = pytest.importorskip("scipy.io.wavfile")
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        sound = rng.uniform(-1, 1, (500, channels)).astype(kind)
    else:
        limits = np.iinfo(kind)
        sound = rng.integers(limits.min, limits.max, (500, channels), kind, endpoint=True)
    wavfile.write(tmp_path / "x.wav", 8_000, sound[:, 0] if channels == 1 else sound)
    rate, read = wavfile.read(tmp_path / "x.wav")
    scaled = read.reshape(500, channels).astype(np.float64)
    wanted = (
        (scaled - 128) / 128 if dtype == "u1" else scaled if kind.kind == "f" else scaled / 2 ** (8 * kind.itemsize - 1)
    )
    wav = open_wav(tmp_path / "x.wav", "x.wav")
    assert (wav.rate, wav.frames) == (rate, 500)
    assert np.allclose(wav.read(0, 500), wanted.mean(axis=1), atol=1e-6)
    assert np.allclose(wav.read(120, 30), wanted.mean(axis=1)[120:150], atol=1e-6)


def test_24_bits_and_the_extensible_format() -> None:
    """Three bytes a number, announced as newer programs do, behind a chunk of odd length: exact values."""
    numbers = np.array([0, 1, -1, 2**22, -(2**23), 2**23 - 1])
    content = b"".join(int(n).to_bytes(3, "little", signed=True) for n in numbers)
    extra = struct.pack("<HHIH", 22, 24, 4, 1) + bytes(14)
    wav = open_wav(raw_wav(content, kind=0xFFFE, bits=24, extra=extra), "x")
    assert np.allclose(wav.read(0, 6), numbers / 2**23, atol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.wav: expected a WAV file, found another format"),
        (b"RIFX" + bytes(40), "another format"),
        (wav_bytes(np.ones(100, np.int16))[:-10], r"expected 200 bytes of samples, .*found 190: it is cut off"),
        (wav_bytes(np.ones(0, np.int16)), "expected samples in the WAV file, found none"),
        (wav_bytes(np.ones(9, np.int16))[:36], "expected samples in the WAV file, found none"),
        (raw_wav(b"12", kind=2, bits=4), "found format 2 of 4 bits"),
        (raw_wav(bytes(24), kind=1, bits=64), "found format 1 of 64 bits"),
        (raw_wav(bytes(24), kind=1, bits=16, channels=0), "expected 1 to 64 channels"),
        (raw_wav(bytes(24), kind=1, bits=16, rate=0), "found 1 at 0 Hz"),
        (raw_wav(bytes(24), kind=1, bits=16, rate=4_000_000), "at 4,000,000 Hz"),
        (b"RIFF" + bytes(4) + b"WAVEdata" + struct.pack("<I", 4) + bytes(4), "expected the format before the samples"),
        (b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<I", 4) + bytes(4), "found 4 bytes"),
        (b"RIFF" + bytes(4) + b"WAVE" + b"junk\0\0\0\0" * 2_000, "found none"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    """Other formats, files that are cut off, and headers that say what cannot be."""
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_wav(tmp_path / "x.wav", "x.wav")


def test_samples_that_are_not_finite_are_refused() -> None:
    """NaN would end the training."""
    content = np.array([0, np.nan, 1], "<f4").tobytes()
    with pytest.raises(InputError, match="expected finite samples"):
        open_wav(raw_wav(content, kind=3, bits=32), "x").read(0, 3)


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (16_000, 11_025)])
def test_a_tone_stays_the_tone(rate: int, wanted: int) -> None:
    """Below both limits the same sine comes out, at the same phase: closed form, away from the ends."""
    for hertz in (100, 1_000, 3_000):
        got = resample(torch.from_numpy(tone(hertz, rate)).float(), rate, wanted).numpy()
        assert len(got) == wanted
        assert np.abs(got - tone(hertz, wanted))[300:-300].max() < 2e-3


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    """A tone of 7 kHz would come back as one of 1 kHz at 8 kHz: it is silence instead. A constant stays constant."""
    got = resample(torch.from_numpy(tone(7_000, 16_000)).float(), 16_000, 8_000)
    assert float(got[200:-200].abs().max()) < 5e-3
    flat = resample(torch.ones(4_000), 16_000, 11_025)
    assert torch.allclose(flat[100:-100], torch.ones(1), atol=1e-5)


def test_log_mel_is_what_another_library_computes() -> None:
    """The spectrogram of transformers with the same window, steps and mel scale."""
    audio = pytest.importorskip("transformers.audio_utils")
    sound = np.random.default_rng(0).normal(size=8_000).astype(np.float32) * 0.1
    bank = audio.mel_filter_bank(257, 40, 0.0, 8_000.0, 16_000, norm=None, mel_scale="htk")
    wanted = audio.spectrogram(
        sound,
        np.hanning(401)[:-1],
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        mel_filters=bank,
        mel_floor=FLOOR,
        log_mel="log",
    )
    got = log_mel(torch.from_numpy(sound), 16_000, mels=40, window=400, hop=160)
    assert got.shape == wanted.shape == (40, 48)
    assert np.abs(got.numpy() - wanted).max() < 1e-3


def test_too_many_bands_are_refused() -> None:
    """Bands between two frequencies of the spectrogram would be empty."""
    with pytest.raises(InputError, match=r"mel bands that each hold a frequency .*found 200 bands"):
        log_mel(torch.zeros(8_000), 16_000, mels=200, window=400, hop=160)


def sound_folder(root: Path, frames: int = 16_000) -> Path:
    for place, name in enumerate(("low", "high")):
        (root / name).mkdir(parents=True)
        for i in range(2):
            sound = tone(300 * (1 + 4 * place) + i, 16_000, frames / 16_000) * 20_000
            (root / name / f"{i}.wav").write_bytes(wav_bytes(sound.astype(np.int16)))
    return root


def test_a_folder_of_sounds_is_loaded(tmp_path: Path) -> None:
    """Classes are folders; the loudest band is that of the tone."""
    data = load_data(DataSettings(train=str(sound_folder(tmp_path)), validation_share=0), seed=0)
    assert data.classes == ("high", "low")
    assert data.shape == (1, 64, 98)
    loudest = [int(data.train.dataset[i][0][0].mean(1).argmax()) for i in (0, 2)]
    wanted = [
        1 + int(2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + 8_000 / 700) / 65)) for hertz in (1_500, 300)
    ]
    assert np.abs(np.array(loudest) - wanted + 1).max() <= 1


def test_short_sounds_are_padded_and_the_middle_of_long_ones_is_taken() -> None:
    """Unvaried: silence behind a short one; of a long one the middle, of whatever rate."""
    transform = SoundTransform(DataSettings(train="x", seconds=0.5))
    short = transform(open_wav(wav_bytes(np.full(2_000, 9_000, np.int16)), "x"), vary=False)
    assert short.shape == (1, 64, 48)
    assert torch.allclose(short[0, :, 20:], torch.tensor(FLOOR).log())
    silent = np.zeros(24_000, np.int16)
    silent[8_000:16_000] = tone(440, 16_000, 0.5) * 9_000
    whole = transform(open_wav(wav_bytes(silent), "x"), vary=False)
    middle = transform(open_wav(wav_bytes(silent[8_000:16_000]), "x"), vary=False)
    assert torch.equal(whole, middle)


@pytest.mark.parametrize("name", ["shift", "noise", "spec-augment"])
def test_each_augmentation_varies_and_keeps_shape(name: str) -> None:
    """Other draws give others of the same shape, the same draw the same; unvaried it does nothing."""
    settings = DataSettings(train="x", augment=(name,))
    transform, plain = SoundTransform(settings), SoundTransform(DataSettings(train="x"))
    wav = open_wav(wav_bytes((tone(500, 16_000, 1.5) * np.linspace(0, 9_000, 24_000)).astype(np.int16)), "x")

    def draw(seed: int) -> Any:
        with drawn_from(seed):
            return transform(wav, vary=True)

    drawn = [draw(seed) for seed in range(6)]
    assert all(x.shape == (1, 64, 98) and bool(x.isfinite().all()) for x in drawn)
    assert all(torch.equal(x, draw(seed)) for seed, x in enumerate(drawn))
    assert len({x.numpy().tobytes() for x in drawn}) > 3
    assert torch.equal(transform(wav, vary=False), plain(wav, vary=False))


def test_masks_are_no_wider_than_their_share() -> None:
    """Up to a fifth of the rows becomes the mean; the rest, and what was given, stays."""
    x = torch.rand(20, 30)
    before = x.clone()
    widths = set()
    for seed in range(40):
        with drawn_from(seed):
            masked = mask_bands(x, 0, 0.2)
        changed = (masked != x).any(dim=1).nonzero().flatten().tolist()
        assert changed == list(range(changed[0], changed[0] + len(changed))) if changed else True
        assert torch.allclose(masked[changed], x.mean())
        widths.add(len(changed))
    assert widths == {0, 1, 2, 3, 4}
    assert torch.equal(x, before)
