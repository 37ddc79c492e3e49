"""Signed bundles: whose signature counts, what it covers, and that a signed bundle is otherwise the same bundle."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from acclimate.archive import write_archive
from acclimate.bundle import Bundle
from acclimate.errors import BundleError, BundleFormatError, MissingExtraError, OutputExistsError, SignatureError
from acclimate.keys import PrivateKey
from acclimate.signing import BUNDLE, UPDATE, sign, sign_bundle

pytest.importorskip("cryptography")
KEY, OTHER = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle, signed."""
    sign_bundle(tiny_bundle, KEY, tmp_path / "signed.acc")
    return tmp_path / "signed.acc"


def test_a_signed_bundle_is_the_same_bundle(tiny_bundle: Path, signed: Path, forgery: ModuleType) -> None:
    """Every member is as before, one of 96 bytes is new and last, and signing again gives the same bytes."""
    before, after = forgery.members_of(tiny_bundle), forgery.members_of(signed)
    assert list(after) == [*before, "signature"]
    assert {name: after[name] for name in before} == before
    assert len(after["signature"]) == 96
    with Bundle(tiny_bundle) as plain, Bundle(signed) as bundle:
        bundle.verify()
        assert bundle.manifest == plain.manifest
        assert (plain.signed_by, bundle.signed_by) == (None, KEY.public.id)
    content = signed.read_bytes()
    sign_bundle(signed, KEY, overwrite=True)
    assert signed.read_bytes() == content


def test_only_a_trusted_key_counts(tiny_bundle: Path, signed: Path) -> None:
    """One of several trusted keys is enough; another key, no key and no signature are refused, with their names."""
    with Bundle(signed) as bundle:
        assert bundle.check_signature([OTHER.public, KEY.public]) == KEY.public.id
        assert bundle.check_signature(None) == KEY.public.id
        message = (
            f"by a trusted key \\({OTHER.public.id[:12]}.*found one by {KEY.public.id[:12]}.*add it to the trusted"
        )
        with pytest.raises(SignatureError, match=message):
            bundle.check_signature([OTHER.public])
        with pytest.raises(SignatureError, match="none is given"):
            bundle.check_signature([])
    with Bundle(tiny_bundle) as bundle:
        for trusted in ([KEY.public], None):
            with pytest.raises(SignatureError, match=r"tiny\.acc: expected a signature.*found none"):
                bundle.check_signature(trusted)


