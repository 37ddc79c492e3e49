"""Updates: a head as a few kilobytes that fit one backbone, numbered, and signed if wanted.

An update says what differs from the head that the bundle ships; the format is in `docs/update-format.md`.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle, LinearLayer
from .errors import InputError, UpdateFormatError, UpdateMismatchError, UpdateReplayError
from .files import write_file
from .key_files import PrivateKeySource, load_private_key
from .keys import PublicKey
from .manifest import MAX_CLASS_NAME, MAX_CLASSES, MAX_WIDTH, Runtime
from .record import record
from .rounding import LARGEST, Rounded, match_rows
from .signing import UPDATE, check_signature
from .update_format import (
    MAX_BYTES,
    MAX_CREATED,
    MAX_NOTE,
    MAX_NUMBER,
    Patch,
    check_text,
    decode,
    encode,
    unseal,
)

Float32 = NDArray[np.float32]


@record(eq=False)
class Base:
    """What an update starts from: a variant of a bundle as it was shipped.

    Args:
        variant: The variant's hash, 64 hexadecimal digits.
        width: Number of dimensions of its latents.
        classes: Names of the shipped classes.
        head: The shipped head, one row per class, or None.
    """

    variant: str
    width: int
    classes: tuple[str, ...]
    head: LinearLayer | None

    @classmethod
    def of(cls, bundle: Bundle, runtime: Runtime) -> Self:
        """Return what a bundle ships for a runtime."""
        manifest = bundle.manifest
        return cls(bundle.variant(runtime).hash, manifest.width, manifest.classes, bundle.head(runtime))

    @property
    def digest(self) -> str:
        """SHA-256 over names and head, in hexadecimal digits: updates refer to its rows, and so are bound to it."""
        digest = hashlib.sha256("".join(f"{name}\n" for name in self.classes).encode() + b"\0")
        if self.head is not None:
            digest.update(self.head.weight.astype("<f4").tobytes() + self.head.bias.astype("<f4").tobytes())
        return digest.hexdigest()


@record(eq=False)
class Update:
    """A head for devices that have the same backbone.

    Args:
        variant: Hash of the variant that it is for, 64 hexadecimal digits.
        number: Orders updates: a device takes only one above the last that it took. 1 to 2^63 - 1.
        classes: Name of each row's class. Rows with the same name are one class: its probability is the sum of theirs.
        weight: ``(k, d) float32``.
        bias: ``(k,) float32``.
        created: Seconds since 1970, 0 if not told.
        note: One line of text, at most 500 bytes.
        base: Digest of the shipped head that it starts from (`Base.digest`); filled in when it is written.
        signed_by: The key that was found to have signed it, in hexadecimal digits, or an empty string.
    """

    variant: str
    number: int
    classes: tuple[str, ...]
    weight: Float32
    bias: Float32
    created: int = 0
    note: str = ""
    base: str = ""
    signed_by: str = ""


def write_update(
    path: str | os.PathLike[str],
    update: Update,
    base: Base,
    *,
    centre: Float32 | None = None,
    key: PrivateKeySource | None = None,
    overwrite: bool = False,
) -> int:
    """Write an update, atomically and reproducibly.

    Weights are rounded to float16, with a power of two per row; rows that equal a shipped row after rounding are
    referred to, not sent. Rows come back in another order: shipped ones first, in their order, then the others.

    Args:
        path: Where to write; the suffix ``.accu`` is usual.
        update: The head.
        base: What the bundle ships.
        centre: ``(d,) float32``, a typical latent (`typical_latent`): the bias makes good for what rounding the weights
            changes there, so that only what is left of a latent meets the error.
        key: Private key to sign with, as PEM text or the path of its file.
        overwrite: Replace a file that is there.

    Returns:
        Size in bytes.

    Raises:
        UpdateMismatchError: If the update is for another variant.
        InputError: If something in it does not fit the format.
        OutputExistsError: If the file is there and `overwrite` is false.
        MissingExtraError: If there is a key and `cryptography` is not installed.
    """
    content = encode(_patch(update, base, centre), None if key is None else load_private_key(key))
    write_file(path, content, overwrite=overwrite)
    return len(content)


def read_update(
    source: str | os.PathLike[str] | bytes, base: Base, *, trusted: Sequence[PublicKey] | None = None
) -> Update:
    """Read an update, taking nothing on trust.

    Args:
        source: The file, or its content.
        base: What the bundle ships.
        trusted: Keys of which one must have signed it; None takes it from anybody and checks no signature.

    Returns:
        The update, with its rows in the order of the file.

    Raises:
        SignatureError: If keys are trusted and none of them signed it.
        UpdateFormatError: If it is malformed or damaged.
        UpdateVersionError: If its format is not known.
        UpdateMismatchError: If it is for another variant or another shipped head.
        MissingExtraError: If keys are trusted and `cryptography` is not installed.
    """
    content = source if isinstance(source, bytes) else _content(Path(source))
    envelope, signer = unseal(content), ""
    if trusted is not None:
        signer = check_signature(envelope.signature, envelope.content, UPDATE, trusted, "the update").id
    patch = decode(envelope.content)
    _check_variant(patch.variant.hex(), base.variant)
    if patch.base.hex() != base.digest or len(patch.kept) != len(base.classes) or patch.weight.shape[1] != base.width:
        raise UpdateMismatchError(
            f"expected an update that starts from the head and classes that this bundle ships, {base.digest[:12]}..., "
            f"found one that starts from {patch.base.hex()[:12]}... Use it with the bundle it was made with."
        )
    if base.head is None and patch.kept.any():
        raise UpdateFormatError("expected no reference to a shipped head, found one, and the bundle ships none.")
    return _resolve(patch, base, signer)


def check_update(update: Update, *, variant_hash: str, newest: int) -> None:
    """Check that a device may take an update.

    Args:
        update: The update, as read.
        variant_hash: Hash of the variant in use.
        newest: Number of the newest update that was ever applied here, 0 for none; going back to an earlier version
            does not lower it.

    Raises:
        UpdateMismatchError: If it is for another variant.
        UpdateReplayError: If it is not newer.
    """
    _check_variant(update.variant, variant_hash)
    if update.number <= newest:
        raise UpdateReplayError(
            f"expected an update with a number above {newest}, the newest that was applied here, found number "
            f"{update.number}. An older one is never applied again; to go back, roll back to an earlier version."
        )


def typical_latent(bundle: Bundle, runtime: Runtime) -> Float32:
    """Return the mean latent ``(d,) float32`` of a bundle's source, or the middle of the range where it ships none."""
    code, source = bundle.code(runtime), bundle.source(runtime)
    mean = np.full(len(code.scale), 127.5)
    if source is not None and source["count"].sum() > 0:
        mean = source["sum"].sum(axis=0) / source["count"].sum()
    result: Float32 = (code.scale * mean + code.offset).astype(np.float32)
    return result


