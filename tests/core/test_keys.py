"""Ed25519 keys: the published test vectors, the forms in which keys are given, and what is refused as a key."""

import base64
import os
import shutil
import stat
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from acclimate.errors import InputError, MissingExtraError, OutputExistsError
from acclimate.key_files import is_encrypted, load_private_key, load_public_key, load_trusted_keys, write_keys
from acclimate.keys import PrivateKey, PublicKey

P = 2**255 - 19
# RFC 8032, section 7.1: TEST 1, 2, 3 and SHA(abc): private key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
        "454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]
KEY = PrivateKey(bytes.fromhex(VECTORS[0][0]))
needs_cryptography = pytest.mark.skipif(util.find_spec("cryptography") is None, reason="cryptography is not installed")


@needs_cryptography
@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    """Public key and signature are the published ones, and every altered byte of the signature is noticed."""
    key, text, wanted = PrivateKey(bytes.fromhex(seed)), bytes.fromhex(message), bytes.fromhex(signature)
    assert key.public.id == public
    assert key.sign(text) == wanted
    assert key.public.verify(wanted, text)
    assert not key.public.verify(wanted, text + b"x")
    for i in range(64):
        assert not key.public.verify(wanted[:i] + bytes([wanted[i] ^ 1]) + wanted[i + 1 :], text)
    assert not key.public.verify(wanted[:-1], text)


@needs_cryptography
def test_a_public_key_in_every_form(tmp_path: Path) -> None:
    """Raw bytes, digits, Base64 of both alphabets, PEM, and files with each of them are one key."""
    key = KEY.public
    both = base64.b64encode(key.raw), base64.urlsafe_b64encode(key.raw).rstrip(b"=")
    texts = [key.id, key.id.upper(), *(b.decode() for b in both), key.to_pem().decode(), f"\n {key.id}\n"]
    for text in texts:
        assert load_public_key(text) == key
        assert load_public_key(text.encode()) == key
    for i, content in enumerate([key.raw, *(text.encode() for text in texts)]):
        path = tmp_path / f"{i}.pub"
        path.write_bytes(content)
        assert load_public_key(path) == load_public_key(str(path)) == key
    assert load_public_key(key.raw) == load_public_key(key) == key
    assert load_trusted_keys([key.raw, key.id, texts[2]]) == load_trusted_keys(key.id) == (key,)


def wrong_keys() -> list[tuple[Any, str]]:
    """Return what is no public key, and what the message says of it."""
    der = bytes.fromhex("302a300506032b656e032100") + bytes(32)
    x25519 = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
    return [
        (b"", "expected a public key as"),
        (b"\xff" * 31, "expected a public key as"),
        (b"x" * 33, "expected a public key as"),
        ("ab" * 31, "expected a public key as"),
        ("no such file.pub", "expected a public key as 32 raw bytes.* found 'no such file.pub'"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me", "expected a public key as"),
        ("-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "found a private one"),
        ("-----BEGIN PUBLIC KEY-----\nMC4=\n-----END PUBLIC KEY-----\n", "found one of another kind"),
        ("-----BEGIN PUBLIC KEY-----\n=MC4\n-----END PUBLIC KEY-----\n", "expected a public key as"),
        (x25519, "found one of another kind"),
    ]


@pytest.mark.parametrize(("source", "message"), wrong_keys())
def test_what_is_no_public_key(source: Any, message: str) -> None:
    """Each is refused with what was expected, and a private key with what to do with it."""
    with pytest.raises(InputError, match=message):
        load_public_key(source)


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Return the sum of two points of the curve of Ed25519, from its definition."""
    d = -121665 * pow(121666, -1, P) % P
    (x1, y1), (x2, y2) = a, b
    k = d * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def small_order() -> set[int]:
    """Return y of every point of order 1, 2, 4 or 8: multiples of one of order 8, found by clearing the large prime."""
    order, d = 2**252 + 27742317777372353535851937790883648493, -121665 * pow(121666, -1, P) % P
    found: set[int] = set()
    for y in range(2, 40):
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
        if x * x % P == square:
            point, power, scalar = (0, 1), (x, y), order
            while scalar:
                point = add(point, power) if scalar & 1 else point
                power, scalar = add(power, power), scalar >> 1
            multiple = point
            for _ in range(8):
                found.add(multiple[1])
                multiple = add(multiple, point)
    return found


def test_keys_for_which_anybody_can_sign_are_refused() -> None:
    """Every encoding of the points of small order, also those with y beyond the prime; their number is known."""
    ys = small_order()
    assert len(ys) == 5
    encodings = {y + high for y in ys | {P, P + 1} for high in (0, 2**255)}
    for encoding in encodings:
        with pytest.raises(InputError, match="anybody can sign"):
            PublicKey(encoding.to_bytes(32, "little"))


@needs_cryptography
def test_such_a_key_would_have_taken_a_forgery() -> None:
    """Why they are refused: with the neutral point as key, one signature fits every message."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    neutral = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"whatever")
    with pytest.raises(InputError, match="anybody can sign"):
        load_public_key(neutral.hex())


@needs_cryptography
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_pair_comes_back_from_its_files(tmp_path: Path, passphrase: str | None) -> None:
    """What was written is read again; the private file is for its owner only, and shows in no repr."""
    key = PrivateKey.generate()
    assert key != PrivateKey.generate()
    public = write_keys(tmp_path / "fleet.pem", key, passphrase)
    assert public == tmp_path / "fleet.pem.pub"
    assert load_public_key(public) == key.public
    assert is_encrypted(tmp_path / "fleet.pem") == (passphrase is not None)
    assert load_private_key(tmp_path / "fleet.pem", passphrase) == key
    assert load_private_key((tmp_path / "fleet.pem").read_text(), passphrase) == load_private_key(key) == key
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "fleet.pem").stat().st_mode) == 0o600
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)
    assert sorted(os.listdir(tmp_path)) == ["fleet.pem", "fleet.pem.pub"]


