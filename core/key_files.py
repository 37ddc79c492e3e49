"""Keys in files and texts: read from whatever form they are given in, written as PEM.

Reading public keys does without the package `cryptography`.
"""

import base64
import binascii
import os
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError
from .extras import require
from .files import new_file, refuse_overwrite, write_file
from .keys import DER_PREFIX, KEY_BYTES, PrivateKey, PublicKey

_MOST = 2**14
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\s([A-Za-z0-9+/=\s]*)-----END \1-----\s*")
_FORMS = "32 raw bytes, 64 hexadecimal digits, Base64, PEM text ('BEGIN PUBLIC KEY') or a file with one of these"

PublicKeySource = PublicKey | str | bytes | os.PathLike[str]
PrivateKeySource = PrivateKey | str | bytes | os.PathLike[str]


def load_public_key(source: PublicKeySource) -> PublicKey:
    """Read a public key.

    Args:
        source: 32 raw bytes, 64 hexadecimal digits, Base64, PEM text, or the path of a file with one of these.

    Returns:
        The key.

    Raises:
        InputError: If it is nothing of that.
        FileNotFoundError: If a `Path` leads to no file.
    """
    if isinstance(source, PublicKey):
        return source
    if isinstance(source, bytes):
        return _public(source, f"{len(source)} bytes")
    if not isinstance(source, str):
        return _public(_content(Path(source)), Path(source).name)
    raw = _decoded(source)
    if raw is not None:
        return PublicKey(raw)
    path = Path(source)
    if "\n" in source or not path.is_file():
        raise InputError(f"expected a public key as {_FORMS}, found {source!r:.60}. Check text or path.")
    return _public(_content(path), path.name)


def load_trusted_keys(sources: Sequence[PublicKeySource] | PublicKeySource) -> tuple[PublicKey, ...]:
    """Read the keys that are trusted, one or several, each in any form of `load_public_key`.

    Raises:
        InputError: If there is none, or one is not a public key.
    """
    if isinstance(sources, PublicKey | str | bytes | os.PathLike):
        sources = [sources]
    keys = tuple(dict.fromkeys(load_public_key(source) for source in sources))
    if not keys:
        raise InputError("expected at least one trusted key, found none. Give one, or None to trust every origin.")
    return keys


def is_encrypted(path: str | os.PathLike[str]) -> bool:
    """Return whether a private key file needs a passphrase."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in _content(Path(path))


def load_private_key(source: PrivateKeySource, passphrase: str | None = None) -> PrivateKey:
    """Read a private key.

    Args:
        source: PEM text (PKCS #8, 'BEGIN PRIVATE KEY' or 'BEGIN ENCRYPTED PRIVATE KEY'), or the path of such a file.
        passphrase: What it is encrypted with.

    Returns:
        The key.

    Raises:
        InputError: If it is no Ed25519 private key, or the passphrase is missing or wrong.
        FileNotFoundError: If the path leads to no file.
        MissingExtraError: If `cryptography` is not installed.
    """
    if isinstance(source, PrivateKey):
        return source
    if isinstance(source, str) and "-----BEGIN" in source:
        source = source.encode()
    content = source if isinstance(source, bytes) else _content(Path(source))
    require("cryptography", extra="sign", needed_by="reading a private key")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in content
    if encrypted and not passphrase:
        raise InputError("expected a passphrase for this private key, found none. Give the one it was made with.")
    try:
        key = load_pem_private_key(content, passphrase.encode() if encrypted and passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        wrong = "Check the passphrase too. " if encrypted else ""
        raise InputError(
            f"expected an Ed25519 private key as PEM text (PKCS #8), found something else. {wrong}Use a file that "
            f"'acclimate keygen' wrote, not its .pub."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"expected an Ed25519 private key, found {type(key).__name__}. Use 'acclimate keygen'.")
    return PrivateKey(key.private_bytes_raw())


def write_keys(path: str | os.PathLike[str], key: PrivateKey, passphrase: str | None = None) -> Path:
    """Write a private key, readable by its owner only, and beside it the public one.

    Args:
        path: Where the private key goes; the public one gets the same name with ``.pub`` behind.
        key: The key.
        passphrase: Encrypts the private key.

    Returns:
        Path of the public key.

    Raises:
        OutputExistsError: If one of the two files is there. Keys are never overwritten.
        MissingExtraError: If `cryptography` is not installed.
    """
    private, public = Path(path), Path(f"{os.fspath(path)}.pub")
    content, shown = key.to_pem(passphrase), key.public.to_pem()
    for target in (private, public):
        refuse_overwrite(target, overwrite=False)
    with new_file(private) as part:
        # Not written first and closed to others then: there is no moment at which they could read it.
        part.touch(0o600, exist_ok=False)
        part.write_bytes(content)
    write_file(public, shown)
    return public


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST)


def _public(content: bytes, name: str) -> PublicKey:
    """Read the content of a file, or bytes: raw or text."""
    if len(content) == KEY_BYTES:
        return PublicKey(content)
    raw = _decoded(content.decode("ascii", "replace"))
    if raw is None:
        raise InputError(f"expected a public key as {_FORMS}, found something else in {name}. Check what it is.")
    return PublicKey(raw)


def _decoded(text: str) -> bytes | None:
    """Return the 32 bytes that hexadecimal digits, Base64 or PEM text stand for, or None."""
    text = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    if re.fullmatch(r"[A-Za-z0-9+/_-]{43}=?", text):
        return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_").rstrip("=") + "=")
    if "PRIVATE KEY-----" in text:
        raise InputError(
            "expected a public key, found a private one. Keep that where bundles and updates are signed, and give the "
            ".pub file here."
        )
    found = _PEM.fullmatch(text)
    if found is None or found[1] != "PUBLIC KEY":
        return None
    try:
        der = base64.b64decode("".join(found[2].split()), validate=True)
    except binascii.Error:
        return None
    if not der.startswith(DER_PREFIX) or len(der) != len(DER_PREFIX) + KEY_BYTES:
        raise InputError("expected an Ed25519 public key, found one of another kind. Use 'acclimate keygen'.")
    return der[len(DER_PREFIX) :]
