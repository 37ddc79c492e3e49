"""`docs/update-format.md` says what the code does: each place, limit and size, and every byte of its example."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acclimate import update_format
from acclimate.bundle import LinearLayer
from acclimate.bundle_members import SIGNATURE_BYTES
from acclimate.manifest import MAX_CLASS_NAME, MAX_CLASSES, MAX_WIDTH
from acclimate.signing import BUNDLE, UPDATE
from acclimate.update import Base, Update, write_update

from .updates import HASH, KEY, draw

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "update-format.md").read_text()


def number(text: str) -> int:
    """Return a number as the page writes it."""
    if "^" in text:
        power, _, less = text.removeprefix("2^").partition(" - ")
        return (1 << int(power)) - int(less or 0)
    return int(text.replace(",", ""))


def test_the_header_adds_up() -> None:
    """Each row of the table begins where the one before ends; the code packs as many bytes."""
    rows = re.findall(r"^\| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    at = 0
    for place, size in rows:
        assert int(place) == at
        at += int(size)
    assert at == update_format._HEADER.size
    assert f"A header of {at} bytes" in PAGE
    assert f"`{update_format.MAGIC.hex(' ').upper()}`" in PAGE
    assert PAGE.startswith(f"# Update format, version {update_format.VERSION}\n")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (r"`d`, 1 to ([\d,]+) \|", MAX_WIDTH),
        (r"orders updates, 1 to ([\d^]+ - 1)", update_format.MAX_NUMBER),
        (r"if not told; at most ([\d,]+)", update_format.MAX_CREATED),
        (r"`n`, 0 to ([\d,]+)", MAX_CLASSES),
        (r"new rows, 0 to ([\d,]+)", MAX_CLASSES),
        (r"length of the note, 0 to (\d+)", update_format.MAX_NOTE),
        (r"one signed byte .* -100 to (\d+)", update_format.MAX_EXPONENT),
        (r"A file is at most ([\d^]+) bytes", update_format.MAX_BYTES),
        (r"Names are 1 to (\d+) printable", MAX_CLASS_NAME),
        (r"\| (\d+) or 0 \| signature", SIGNATURE_BYTES),
        (r"of the (\d+) bytes `acclimate-update-1`", len(UPDATE)),
    ],
)
def test_limits_are_those_of_the_code(said: str, meant: int) -> None:
    """Each number that the page gives."""
    (found,) = re.findall(said, PAGE)
    assert number(found) == meant


def test_what_is_signed_is_what_both_pages_say() -> None:
    """The text in front of the content, and its length."""
    bundles = (DOCS / "bundle-format.md").read_text()
    assert f"the {len(BUNDLE)} bytes `{BUNDLE.decode().strip()}` and a line feed" in bundles
    assert f"the {len(UPDATE)} bytes `{UPDATE.decode().strip()}` and a line feed" in PAGE
    assert f"`signature` is {SIGNATURE_BYTES} bytes" in bundles


def test_the_worked_example(tmp_path: Path) -> None:
    """The update that the page describes has the bytes that it shows."""
    base = Base(HASH, 5, ("a", "b", "c"), LinearLayer(draw(0, 3, 5), draw(1, 3)))
    assert base.head is not None
    weight = np.stack([base.head.weight[0], np.arange(5, dtype=np.float32)])
    update = Update(HASH, 7, ("a", "new"), weight, np.array([base.head.bias[0], 0.5], np.float32), note="hi")
    size = write_update(tmp_path / "u.accu", update, base)
    (shown,) = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    digits = "".join(line.split("  ")[0] for line in shown.splitlines())
    assert (tmp_path / "u.accu").read_bytes()[104:-32] == bytes.fromhex(digits)
    assert f"The file is {size} bytes long." in PAGE


@pytest.mark.parametrize(
    ("shipped", "changed", "added", "note"), [(3_000, 0, 1, 0), (500, 500, 0, 40), (3, 0, 50, 300)]
)
def test_its_examples_of_size(tmp_path: Path, shipped: int, changed: int, added: int, note: int) -> None:
    """Signed, each takes at most 2 KB on top of its changed parameters, and as much as the formula says."""
    pytest.importorskip("cryptography")
    d = 8
    base = Base(HASH, d, tuple(f"c{i}" for i in range(shipped)), LinearLayer(draw(0, shipped, d), draw(1, shipped)))
    assert base.head is not None
    weight = np.concatenate([base.head.weight, draw(2, added, d)])
    weight[:changed] += 1
    names = base.classes + tuple(f"{i:020}" for i in range(added))
    update = Update(HASH, 1, names, weight, np.append(base.head.bias, draw(3, added)))
    size = write_update(tmp_path / "u.accu", replace(update, note="n" * note), base, key=KEY)
    rows = changed + added
    assert size <= 2 * rows * (d + 1) + 2_048
    assert size == 232 + note + 2 * ((shipped + 7) // 8) + added * 24 + rows * (2 * d + 5)
