"""Signatures of bundles and updates: which key signed, and whether it is a trusted one."""

import os
from collections.abc import Sequence
from pathlib import Path

from .archive import Archive, write_archive
from .bundle import Bundle
from .bundle_members import MANIFEST, SIGNATURE, SIGNATURE_BYTES
from .errors import InputError, SignatureError
from .key_files import PrivateKeySource, load_private_key
from .keys import KEY_BYTES, PublicKey

# Signed in front of the content, so that what is signed as one thing is never taken for another.
BUNDLE, UPDATE = b"acclimate-bundle-1\n", b"acclimate-update-1\n"


def sign(content: bytes, purpose: bytes, key: PrivateKeySource) -> bytes:
    """Sign a content.

    Args:
        content: What is signed.
        purpose: `BUNDLE` or `UPDATE`.
        key: Who signs.

    Returns:
        96 bytes: the public key, and the signature of `purpose` and `content`.

    Raises:
        MissingExtraError: If `cryptography` is not installed.
    """
    private = load_private_key(key)
    return private.public.raw + private.sign(purpose + content)


def check_signature(
    signature: bytes | None, content: bytes, purpose: bytes, trusted: Sequence[PublicKey] | None, name: str
) -> PublicKey:
    """Check who signed a content.

    Args:
        signature: What `sign` gave, or None if there is none.
        content: What was signed.
        purpose: `BUNDLE` or `UPDATE`.
        trusted: Keys of which one must have signed it; None takes any key, and so says nothing of the origin.
        name: What the content is, for messages.

    Returns:
        The key that signed it.

    Raises:
        SignatureError: If there is no signature, if it is by another key, or if it does not fit the content.
        MissingExtraError: If `cryptography` is not installed.
    """
    wanted, advice = "", "Get it from whoever holds the key."
    if trusted is not None:
        wanted = f" by a trusted key ({', '.join(key.id[:12] + '...' for key in trusted[:4]) or 'none is given'})"
    if signature is None or len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"{name}: expected a signature{wanted}, found none. {advice}")
    raw = signature[:KEY_BYTES]
    if trusted is not None and all(key.raw != raw for key in trusted):
        raise SignatureError(
            f"{name}: expected a signature{wanted}, found one by {raw.hex()[:12]}... {advice} If that key is to be "
            f"trusted, add it to the trusted keys."
        )
    try:
        key = PublicKey(raw)
    except InputError as error:
        raise SignatureError(f"{name}: {error}") from error
    if not key.verify(signature[KEY_BYTES:], purpose + content):
        raise SignatureError(
            f"{name}: expected the signature of key {key.id[:12]}... to fit the content, found that it does not: "
            f"one of them was altered. {advice}"
        )
    return key


def sign_bundle(
    path: str | os.PathLike[str],
    key: PrivateKeySource,
    out: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
) -> PublicKey:
    """Write a copy of a bundle that carries a signature, in place of one that it may have had.

    The signed bundle is verified before it gets its name.

    Args:
        path: The bundle.
        key: Private key, as PEM text or the path of its file.
        out: Where to write; by default `path` itself, which then needs `overwrite`.
        overwrite: Replace a file that is there.

    Returns:
        The public key that the signature is checked with.

    Raises:
        BundleError: If the bundle is damaged.
        InputError: If the key is none.
        OutputExistsError: If the file is there and `overwrite` is false.
        MissingExtraError: If `cryptography` is not installed.
    """
    private = load_private_key(key)
    with Archive(path) as archive:
        members = {name: archive.read(name) for name in archive.sizes if name != SIGNATURE}
    members[SIGNATURE] = sign(members[MANIFEST], BUNDLE, private)

    def check(written: Path) -> None:
        with Bundle(written) as signed:
            signed.verify()
            signed.check_signature([private.public])

    write_archive(path if out is None else out, members, overwrite=overwrite, check=check)
    return private.public
