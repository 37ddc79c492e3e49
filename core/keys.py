"""Ed25519 keys (RFC 8032), computed by the package `cryptography` (extra `sign`), which is imported when needed."""

import base64
import os
from dataclasses import field
from typing import Self

from .errors import InputError
from .extras import require
from .record import record

KEY_BYTES = 32
# What stands before the 32 bytes in the DER form of an Ed25519 public key (RFC 8410).
DER_PREFIX = bytes.fromhex("302a300506032b6570032100")
_P = 2**255 - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# y of the points of small order: for those as keys, signatures exist that fit any message.
_WEAK = {0, 1, _P - 1, _P, _P + 1, _ORDER_8, _P - _ORDER_8}


@record()
class PublicKey:
    """A key that signatures are checked with.

    Args:
        raw: Its 32 bytes.

    Raises:
        InputError: If it has another length, or is one with which anybody could sign.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != KEY_BYTES:
            found = f"{len(self.raw)}" if isinstance(self.raw, bytes) else type(self.raw).__name__
            raise InputError(f"expected a public key of {KEY_BYTES} bytes, found {found}. Take it from a .pub file.")
        if int.from_bytes(self.raw, "little") & (2**255 - 1) in _WEAK:
            raise InputError(
                f"expected a public key that belongs to a private one, found {self.raw.hex()}, for which anybody can "
                f"sign. Make a key with 'acclimate keygen'."
            )

    @property
    def id(self) -> str:
        """The key as 64 hexadecimal digits: its name in messages, and a form that `load_public_key` takes."""
        return self.raw.hex()

    def to_pem(self) -> bytes:
        """Return it as PEM text, as other programs read it."""
        body = base64.b64encode(DER_PREFIX + self.raw).decode()
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n".encode()

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Return whether 64 bytes are this key's signature of a message.

        Raises:
            MissingExtraError: If `cryptography` is not installed.
        """
        require("cryptography", extra="sign", needed_by="checking a signature")
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@record()
class PrivateKey:
    """A key to sign with. Its `repr` does not show it.

    Args:
        seed: Its 32 bytes.
    """

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.seed, bytes) or len(self.seed) != KEY_BYTES:
            raise InputError(f"expected a private key of {KEY_BYTES} bytes, found another. Use 'acclimate keygen'.")

    @classmethod
    def generate(cls) -> Self:
        """Make a new one from the system's source of random numbers."""
        return cls(os.urandom(KEY_BYTES))

    @property
    def public(self) -> PublicKey:
        """The key that its signatures are checked with."""
        require("cryptography", extra="sign", needed_by="signing")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return PublicKey(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature of a message.

        Raises:
            MissingExtraError: If `cryptography` is not installed.
        """
        require("cryptography", extra="sign", needed_by="signing")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def to_pem(self, passphrase: str | None = None) -> bytes:
        """Return it as PEM text (PKCS #8), encrypted if a passphrase is given.

        Raises:
            InputError: If the passphrase is empty.
            MissingExtraError: If `cryptography` is not installed.
        """
        if passphrase == "":
            raise InputError("expected a passphrase, found an empty one. Give one, or none at all.")
        require("cryptography", extra="sign", needed_by="writing a private key")
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        how: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            how = serialization.BestAvailableEncryption(passphrase.encode())
        return Ed25519PrivateKey.from_private_bytes(self.seed).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how
        )