def _check_variant(found: str, expected: str) -> None:
    if found != expected:
        raise UpdateMismatchError(
            f"expected an update for the backbone {expected}, which is in use, found one for {found}. "
            f"Use it with the bundle and the runtime that it was made with."
        )


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _patch(update: Update, base: Base, centre: Float32 | None) -> Patch:
    _check_variant(update.variant, base.variant)
    _check_content(update, base.width)
    rounded, shipped = Rounded.of(update.weight, update.bias, centre), None
    if base.head is not None:
        shipped = Rounded.of(base.head.weight, base.head.bias, centre)
    kept, changed = match_rows(update.classes, rounded, base.classes, shipped)
    known = sorted({**kept, **changed}.items(), key=lambda pair: pair[1])
    rest = [row for row in range(len(update.classes)) if row not in kept and row not in changed]
    order = [row for row, _ in known] + rest
    usual: list[str | None] = [base.classes[place] for _, place in known]
    usual += [None] * len(rest)
    marks = np.zeros((2, len(base.classes)), np.bool_)
    marks[0, list(kept.values())] = marks[1, list(changed.values())] = True
    sent = np.array([row for row in order if row not in kept], np.int64)
    return Patch(
        variant=bytes.fromhex(update.variant),
        base=bytes.fromhex(base.digest),
        number=update.number,
        created=update.created,
        note=update.note,
        kept=marks[0],
        changed=marks[1],
        names=tuple((i, update.classes[row]) for i, row in enumerate(order) if update.classes[row] != usual[i]),
        exponent=rounded.exponent[sent],
        bias=rounded.bias[sent],
        weight=rounded.weight[sent],
    )


def _resolve(patch: Patch, base: Base, signer: str) -> Update:
    known = np.flatnonzero(patch.kept | patch.changed)
    names: list[str] = [base.classes[i] for i in known] + [""] * (patch.rows - len(known))
    for i, name in patch.names:
        names[i] = name
    weight, bias = np.empty((patch.rows, base.width), np.float32), np.empty(patch.rows, np.float32)
    sent = np.ones(patch.rows, np.bool_)
    sent[: len(known)] = patch.changed[known]
    # A float16 times a power of two within these bounds is a float32 exactly.
    weight[sent] = np.ldexp(patch.weight.astype(np.float32), patch.exponent[:, None].astype(np.int32))
    bias[sent] = patch.bias
    if base.head is not None:
        weight[~sent], bias[~sent] = base.head.weight[patch.kept], base.head.bias[patch.kept]
    return Update(
        variant=patch.variant.hex(),
        number=patch.number,
        classes=tuple(names),
        weight=weight,
        bias=bias,
        created=patch.created,
        note=patch.note,
        base=patch.base.hex(),
        signed_by=signer,
    )


def _check_content(update: Update, width: int) -> None:
    """Raise InputError if an update cannot be written."""
    k = len(update.classes)
    if not 1 <= k <= MAX_CLASSES or not 1 <= width <= MAX_WIDTH:
        raise InputError(f"expected 1 to {MAX_CLASSES:,} rows of 1 to {MAX_WIDTH:,} weights, found {k:,} of {width:,}.")
    for array, shape in ((update.weight, (k, width)), (update.bias, (k,))):
        if array.dtype != np.float32 or array.shape != shape:
            raise InputError(f"expected parameters as {shape} float32, found {array.shape} {array.dtype}.")
        if not np.isfinite(array).all() or np.abs(array).max() >= LARGEST:
            raise InputError(f"expected finite parameters below {LARGEST:.0e}, found others. Do not send this head.")
    for what, value, least, most in (
        ("number", update.number, 1, MAX_NUMBER),
        ("time of creation", update.created, 0, MAX_CREATED),
        ("note of so many bytes", len(update.note.encode(errors="replace")), 0, MAX_NOTE),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"expected a {what} from {least:,} to {most:,}, found {value!r}.")
    try:
        check_text(update.note, "note", MAX_NOTE, blank=True)
        for name in update.classes:
            check_text(name, "class name", MAX_CLASS_NAME)
    except UpdateFormatError as error:
        raise InputError(str(error)) from error