@needs_cryptography
def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """Whichever of the two files is there, both stay as they were."""
    for name in ("a.pem", "a.pem.pub"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(OutputExistsError, match="is there already"):
            write_keys(tmp_path / "a.pem", KEY)
        assert os.listdir(tmp_path) == [name]
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()


@needs_cryptography
def test_what_is_no_private_key(tmp_path: Path) -> None:
    """A missing or wrong passphrase, a public key, another kind of key, and noise."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    write_keys(tmp_path / "k.pem", KEY, "right")
    for passphrase, message in ((None, "expected a passphrase"), ("wrong", "Check the passphrase too")):
        with pytest.raises(InputError, match=message):
            load_private_key(tmp_path / "k.pem", passphrase)
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(InputError, match="found X25519PrivateKey"):
        load_private_key(other)
    for content in (b"", b"noise", KEY.public.to_pem(), KEY.to_pem()[:60]):
        with pytest.raises(InputError, match="expected an Ed25519 private key as PEM text"):
            load_private_key(content)
    with pytest.raises(InputError, match="found an empty one"):
        KEY.to_pem("")
    with pytest.raises(FileNotFoundError):
        load_private_key(tmp_path / "nothing.pem")
    with pytest.raises(InputError, match="private key of 32 bytes"):
        PrivateKey(b"short")


def test_no_trusted_key_is_no_answer() -> None:
    """An empty list is refused: it would trust nobody, or, read the other way, everybody."""
    with pytest.raises(InputError, match="at least one trusted key"):
        load_trusted_keys([])


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Public keys can be read all the same; whatever computes says which extra to install."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    key = load_public_key(VECTORS[0][1])
    assert load_public_key(key.to_pem()) == key
    pem = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"
    for call in (
        lambda: key.verify(bytes(64), b""),
        lambda: KEY.sign(b""),
        lambda: KEY.public,
        KEY.to_pem,
        lambda: load_private_key(pem),
        lambda: write_keys(tmp_path / "k.pem", KEY),
    ):
        with pytest.raises(MissingExtraError, match=r"needs 'cryptography'.*pip install 'acclimate\[sign\]'"):
            call()
    assert os.listdir(tmp_path) == []


@needs_cryptography
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_our_files_and_we_read_its(tmp_path: Path) -> None:
    """Files go both ways: OpenSSL finds the same public key in ours, and its own pair loads."""

    def openssl(*arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S607
        return done.stdout

    write_keys(tmp_path / "ours.pem", KEY, "secret")
    assert openssl("pkey", "-in", "ours.pem", "-passin", "pass:secret", "-pubout") == KEY.public.to_pem().decode()
    openssl("genpkey", "-algorithm", "ed25519", "-out", "theirs.pem")
    openssl("pkey", "-in", "theirs.pem", "-pubout", "-out", "theirs.pub")
    assert load_private_key(tmp_path / "theirs.pem").public == load_public_key(tmp_path / "theirs.pub")
