"""The commands that sign: keygen and sign."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import print_json, tell
from .opening import BundlePath, Json

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..keys import PrivateKey

PASSPHRASE = "ACCLIMATE_PASSPHRASE"  # noqa: S105  name of the variable
Trust = Annotated[
    list[str] | None,
    typer.Option("--trust", help="Public key that must have signed: a file, hexadecimal or Base64.", metavar="KEY"),
]


def keygen(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The private key. The public one gets .pub behind.")],
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Encrypt it; asks, or takes the variable {PASSPHRASE}.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key pair (Ed25519) to sign bundles and updates with."""
    from ..key_files import write_keys
    from ..keys import PrivateKey

    key = PrivateKey.generate()
    public = write_keys(out, key, _passphrase(out, new=True) if passphrase else None)
    if json:
        print_json({"private": str(out), "public": str(public), "key": key.public.id})
        return
    tell(f"wrote {out}: keep it secret, and a copy of it safe")
    tell(f"wrote {public}: give it to the devices")
    tell(f"public key {key.public.id}")


def sign(
    bundle: BundlePath,
    key: Annotated[
        Path, typer.Option("--key", help=f"Private key (PEM); {PASSPHRASE} may hold its passphrase.", metavar="FILE")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The signed bundle. By default the bundle itself.", metavar="FILE"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Sign a bundle; a signature that it has is replaced."""
    from ..signing import sign_bundle

    target = bundle if out is None else out
    public = sign_bundle(bundle, read_key(key), target, overwrite=overwrite)
    if json:
        print_json({"file": str(target), "key": public.id})
        return
    tell(f"{target} is signed by {public.id}")


def read_key(path: Path) -> "PrivateKey":
    """Read a private key, with a passphrase from the environment or the terminal where it needs one."""
    from ..key_files import is_encrypted, load_private_key

    return load_private_key(path, _passphrase(path) if is_encrypted(path) else None)


def signer(bundle: "Bundle", trust: Sequence[str] | None) -> tuple[str | None, bool]:
    """Return which key a bundle's signature names, and whether the signature is right.

    Raises:
        SignatureError: If keys are given and none of them signed it, or if the signature is wrong.
        MissingExtraError: If keys are given and `cryptography` is not installed.
    """
    from ..errors import MissingExtraError
    from ..key_files import load_trusted_keys

    if trust:
        return bundle.check_signature(load_trusted_keys(trust)), True
    if bundle.signed_by is None:
        return None, False
    try:
        return bundle.check_signature(None), True
    except MissingExtraError:
        return bundle.signed_by, False


def describe_signer(key: str | None, checked: bool, trust: Sequence[str] | None) -> str:
    """Return what `signer` found, for people."""
    if key is None:
        return "none"
    if not checked:
        return f"by {key[:16]}..., not checked: install 'acclimate[sign]'"
    return f"by {key[:16]}..., which is trusted" if trust else f"by {key[:16]}..., whoever that is: check with --trust"


def _passphrase(path: Path, *, new: bool = False) -> str:
    found = os.environ.get(PASSPHRASE)
    if found:
        return found
    return str(typer.prompt(f"Passphrase of {path.name}", hide_input=True, confirmation_prompt=new, err=True))
