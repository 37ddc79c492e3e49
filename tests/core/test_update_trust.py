"""Whose updates are taken: those of trusted keys, for this backbone and this head, and newer than the last."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acclimate.bundle import LinearLayer
from acclimate.errors import (
    MissingExtraError,
    SignatureError,
    UpdateError,
    UpdateFormatError,
    UpdateMismatchError,
    UpdateReplayError,
)
from acclimate.signing import BUNDLE, sign
from acclimate.update import Base, check_update, read_update

from .updates import BASE, HASH, KEY, OTHER, OTHER_HASH, D, head, packed, resealed


def test_only_a_trusted_key_counts(tmp_path: Path) -> None:
    """With trusted keys an unsigned update and one by another key are refused; without, both are taken unchecked."""
    pytest.importorskip("cryptography")
    update = head(("a", "new"))
    unsigned, signed = packed(tmp_path, update), packed(tmp_path, update, key=KEY)
    assert read_update(signed, BASE, trusted=[OTHER.public, KEY.public]).signed_by == KEY.public.id
    with pytest.raises(SignatureError, match=r"the update: expected a signature by a trusted key.*found none"):
        read_update(unsigned, BASE, trusted=[KEY.public])
    with pytest.raises(SignatureError, match="found one by"):
        read_update(signed, BASE, trusted=[OTHER.public])
    with pytest.raises(SignatureError, match="none is given"):
        read_update(signed, BASE, trusted=[])
    assert read_update(signed, BASE).signed_by == read_update(unsigned, BASE).signed_by == ""


@pytest.mark.parametrize("whole", [False, True], ids=["damaged", "forged"])
def test_no_byte_of_a_signed_update_can_change(tmp_path: Path, whole: bool) -> None:
    """Each byte in turn, with and without a checksum made to fit again: never taken with a trusted key."""
    pytest.importorskip("cryptography")
    content = packed(tmp_path, head(("a", "new"), note="n"), key=KEY)
    refused = (UpdateError, SignatureError) if whole else (UpdateError,)
    for i in range(len(content) - 32 * whole):
        for bit in (0, 7):
            altered = content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :]
            with pytest.raises(refused):
                read_update(resealed(altered) if whole else altered, BASE, trusted=[KEY.public])
    for size in range(len(content)):
        with pytest.raises(UpdateError):
            read_update(content[:size], BASE, trusted=[KEY.public])


def test_no_byte_of_an_unsigned_update_changes_unnoticed(tmp_path: Path) -> None:
    """Damage is found without any key: by the SHA-256 at the end, as an UpdateError."""
    content = packed(tmp_path, head(("a", "new"), note="n"))
    for i in range(len(content)):
        with pytest.raises(UpdateError):
            read_update(content[:i] + bytes([content[i] ^ 16]) + content[i + 1 :], BASE)
    for altered in (content[:-1], content + b"\0", b"", content[:100], content[1:]):
        with pytest.raises(UpdateFormatError):
            read_update(altered, BASE)


def test_a_signature_taken_from_elsewhere(tmp_path: Path) -> None:
    """A signature of the same key on another update, or on these bytes as a bundle's, does not count."""
    pytest.importorskip("cryptography")
    one, two = (packed(tmp_path, head(("a", "new"), number=n), key=KEY) for n in (1, 2))
    for signature in (two[-128:-32], sign(one[:-128], BUNDLE, KEY)):
        with pytest.raises(SignatureError, match="does not"):
            read_update(resealed(one[:-128] + signature + bytes(32)), BASE, trusted=[KEY.public])


def test_another_backbone(tmp_path: Path) -> None:
    """Both hashes are named, when writing, when reading and when checking."""
    update = head(("a", "new"))
    other = replace(BASE, variant=OTHER_HASH)
    content = packed(tmp_path, update)
    message = f"for the backbone {OTHER_HASH}, which is in use, found one for {HASH}"
    with pytest.raises(UpdateMismatchError, match=message):
        read_update(content, other)
    with pytest.raises(UpdateMismatchError, match=message):
        check_update(update, variant_hash=OTHER_HASH, newest=0)
    with pytest.raises(UpdateMismatchError, match=message):
        packed(tmp_path, update, other)


def test_another_shipped_head(tmp_path: Path) -> None:
    """The same backbone with other classes or another head: rows that are referred to would be others."""
    assert BASE.head is not None
    content = packed(tmp_path, head(("a", "new")))
    shifted = LinearLayer(BASE.head.weight, BASE.head.bias + 1)
    renamed = replace(BASE, classes=("a", "b", "x"))
    for base in (replace(BASE, head=shifted), renamed, replace(BASE, head=None), Base(HASH, D, (), None)):
        with pytest.raises(UpdateMismatchError, match=r"starts from the head and classes that this bundle ships"):
            read_update(content, base)


def test_an_older_update_is_a_replay() -> None:
    """Only a number above the newest is taken; the message says which, and how to go back."""
    update = head(("a", "new"), number=7)
    check_update(update, variant_hash=HASH, newest=0)
    check_update(update, variant_hash=HASH, newest=6)
    for newest in (7, 8, 2**63 - 1):
        with pytest.raises(UpdateReplayError, match=rf"above {newest}, .*found number 7.*roll back"):
            check_update(update, variant_hash=HASH, newest=newest)


def test_without_cryptography(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned updates are written and read; signing, and reading with trusted keys, name the extra."""
    pytest.importorskip("cryptography")
    signed, public = packed(tmp_path, head(("a", "new")), key=KEY), KEY.public
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert read_update(signed, BASE).classes == ("a", "new")
    assert read_update(packed(tmp_path, head(("a", "new"))), BASE).classes == ("a", "new")
    for call in (
        lambda: read_update(signed, BASE, trusted=[public]),
        lambda: packed(tmp_path, head(("a", "new")), key=KEY),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'acclimate\[sign\]'"):
            call()
