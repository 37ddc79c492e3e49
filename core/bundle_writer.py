"""The bundle, written. Byte for byte in `docs/bundle-format.md`."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .archive import write_archive
from .bundle import Bundle, Conformance, LinearLayer, variant_hash
from .bundle_members import MANIFEST
from .latent import LatentCode
from .manifest import InputSpec, Manifest, Member, Runtime, TailCut, Tap, Task, Variant
from .record import record
from .tensors import Arrays, pack

if TYPE_CHECKING:
    from .tail_content import TailContent


@record(eq=False)
class VariantContent:
    """Everything of one variant, for `write_bundle`.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        quantized: Whether the backbone's weights are integers.
        backbone: Content of the ONNX or TFLite file.
        code: Quantization of its latents.
        conformance: Inputs with the latents that they must give.
        tolerance: Allowed difference, as a share of the greatest absolute value of a latent.
        saturated: Share of the source's latent values outside the 8-bit range.
        head: The shipped head, or None.
        source: Arrays of the source statistics (`acclimate.edge.statistics`), or None.
        novelty: Arrays of the shipped head's `unknown` verdict (`acclimate.edge.unknown.novelty`), or None.
        tail: What can be trained beyond a head, or None; the backbone then gives maps too.
    """

    runtime: Runtime
    quantized: bool
    backbone: bytes
    code: LatentCode
    conformance: Conformance
    tolerance: float
    saturated: float = 0.0
    head: LinearLayer | None = None
    source: Arrays | None = None
    novelty: Arrays | None = None
    tail: "TailContent | None" = None


def write_bundle(
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str],
    input: InputSpec,  # noqa: A002  the manifest's own word
    cut: str,
    taps: Sequence[Tap],
    variants: Sequence[VariantContent],
    provenance: dict[str, str] | None = None,
    licence: str = "",
    task: Task = "classification",
    tail: TailCut | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a bundle, and read it back and verify it before it gets its name.

    Args:
        path: Where to write; the suffix `.acc` is usual.
        classes: Names of the shipped classes, or of the targets.
        input: What one raw sample is.
        cut: Name of the tensor where the backbone ends.
        taps: Parts of the latent.
        variants: One per runtime.
        provenance: Where model and data came from.
        licence: Licence of the weights.
        task: What is learnt.
        tail: Where the tails of the variants begin, if they have one.
        overwrite: Replace a file that is there.

    Returns:
        The manifest written.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
        BundleFormatError: If the content does not fit the format.
    """
    members: dict[str, bytes] = {}
    described: list[Variant] = []
    for content in variants:
        folder = content.runtime
        members[f"{folder}/backbone.{folder}"] = content.backbone
        members[f"{folder}/latent.safetensors"] = pack({"scale": content.code.scale, "offset": content.code.offset})
        members[f"{folder}/conformance.safetensors"] = pack(
            {"input": content.conformance.input, "latent": content.conformance.latent}
        )
        if content.head is not None:
            members[f"{folder}/head.safetensors"] = pack({"weight": content.head.weight, "bias": content.head.bias})
        if content.source is not None:
            members[f"{folder}/source.safetensors"] = pack(content.source)
        if content.novelty is not None:
            members[f"{folder}/novelty.safetensors"] = pack(content.novelty)
        if content.tail is not None:
            from .tail_content import pack_tail

            members |= {f"{folder}/{name}": member for name, member in pack_tail(content.tail).items()}
        described.append(
            Variant(
                runtime=content.runtime,
                quantized=content.quantized,
                hash=variant_hash(
                    content.backbone, content.code, input, None if content.tail is None else content.tail.code
                ),
                tolerance=content.tolerance,
                saturated=content.saturated,
            )
        )
    manifest = Manifest(
        task=task,
        classes=tuple(classes),
        input=input,
        cut=cut,
        taps=tuple(taps),
        variants=tuple(described),
        members={n: Member(hashlib.sha256(c).hexdigest(), len(c)) for n, c in sorted(members.items())},
        provenance=dict(provenance or {}),
        licence=licence,
        tail=tail,
    )
    encoded = manifest.to_json()
    Manifest.from_json(encoded)
    write_archive(path, {MANIFEST: encoded, **members}, overwrite=overwrite, check=_verify)
    return manifest


def _verify(path: Path) -> None:
    with Bundle(path) as written:
        written.verify()
