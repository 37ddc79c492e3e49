"""A variant's trainable tail: its members in a bundle, packed and read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from .errors import BundleFormatError
from .map_code import MapCode
from .record import record
from .tail_spec import Spec
from .tensors import pack, unpack

if TYPE_CHECKING:
    from .bundle import Bundle
    from .manifest import Runtime, TailCut

Float32 = NDArray[np.float32]
# The two models, whose names end in the name of the runtime.
FORWARD, STEP = "tail", "train"
PARAMETERS, SPEC, MAP = "tail.safetensors", "tail.json", "map.safetensors"
FISHER = "fisher/"
MAX_MODEL = 2**28
_ADVICE = "Get the file again, or write it again with 'acclimate convert'."


@record(eq=False)
class TailContent:
    """What of a variant can be trained beyond a head.

    Args:
        forward: Model from maps and parameters to logits, ONNX or TFLite. Untrusted, as a backbone is.
        step: Model of one training step. Untrusted too.
        spec: What both take and give.
        parameters: ``float32`` shipped values by name, in the order of the spec. The head's have a row for each
            shipped class.
        fisher: Fisher diagonals of the shipped parameters by name, at least 0; None if none were shipped.
        code: Quantization of the maps.
        runtime: ``"onnx"`` or ``"tflite"``: what both models are for.
    """

    forward: bytes
    step: bytes
    spec: Spec
    parameters: Mapping[str, Float32]
    fisher: Mapping[str, Float32] | None
    code: MapCode
    runtime: "Runtime" = "onnx"


def pack_tail(tail: TailContent) -> dict[str, bytes]:
    """Return the members of a tail by their names in the variant's folder."""
    arrays = dict(tail.parameters) | {f"{FISHER}{name}": values for name, values in (tail.fisher or {}).items()}
    return {
        f"{FORWARD}.{tail.runtime}": tail.forward,
        f"{STEP}.{tail.runtime}": tail.step,
        PARAMETERS: pack(arrays),
        SPEC: tail.spec.to_json().encode(),
        MAP: pack({"scale": tail.code.scale, "offset": tail.code.offset}),
    }


def read_tail(bundle: "Bundle", runtime: "Runtime", cut: "TailCut") -> TailContent:
    """Read the tail of a variant that has one. See `Bundle.tail`."""
    where = f"{bundle.path.name}: {runtime}"
    forward, step = f"{FORWARD}.{runtime}", f"{STEP}.{runtime}"
    for name in (forward, step):
        size = bundle.manifest.members[f"{runtime}/{name}"].size
        if size > MAX_MODEL:
            raise BundleFormatError(f"{where}/{name}: expected at most {MAX_MODEL:,} bytes, found {size:,}. {_ADVICE}")
    spec = Spec.from_json(bundle.read(f"{runtime}/{SPEC}"))
    if spec.weight is None or spec.map != cut.shape or spec.classes != len(bundle.manifest.classes):
        raise BundleFormatError(
            f"{where}/{SPEC}: expected maps of shape {cut.shape}, {len(bundle.manifest.classes)} classes and the name "
            f"of the head's weight, found {spec.map}, {spec.classes} and {spec.weight!r}. {_ADVICE}"
        )
    parameters, fisher = _arrays(bundle.read(f"{runtime}/{PARAMETERS}"), f"{where}/{PARAMETERS}", spec)
    return TailContent(
        bundle.read(f"{runtime}/{forward}"),
        bundle.read(f"{runtime}/{step}"),
        spec,
        parameters,
        fisher,
        read_map_code(bundle, runtime, cut),
        runtime,
    )


def read_map_code(bundle: "Bundle", runtime: "Runtime", cut: "TailCut") -> MapCode:
    """Read the quantization of a variant's maps."""
    c = cut.shape[cut.axis - 1]
    where = f"{bundle.path.name}: {runtime}/{MAP}"
    arrays = unpack(bundle.read(f"{runtime}/{MAP}"), where, {"scale": ("f4", (c,)), "offset": ("f4", (c,))})
    scale, offset = (cast(Float32, arrays[name]) for name in ("scale", "offset"))
    if not (scale > 0).all():
        raise BundleFormatError(f"{where}: expected scales above 0, found {float(scale.min()):g}. {_ADVICE}")
    return MapCode(scale, offset, cut.shape, cut.axis)


def _arrays(content: bytes, where: str, spec: Spec) -> tuple[dict[str, Float32], dict[str, Float32] | None]:
    wanted = {p.name: ("f4", p.shape) for p in spec.parameters}
    named = {f"{FISHER}{name}": entry for name, entry in wanted.items()}
    if wanted.keys() & named.keys():
        raise BundleFormatError(f"{where}: expected parameters that {FISHER!r} tells apart, found others. {_ADVICE}")
    # All of them or none: which of the two, the first name tells.
    with_fisher = f'"{FISHER}'.encode() in content[: 8 + int.from_bytes(content[:8], "little")]
    arrays = unpack(content, where, wanted | named if with_fisher else wanted)
    parameters = {name: cast(Float32, arrays[name]) for name in wanted}
    if not with_fisher:
        return parameters, None
    fisher = {name: cast(Float32, arrays[f"{FISHER}{name}"]) for name in wanted}
    if any((values < 0).any() for values in fisher.values()):
        raise BundleFormatError(f"{where}: expected Fisher diagonals of at least 0, found others. {_ADVICE}")
    return parameters, fisher
