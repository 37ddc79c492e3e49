"""What a bundle says about itself: `manifest.json` as frozen dataclasses, read strictly."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any, Literal, get_args

from .errors import BundleFormatError, BundleVersionError
from .record import record
from .strict_json import (
    Reader,
    choice,
    flag,
    integer,
    into,
    members,
    name,
    number,
    parse,
    several,
    table,
    text,
    wrong,
)

FORMAT = "acclimate-bundle"
VERSION = 1
MAX_CLASSES = 10_000
MAX_TARGETS = 1_000
MAX_WIDTH = 65_536
MAX_AXIS = 65_536
MAX_ELEMENTS = 2**28
MAX_MAP = 2**24
MAX_CLASS_NAME = 200
MAX_MANIFEST = 2**24
MAX_WHOLE = 2**31
_SHA256 = re.compile(r"[0-9a-f]{64}")

Runtime = Literal["onnx", "tflite"]
Task = Literal["classification", "regression"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
TASKS: tuple[Task, ...] = get_args(Task)


@record()
class InputSpec:
    """What one raw sample is.

    Args:
        shape: Shape of one sample, without the batch axis, for example ``(300, 300, 1)``.
        dtype: ``"uint8"``, ``"float32"``, or ``"int32"`` for ids such as those of tokens.
        range: Least and greatest allowed value; for ``"int32"``, the least and the greatest id.
        axes: What each axis is, for example ``("height", "width", "channel")``.
    """

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32", "int32"]
    range: tuple[float, float]
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        # Equal specs must have equal JSON, since a variant's hash covers it.
        object.__setattr__(self, "shape", tuple(int(axis) for axis in self.shape))
        # Adding 0 turns -0.0, which JSON tells apart, into 0.0.
        object.__setattr__(self, "range", tuple(float(bound) + 0.0 for bound in self.range))
        object.__setattr__(self, "axes", tuple(self.axes))


@record()
class Tap:
    """One tensor whose pooled activations are part of the latent.

    Args:
        name: Name of the module that it is the output of.
        offset: Index of its first dimension in the latent.
        width: Number of dimensions.
    """

    name: str
    offset: int
    width: int


@record()
class Variant:
    """One backbone, for one runtime, with everything that belongs to it.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``; also the folder of its members.
        quantized: Whether its weights are integers.
        hash: SHA-256 over backbone, latent quantization and input (`acclimate.bundle.variant_hash`). Stores and updates
            bind to it.
        tolerance: Greatest allowed difference between a conformance output and the one found, as a share of the
            latent's greatest absolute value.
        saturated: Share of the source's latent values that fall outside the 8-bit range.
    """

    runtime: Runtime
    quantized: bool
    hash: str
    tolerance: float
    saturated: float


@record()
class TailCut:
    """Where the trainable tail of a bundle begins.

    Args:
        cut: Name of the tensor that is the map.
        shape: Shape of one map.
        axis: The channel axis of a batch of maps, counted from the batch axis, which is 0.
    """

    cut: str
    shape: tuple[int, ...]
    axis: int


@record()
class Member:
    """One file of a bundle.

    Args:
        sha256: SHA-256 of its content, in hexadecimal digits.
        size: Its size in bytes.
    """

    sha256: str
    size: int


@record()
class Manifest:
    """Everything a bundle says about itself.

    Args:
        task: What is learnt: ``"classification"`` or ``"regression"``.
        classes: Names of the shipped classes, in the order of the shipped head and statistics. May be empty. For
            regression, the names of the targets, at least one.
        input: What one raw sample is.
        cut: Name of the tensor where the backbone ends.
        taps: The parts of the latent, in its order, without gaps.
        variants: One backbone per runtime.
        members: Every other file of the bundle by name.
        provenance: Where model and data came from, and the versions of the tools that made the bundle.
        licence: Licence of the weights, or an empty string if it is not known.
        tail: Where the tail begins; None for a bundle without one, whose JSON then has no such key.
    """

    task: Task
    classes: tuple[str, ...]
    input: InputSpec
    cut: str
    taps: tuple[Tap, ...]
    variants: tuple[Variant, ...]
    members: Mapping[str, Member] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    tail: TailCut | None = None

    @property
    def width(self) -> int:
        """Number of dimensions of the latent."""
        return self.taps[-1].offset + self.taps[-1].width

    def to_json(self) -> bytes:
        """Return the manifest as UTF-8 JSON, with sorted keys and two spaces of indentation.

        Raises:
            BundleFormatError: If something in it has no such form.
        """
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        if self.tail is None:
            del content["tail"]
        try:
            return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        except (TypeError, ValueError) as error:
            raise _wrong("manifest", "names, texts and numbers", str(error)) from error

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read a manifest, taking nothing on trust.

        Raises:
            BundleVersionError: If its format version is not known.
            BundleFormatError: If anything in it is not as the format says.
        """
        raw = parse(content, "manifest", MAX_MANIFEST)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise _wrong("format", f"{FORMAT!r}", "something else")
        version = raw.pop("version", None)
        if type(version) is not int or version != VERSION:
            raise BundleVersionError(
                f"expected bundle format version {VERSION}, found {version!r:.40}. Update Acclimate on this device, "
                f"or write the bundle with a version of Acclimate that fits it."
            )
        manifest = cls(**members(cls, raw, "manifest", _MANIFEST, optional=("tail",)))
        manifest._check()
        return manifest

    def _check(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise _wrong("classes", "every name once", "a name twice")
        if self.task == "regression" and not 1 <= len(self.classes) <= MAX_TARGETS:
            raise _wrong("classes", f"1 to {MAX_TARGETS:,} targets for regression", f"{len(self.classes):,}")
        if len(self.input.axes) != len(self.input.shape):
            raise _wrong("input.axes", f"{len(self.input.shape)} names", f"{len(self.input.axes)}")
        if math.prod(self.input.shape) > MAX_ELEMENTS:
            raise _wrong("input.shape", f"at most {MAX_ELEMENTS:,} elements", f"{math.prod(self.input.shape):,}")
        if not self.input.range[0] < self.input.range[1]:
            raise _wrong("input.range", "the least value below the greatest", str(self.input.range))
        if self.input.dtype == "int32" and not all(_is_int32(bound) for bound in self.input.range):
            raise _wrong("input.range", "two whole numbers of 32 bits for int32", str(self.input.range))
        offset = 0
        for tap in self.taps:
            if tap.offset != offset:
                raise _wrong(f"taps: offset of {tap.name!r}", str(offset), str(tap.offset))
            offset += tap.width
        if not self.taps or offset > MAX_WIDTH:
            raise _wrong("taps", f"1 to {MAX_WIDTH:,} dimensions together", f"{offset:,}")
        runtimes = [variant.runtime for variant in self.variants]
        if not runtimes or len(set(runtimes)) != len(runtimes):
            raise _wrong("variants", "at least one, each runtime once", str(runtimes))
        if self.tail is not None:
            self._check_tail(self.tail)

    def _check_tail(self, tail: TailCut) -> None:
        if self.task != "classification":
            raise _wrong("tail", "none for another task than classification", "one")
        if math.prod(tail.shape) > MAX_MAP:
            raise _wrong("tail.shape", f"at most {MAX_MAP:,} values", f"{math.prod(tail.shape):,}")
        if tail.axis > len(tail.shape):
            raise _wrong("tail.axis", f"an axis of 1 to {len(tail.shape)}", str(tail.axis))


def _wrong(what: str, expected: str, found: str) -> BundleFormatError:
    return wrong(f"manifest.{what}", expected, found)


def _is_int32(bound: float) -> bool:
    return bound == math.floor(bound) and -MAX_WHOLE <= bound < MAX_WHOLE


def _class_name(raw: Any, where: str) -> str:
    found = name(raw, where)
    if len(found) > MAX_CLASS_NAME:
        raise wrong(where, f"a name of at most {MAX_CLASS_NAME} characters", f"{len(found):,}")
    return found


def _sha256(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or not _SHA256.fullmatch(raw):
        raise wrong(where, "64 hexadecimal digits", repr(raw))
    return raw


_FINITE = 3.4e38
_INPUT: Mapping[str, Reader] = {
    "shape": several(integer(1, MAX_AXIS), 1, 6),
    "dtype": choice("uint8", "float32", "int32"),
    "range": several(number(-_FINITE, _FINITE), 2, 2),
    "axes": several(name, 1, 6),
}
_TAP: Mapping[str, Reader] = {"name": name, "offset": integer(0, MAX_WIDTH), "width": integer(1, MAX_WIDTH)}
_TAIL: Mapping[str, Reader] = {
    "cut": name,
    "shape": several(integer(1, MAX_AXIS), 1, 5),
    "axis": integer(1, 5),
}
_VARIANT: Mapping[str, Reader] = {
    "runtime": choice(*RUNTIMES),
    "quantized": flag,
    "hash": _sha256,
    "tolerance": number(0, 1),
    "saturated": number(0, 1),
}
_MEMBER: Mapping[str, Reader] = {"sha256": _sha256, "size": integer(0, 2**31)}
_MANIFEST: Mapping[str, Reader] = {
    "task": choice(*TASKS),
    "classes": several(_class_name, 0, MAX_CLASSES),
    "input": into(InputSpec, _INPUT),
    "cut": name,
    "taps": several(into(Tap, _TAP), 1, 1_000),
    "variants": several(into(Variant, _VARIANT), 1, len(RUNTIMES)),
    "members": table(name, into(Member, _MEMBER), 64),
    "provenance": table(name, text, 100),
    "licence": text,
    "tail": into(TailCut, _TAIL),
}
