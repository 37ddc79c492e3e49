"""The command `acclimate inspect`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from .console import many, output, print_json, printable, size
from .opening import BundlePath, Json
from .signing import Trust, describe_signer, signer

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..manifest import TailCut, Variant


def inspect(bundle: BundlePath, trust: Trust = None, json: Json = False) -> None:
    """Show what is in a bundle, and check every hash and the signature."""
    from ..bundle import Bundle

    with Bundle(bundle) as opened:
        opened.verify()
        manifest, sizes = opened.manifest, opened.sizes
        key, checked = signer(opened, trust)
        trained = _trained(opened)
    if json:
        print_json(
            {
                "file": str(bundle),
                "bytes": bundle.stat().st_size,
                "verified": True,
                "signature": None if key is None else {"key": key, "checked": checked, "trusted": bool(trust)},
                "task": manifest.task,
                "classes": list(manifest.classes),
                "input": {"shape": list(manifest.input.shape), "dtype": manifest.input.dtype},
                "cut": manifest.cut,
                "latent": manifest.width,
                "taps": [{"name": t.name, "offset": t.offset, "width": t.width} for t in manifest.taps],
                "tail": None if manifest.tail is None else asdict(manifest.tail) | {"parameters": trained},
                "variants": [
                    {"runtime": v.runtime, "quantized": v.quantized, "hash": v.hash, "saturated": v.saturated}
                    for v in manifest.variants
                ],
                "members": sizes,
                "provenance": dict(manifest.provenance),
                "licence": manifest.licence,
            }
        )
        return
    facts = Table.grid(padding=(0, 2))
    classes = ", ".join(manifest.classes[:12]) + (", ..." if len(manifest.classes) > 12 else "")
    shape = " x ".join(f"{n} {axis}" for n, axis in zip(manifest.input.shape, manifest.input.axes, strict=True))
    low, high = manifest.input.range
    counted = many(len(manifest.classes), "target" if manifest.task == "regression" else "class")
    for name, value in (
        ("bundle", f"{bundle.name}, {size(bundle.stat().st_size)}, every hash is right"),
        ("signature", describe_signer(key, checked, trust)),
        ("task", f"{manifest.task}, {counted}: {classes or 'defined on the device'}"),
        ("input", f"{shape}, {manifest.input.dtype} from {low:g} to {high:g}"),
        ("cut", manifest.cut),
        ("latent", f"{manifest.width} dimensions: " + ", ".join(f"{t.name} {t.width}" for t in manifest.taps)),
        *((("tail", _tail(manifest.tail, trained)),) if manifest.tail is not None else ()),
        *((f"{v.runtime} variant", _variant(v)) for v in manifest.variants),
        ("licence", manifest.licence or "not stated"),
        *manifest.provenance.items(),
    ):
        facts.add_row(printable(name), printable(value))
    output.print(facts)
    members = Table("member", "size", box=None, padding=(0, 2))
    members.columns[1].justify = "right"
    for name, count in sizes.items():
        members.add_row(printable(name), size(count))
    output.print(members)


def _trained(bundle: "Bundle") -> int:
    """Return how many parameters a tail trains; 0 without one."""
    if bundle.manifest.tail is None:
        return 0
    found = [bundle.tail(variant.runtime) for variant in bundle.manifest.variants]
    return max((sum(p.size for p in tail.parameters.values()) for tail in found if tail is not None), default=0)


def _tail(cut: "TailCut", trained: int) -> str:
    shape = "x".join(map(str, cut.shape))
    return f"behind {cut.cut}, from a map {shape}: {trained:,} parameters are trained"


def _variant(variant: "Variant") -> str:
    kind = "int8" if variant.quantized else "float32"
    return f"{kind}, hash {variant.hash[:12]}, {variant.saturated:.2%} of source latents saturated"
