"""Which members a bundle has: names, sizes, and what must or may be there."""

from collections.abc import Mapping

from .errors import BundleFormatError
from .manifest import Manifest, Runtime

MANIFEST = "manifest.json"
SIGNATURE = "signature"
# Public key and Ed25519 signature.
SIGNATURE_BYTES = 32 + 64
_ARRAYS = ("latent", "head", "source", "novelty", "conformance")
FILES = ("backbone", *(f"{name}.safetensors" for name in _ARRAYS))
_TAIL_FILES = ("tail.safetensors", "tail.json", "map.safetensors")


def tail_files(runtime: Runtime) -> tuple[str, ...]:
    """Return the members of a tail in a variant's folder: all of them, or none."""
    return (f"tail.{runtime}", f"train.{runtime}", *_TAIL_FILES)


def has_tail(manifest: Manifest, runtime: Runtime) -> bool:
    """Tell whether a variant has a tail; where a bundle has one, its ONNX variant does, or the only one."""
    return manifest.tail is not None and f"{runtime}/{_TAIL_FILES[0]}" in manifest.members


def check_members(manifest: Manifest, sizes: Mapping[str, int], file: str) -> None:
    """Check that a bundle has the members that its manifest lists, all that it must have, and no others.

    Args:
        manifest: What it says of itself.
        sizes: Size of every member in bytes.
        file: Name of the bundle, for messages.

    Raises:
        BundleFormatError: If not.
    """
    if sizes.get(SIGNATURE, SIGNATURE_BYTES) != SIGNATURE_BYTES:
        raise BundleFormatError(
            f"{file}: expected a signature of {SIGNATURE_BYTES} bytes, found {sizes[SIGNATURE]:,}. "
            f"Get the file again from where it came from."
        )
    stored = {name: size for name, size in sizes.items() if name not in (MANIFEST, SIGNATURE)}
    listed = {name: member.size for name, member in manifest.members.items()}
    allowed, needed = set[str](), set[str]()
    for variant in manifest.variants:
        names = [f"{variant.runtime}/{name}" for name in FILES]
        names[0] += f".{variant.runtime}"
        needed.update((names[0], names[1], names[-1]))
        # Head, source statistics and verdict are about classes.
        allowed.update(names if manifest.classes else needed)
        must = variant.runtime == "onnx" or len(manifest.variants) == 1
        if manifest.tail is not None and (must or has_tail(manifest, variant.runtime)):
            needed.update(f"{variant.runtime}/{name}" for name in tail_files(variant.runtime))
    if stored != listed or not needed <= set(stored) <= allowed | needed:
        raise BundleFormatError(
            f"{file}: expected the members {sorted(needed)} as the manifest lists them, found {sorted(stored)}. "
            f"Get the file again, or write it again with 'acclimate convert'."
        )