def test_a_signature_fits_one_bundle(signed: Path, tiny_bundle: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """The signature of A on B, whose hashes are all right, is refused."""
    other = forgery.forge(tiny_bundle, tmp_path / "b.acc", edit=lambda manifest: manifest.update(licence="none"))
    members = {**forgery.members_of(other), "signature": forgery.members_of(signed)["signature"]}
    write_archive(tmp_path / "c.acc", members)
    with Bundle(tmp_path / "c.acc") as bundle:
        bundle.verify()
        for trusted in ([KEY.public], None):
            with pytest.raises(SignatureError, match="found that it does not: one of them was altered"):
                bundle.check_signature(trusted)


def test_it_covers_every_member(signed: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """Whichever member is altered: left as it was, the manifest betrays it; made to fit, the signature does."""
    for name, content in forgery.members_of(signed).items():
        if name in ("manifest.json", "signature"):
            continue
        altered = content[:-1] + bytes([content[-1] ^ 1])
        signature = forgery.members_of(signed)["signature"]
        write_archive(tmp_path / "a.acc", {**forgery.members_of(signed), name: altered}, overwrite=True)
        with Bundle(tmp_path / "a.acc") as bundle:
            bundle.check_signature([KEY.public])
            with pytest.raises(BundleError):
                bundle.read(name)
        members = forgery.members_of(signed) | {name: altered}
        del members["signature"]
        write_archive(tmp_path / "a.acc", members, overwrite=True)
        forgery.forge(tmp_path / "a.acc", tmp_path / "a.acc")
        write_archive(
            tmp_path / "a.acc", {**forgery.members_of(tmp_path / "a.acc"), "signature": signature}, overwrite=True
        )
        with pytest.raises(SignatureError), Bundle(tmp_path / "a.acc") as bundle:
            bundle.check_signature([KEY.public])


def test_every_byte_of_the_signature_counts(signed: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """No altered byte of the 96 is taken, neither with trusted keys nor by the key that it names then."""
    members = forgery.members_of(signed)
    signature = members["signature"]
    for i in range(96):
        members["signature"] = signature[:i] + bytes([signature[i] ^ 4]) + signature[i + 1 :]
        write_archive(tmp_path / "a.acc", members, overwrite=True)
        with Bundle(tmp_path / "a.acc") as bundle:
            for trusted in ([KEY.public], None):
                with pytest.raises(SignatureError):
                    bundle.check_signature(trusted)


def test_a_key_of_small_order_inside_a_signature(tiny_bundle: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """A signature that fits every manifest, by a key that is no key, is refused even where any key is taken."""
    neutral = (1).to_bytes(32, "little")
    members = {**forgery.members_of(tiny_bundle), "signature": neutral + neutral + bytes(32)}
    write_archive(tmp_path / "a.acc", members)
    with Bundle(tmp_path / "a.acc") as bundle, pytest.raises(SignatureError, match="anybody can sign"):
        bundle.check_signature(None)


def test_what_was_signed_as_something_else(tiny_bundle: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """A manifest signed as an update, or without saying as what, is not signed as a bundle."""
    members = forgery.members_of(tiny_bundle)
    for purpose in (UPDATE, b""):
        members["signature"] = sign(members["manifest.json"], purpose, KEY)
        write_archive(tmp_path / "a.acc", members, overwrite=True)
        with Bundle(tmp_path / "a.acc") as bundle, pytest.raises(SignatureError, match="does not"):
            bundle.check_signature([KEY.public])


def test_the_manifest_that_was_read_is_the_one_checked(signed: Path) -> None:
    """What becomes of the file afterwards neither lends the manifest in use a signature nor takes it away."""
    with Bundle(signed) as bundle:
        with signed.open("r+b") as file:
            file.seek(64)
            file.write(b"another manifest")
        assert bundle.check_signature([KEY.public]) == KEY.public.id
    with pytest.raises(BundleError):
        Bundle(signed)


def test_a_damaged_bundle_is_not_signed(tiny_bundle: Path, tmp_path: Path) -> None:
    """What does not verify gets no signature, and nothing is written."""
    content = bytearray(tiny_bundle.read_bytes())
    content[4_000] ^= 1
    (tmp_path / "a.acc").write_bytes(content)
    with pytest.raises(BundleError, match=r"a\.acc: .*damaged"):
        sign_bundle(tmp_path / "a.acc", KEY, tmp_path / "b.acc")
    assert os.listdir(tmp_path) == ["a.acc"]


def test_nothing_is_overwritten_unasked(tiny_bundle: Path, signed: Path) -> None:
    """Neither another file nor the bundle itself."""
    content = signed.read_bytes()
    for source, out in ((tiny_bundle, signed), (signed, None)):
        with pytest.raises(OutputExistsError, match="is there already"):
            sign_bundle(source, OTHER, out)
    assert signed.read_bytes() == content
    sign_bundle(signed, OTHER, overwrite=True)
    with Bundle(signed) as bundle:
        assert bundle.check_signature([OTHER.public]) == OTHER.public.id


def test_a_signature_of_another_length(signed: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """It is refused on opening, trusted keys or not."""
    write_archive(tmp_path / "a.acc", {**forgery.members_of(signed), "signature": bytes(97)})
    with pytest.raises(BundleFormatError, match="signature of 96 bytes, found 97"):
        Bundle(tmp_path / "a.acc")


def test_without_cryptography(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed bundle opens as any other; checking and signing name the extra."""
    public = KEY.public.id
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with Bundle(signed) as bundle:
        bundle.verify()
        assert bundle.signed_by == public
        with pytest.raises(MissingExtraError, match=r"pip install 'acclimate\[sign\]'"):
            bundle.check_signature(None)
    with pytest.raises(MissingExtraError, match=r"signing needs 'cryptography'.*pip install 'acclimate\[sign\]'"):
        sign_bundle(signed, KEY, overwrite=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees(signed: Path, tmp_path: Path, forgery: ModuleType) -> None:
    """Another program, given what the page says is signed, finds the signature right."""
    members = forgery.members_of(signed)
    assert json.loads(members["manifest.json"])["format"] == "acclimate-bundle"
    assert members["signature"][:32] == KEY.public.raw
    (tmp_path / "message").write_bytes(BUNDLE + members["manifest.json"])
    (tmp_path / "signature").write_bytes(members["signature"][32:])
    (tmp_path / "key.pub").write_bytes(KEY.public.to_pem())
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "message"]
    done = subprocess.run(
        [*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Verified Successfully" in done.stdout, done.stderr
