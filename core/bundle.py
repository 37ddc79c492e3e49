"""The bundle, read: one file that converters write and devices open. Its format: `docs/bundle-format.md`."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from .archive import Archive
from .bundle_members import MANIFEST, SIGNATURE, check_members, has_tail
from .errors import BundleFormatError, BundleIntegrityError
from .latent import LatentCode
from .manifest import InputSpec, Manifest, Runtime, Variant
from .novelty_arrays import check_novelty, novelty_spec
from .record import record
from .source_arrays import check_source, source_spec
from .tensors import unpack

if TYPE_CHECKING:
    from .keys import PublicKey
    from .map_code import MapCode
    from .tail_content import TailContent

Float32 = NDArray[np.float32]


@record(eq=False)
class LinearLayer:
    """Weights of a linear head on latents: ``logits = latents @ weight.T + bias``.

    Args:
        weight: ``(k, d) float32``.
        bias: ``(k,) float32``.
    """

    weight: Float32
    bias: Float32


@record(eq=False)
class Conformance:
    """Inputs with the latents that they must give.

    Args:
        input: ``(n, *shape)`` in the type of the input.
        latent: ``(n, d) float32``.
    """

    input: NDArray[np.generic]
    latent: Float32


class Bundle:
    """An opened bundle. Its structure is checked at once, the content of a member when it is read.

    Args:
        path: The file.

    Raises:
        BundleFormatError: If it is malformed.
        BundleVersionError: If its format is not known.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._archive = Archive(path)
        try:
            self.path = self._archive.path
            # Kept: a signature must be checked against the bytes that were read here, whatever the file becomes.
            self._signed = self._archive.read(MANIFEST)
            self.manifest = Manifest.from_json(self._signed)
            check_members(self.manifest, self._archive.sizes, self.path.name)
        except BaseException:
            self._archive.close()
            raise

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every member in bytes."""
        return self._archive.sizes

    def variant(self, runtime: Runtime) -> Variant:
        """Return what the manifest says of the variant for a runtime.

        Raises:
            BundleFormatError: If the bundle has none.
        """
        for variant in self.manifest.variants:
            if variant.runtime == runtime:
                return variant
        have = [variant.runtime for variant in self.manifest.variants]
        raise BundleFormatError(
            f"{self.path.name}: expected a backbone for {runtime!r}, found {have}. "
            f"Open it with one of these runtimes, or convert the model for {runtime!r} too."
        )

    def read(self, name: str) -> bytes:
        """Return one member's content after checking its SHA-256.

        Raises:
            BundleIntegrityError: If the content is not what the manifest says.
            BundleFormatError: If there is no such member.
        """
        content = self._archive.read(name)
        if name != SIGNATURE and name != MANIFEST:
            expected, found = self.manifest.members[name].sha256, hashlib.sha256(content).hexdigest()
            if found != expected:
                raise BundleIntegrityError(
                    f"{self.path.name}: expected {name!r} with SHA-256 {expected[:12]}..., found {found[:12]}... "
                    f"The file was damaged or altered: get it again from where it came from."
                )
        return content

    def verify(self) -> None:
        """Check the content of every member, and that each variant's hash is its own.

        Raises:
            BundleIntegrityError: If a content is not what the manifest says.
            BundleFormatError: If arrays are not what the format says.
        """
        for name in self.manifest.members:
            self.read(name)
        for variant in self.manifest.variants:
            self.backbone(variant.runtime)
            self.head(variant.runtime)
            self.source(variant.runtime)
            self.novelty(variant.runtime)
            self.conformance(variant.runtime)
            self.tail(variant.runtime)

    @property
    def signed_by(self) -> str | None:
        """The public key that the signature names, in hexadecimal digits, or None; not checked."""
        return self.read(SIGNATURE)[:32].hex() if SIGNATURE in self.sizes else None

    def check_signature(self, trusted: "Sequence[PublicKey] | None") -> str:
        """Check who signed the bundle.

        The signature covers the manifest, and the manifest holds the SHA-256 of every member, which `read` compares.

        Args:
            trusted: Keys of which one must have signed (`acclimate.keys.load_trusted_keys`). None takes any key: that
                tells of damage, and nothing of where the bundle came from.

        Returns:
            The key that signed, in hexadecimal digits.

        Raises:
            SignatureError: If there is no signature, if it is by another key, or if it does not fit the manifest.
            MissingExtraError: If `cryptography` is not installed.
        """
        from .signing import BUNDLE, check_signature

        signature = self.read(SIGNATURE) if SIGNATURE in self.sizes else None
        return check_signature(signature, self._signed, BUNDLE, trusted, self.path.name).id

    def backbone(self, runtime: Runtime) -> bytes:
        """Return the content of the ONNX or TFLite file, after checking that the variant's hash is its own."""
        variant = self.variant(runtime)
        content = self.read(f"{runtime}/backbone.{runtime}")
        found = variant_hash(content, self.code(runtime), self.manifest.input, self.map_code(runtime))
        if found != variant.hash:
            raise BundleIntegrityError(
                f"{self.path.name}: expected the {runtime} variant to have hash {variant.hash[:12]}..., found "
                f"{found[:12]}... The file was altered: get it again from where it came from."
            )
        return content

    def code(self, runtime: Runtime) -> LatentCode:
        """Return the quantization of a variant's latents."""
        d = self.manifest.width
        arrays = self._arrays(f"{runtime}/latent.safetensors", {"scale": ("f4", (d,)), "offset": ("f4", (d,))})
        code = LatentCode(cast(Float32, arrays["scale"]), cast(Float32, arrays["offset"]))
        if not (code.scale > 0).all():
            raise BundleFormatError(
                f"{self.path.name}: expected latent scales above 0, found {float(code.scale.min()):g}. "
                f"Get the file again, or write it again with 'acclimate convert'."
            )
        return code

    def head(self, runtime: Runtime) -> LinearLayer | None:
        """Return the shipped head of a variant, or None."""
        name, k, d = f"{runtime}/head.safetensors", len(self.manifest.classes), self.manifest.width
        if name not in self.manifest.members:
            return None
        arrays = self._arrays(name, {"weight": ("f4", (k, d)), "bias": ("f4", (k,))})
        return LinearLayer(cast(Float32, arrays["weight"]), cast(Float32, arrays["bias"]))

    def source(self, runtime: Runtime) -> dict[str, NDArray[np.generic]] | None:
        """Return the arrays of a variant's source statistics, or None.

        Returns:
            ``count (k,)``, ``sum (k, d)`` and either ``moment (d * (d + 1) / 2,)`` or ``factor (r, d) float32`` with
            ``diagonal (d,)``; float64 unless said. See `acclimate.edge.statistics`. With a shipped head there may be
            ``fisher (k, d + 1) float32``. See `acclimate.edge.adaptation.fisher`.
            For regression `count` and `sum` are those of
            all samples, ``(1,)`` and ``(1, d)``, and ``target (t,)``, ``square (t,)`` and ``cross (t, d)`` stand
            beside them. See `acclimate.edge.regression.source`.
        """
        name, k, d = f"{runtime}/source.safetensors", len(self.manifest.classes), self.manifest.width
        if name not in self.manifest.members:
            return None
        content, where = self.read(name), f"{self.path.name}: {name}"
        has_head = f"{runtime}/head.safetensors" in self.manifest.members
        arrays = unpack(content, where, source_spec(content, self.manifest.task, k, d, with_head=has_head))
        check_source(arrays, where)
        return arrays

    def novelty(self, runtime: Runtime) -> dict[str, NDArray[np.generic]] | None:
        """Return the arrays of a shipped head's `unknown` verdict, or None; of `acclimate.novelty_arrays`, checked."""
        name, k = f"{runtime}/novelty.safetensors", len(self.manifest.classes)
        if name not in self.manifest.members:
            return None
        if self.manifest.task != "classification" or f"{runtime}/head.safetensors" not in self.manifest.members:
            raise BundleFormatError(
                f"{self.path.name}: expected {name!r} beside a head that was shipped for classification only, found it "
                f"without one. Get the file again, or write it again with 'acclimate convert'."
            )
        arrays = unpack(self.read(name), f"{self.path.name}: {name}", novelty_spec(self.manifest.width))
        check_novelty(arrays, f"{self.path.name}: {name}", k)
        return arrays

    def conformance(self, runtime: Runtime) -> Conformance:
        """Return inputs with the latents that a variant must give for them."""
        shape, d = self.manifest.input.shape, self.manifest.width
        dtype = np.dtype(self.manifest.input.dtype).str[1:]
        spec = {"input": (dtype, (-1, *shape)), "latent": ("f4", (-1, d))}
        arrays = self._arrays(f"{runtime}/conformance.safetensors", spec)
        if len(arrays["input"]) != len(arrays["latent"]):
            raise BundleFormatError(
                f"{self.path.name}: expected as many conformance inputs as latents, found {len(arrays['input'])} and "
                f"{len(arrays['latent'])}. Get the file again, or write it again with 'acclimate convert'."
            )
        return Conformance(arrays["input"], cast(Float32, arrays["latent"]))

    def map_code(self, runtime: Runtime) -> "MapCode | None":
        """Return the quantization of a variant's maps, or None where it has no tail, and its backbone gives no maps."""
        cut = self.manifest.tail
        if cut is None or not has_tail(self.manifest, runtime):
            return None
        from .tail_content import read_map_code

        return read_map_code(self, runtime, cut)

    def tail(self, runtime: Runtime) -> "TailContent | None":
        """Return what of a variant can be trained beyond a head, or None."""
        cut = self.manifest.tail
        if cut is None or not has_tail(self.manifest, runtime):
            return None
        from .tail_content import read_tail

        return read_tail(self, runtime, cut)

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _arrays(self, name: str, spec: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, NDArray[np.generic]]:
        return unpack(self.read(name), f"{self.path.name}: {name}", spec)


def variant_hash(backbone: bytes, code: LatentCode, spec: InputSpec, maps: "MapCode | None" = None) -> str:
    """Return the hash that a store is bound to: whatever gives equal codes for equal inputs has an equal hash.

    Args:
        backbone: Content of the ONNX or TFLite file.
        code: Quantization of its latents.
        spec: What one raw sample is.
        maps: Quantization of its maps, where it gives some.

    Returns:
        SHA-256 in hexadecimal digits, over the SHA-256 of the backbone, scale and offset as little-endian float32, and
        the input as JSON with sorted keys; with maps also their scale and offset, and the channel axis as one byte.
    """
    digest = hashlib.sha256(hashlib.sha256(backbone).digest())
    digest.update(code.scale.astype("<f4").tobytes() + code.offset.astype("<f4").tobytes())
    digest.update(json.dumps(asdict(spec), sort_keys=True, separators=(",", ":")).encode())
    if maps is not None:
        digest.update(maps.scale.astype("<f4").tobytes() + maps.offset.astype("<f4").tobytes() + bytes([maps.axis]))
    return digest.hexdigest()
