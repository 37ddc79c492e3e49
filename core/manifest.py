"""What a bundle says about itself: `manifest.json` as frozen dataclasses, read strictly."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, cast, get_args

from .errors import BundleFormatError, BundleVersionError

FORMAT = "acclimate-bundle"
VERSION = 1
MAX_CLASSES = 10_000
MAX_TARGETS = 1_000
MAX_WIDTH = 65_536
MAX_AXIS = 65_536
MAX_ELEMENTS = 2**28
MAX_TEXT = 4_096
MAX_CLASS_NAME = 200
MAX_MANIFEST = 2**24
_SHA256 = re.compile(r"[0-9a-f]{64}")

Runtime = Literal["onnx", "tflite"]
Task = Literal["classification", "regression"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
TASKS: tuple[Task, ...] = get_args(Task)
T = TypeVar("T")


@dataclass(frozen=True)
class InputSpec:
    """What one raw sample is.

    Args:
        shape: Shape of one sample, without the batch axis, for example ``(300, 300, 1)``.
        dtype: ``"uint8"`` or ``"float32"``.
        range: Least and greatest allowed value.
        axes: What each axis is, for example ``("height", "width", "channel")``.
    """

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    range: tuple[float, float]
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        # Equal specs must have equal JSON, since a variant's hash covers it.
        object.__setattr__(self, "shape", tuple(int(axis) for axis in self.shape))
        # Adding 0 turns -0.0, which JSON tells apart, into 0.0.
        object.__setattr__(self, "range", tuple(float(bound) + 0.0 for bound in self.range))
        object.__setattr__(self, "axes", tuple(self.axes))


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Member:
    """One file of a bundle.

    Args:
        sha256: SHA-256 of its content, in hexadecimal digits.
        size: Its size in bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
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
        if len(content) > MAX_MANIFEST:
            raise _wrong("manifest.json", f"at most {MAX_MANIFEST:,} bytes", f"{len(content):,}")
        try:
            raw = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise _wrong("manifest.json", "JSON text", str(error)) from error
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise _wrong("format", f"{FORMAT!r}", "something else")
        version = raw.pop("version", None)
        if type(version) is not int or version != VERSION:
            raise BundleVersionError(
                f"expected bundle format version {VERSION}, found {version!r:.40}. Update Acclimate on this device, "
                f"or write the bundle with a version of Acclimate that fits it."
            )
        manifest = cls(**_object(cls, raw, "manifest", _MANIFEST))
        manifest._check()
        return manifest

    def _check(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise _wrong("classes", "every name once", "a name twice")
        if self.task == "regression" and not 1 <= len(self.classes) <= MAX_TARGETS:
            raise _wrong("classes", f"1 to {MAX_TARGETS:,} targets for regression", f"{len(self.classes):,}")
        if len(self.input.axes) != len(self.input.shape):
            raise _wrong("input.axes", f"{len(self.input.shape)} names", f"{len(self.input.axes)}")
        size = 1
        for axis in self.input.shape:
            size *= axis
        if size > MAX_ELEMENTS:
            raise _wrong("input.shape", f"at most {MAX_ELEMENTS:,} elements", f"{size:,}")
        if not self.input.range[0] < self.input.range[1]:
            raise _wrong("input.range", "the least value below the greatest", str(self.input.range))
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


def _wrong(what: str, expected: str, found: str) -> BundleFormatError:
    return BundleFormatError(
        f"the manifest is not valid: {what}: expected {expected}, found {found[:200]}. "
        f"Write the bundle again with 'acclimate convert'."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


Reader = Callable[[Any, str], Any]


def _object(cls: type[Any], raw: Any, where: str, readers: Mapping[str, Reader]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    if not isinstance(raw, dict) or set(raw) != names:
        found = sorted(map(str, raw)) if isinstance(raw, dict) else type(raw).__name__
        raise _wrong(where, f"the keys {sorted(names)}", str(found))
    return {name: readers[name](raw[name], f"{where}.{name}") for name in readers}


def _text(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or len(raw) > MAX_TEXT or any(0xD800 <= ord(c) < 0xE000 for c in raw):
        raise _wrong(where, f"text of at most {MAX_TEXT:,} characters", repr(raw))
    return raw


def _name(raw: Any, where: str) -> str:
    if not _text(raw, where).strip() or not cast(str, raw).isprintable():
        raise _wrong(where, "a printable name", repr(raw))
    return cast(str, raw)


def _class_name(raw: Any, where: str) -> str:
    if len(_name(raw, where)) > MAX_CLASS_NAME:
        raise _wrong(where, f"a name of at most {MAX_CLASS_NAME} characters", f"{len(raw):,}")
    return cast(str, raw)


def _sha256(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or not _SHA256.fullmatch(raw):
        raise _wrong(where, "64 hexadecimal digits", repr(raw))
    return raw


def _integer(low: int, high: int) -> Reader:
    def read(raw: Any, where: str) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            raise _wrong(where, f"a whole number from {low:,} to {high:,}", repr(raw)[:60])
        return raw

    return read


def _number(low: float, high: float) -> Reader:
    def read(raw: Any, where: str) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool) or not low <= raw <= high:
            raise _wrong(where, f"a number from {low:g} to {high:g}", repr(raw)[:60])
        return float(raw)

    return read


def _flag(raw: Any, where: str) -> bool:
    if not isinstance(raw, bool):
        raise _wrong(where, "true or false", repr(raw)[:60])
    return raw


def _choice(*allowed: str) -> Reader:
    def read(raw: Any, where: str) -> str:
        if not isinstance(raw, str) or raw not in allowed:
            raise _wrong(where, f"one of {allowed}", repr(raw)[:60])
        return raw

    return read


def _list(item: Reader, least: int, most: int) -> Reader:
    def read(raw: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(raw, list) or not least <= len(raw) <= most:
            found = f"{len(raw)} entries" if isinstance(raw, list) else type(raw).__name__
            raise _wrong(where, f"a list of {least:,} to {most:,} entries", found)
        return tuple(item(value, f"{where}[{i}]") for i, value in enumerate(raw))

    return read


def _table(key: Reader, item: Reader, most: int) -> Reader:
    def read(raw: Any, where: str) -> dict[str, Any]:
        if not isinstance(raw, dict) or len(raw) > most:
            raise _wrong(where, f"an object of at most {most} entries", type(raw).__name__)
        return {key(k, where): item(v, f"{where}[{k!r:.60}]") for k, v in raw.items()}

    return read


def _record(cls: type[T], readers: Mapping[str, Reader]) -> Reader:
    def read(raw: Any, where: str) -> T:
        return cls(**_object(cls, raw, where, readers))

    return read


_FINITE = 3.4e38
_INPUT: Mapping[str, Reader] = {
    "shape": _list(_integer(1, MAX_AXIS), 1, 6),
    "dtype": _choice("uint8", "float32"),
    "range": _list(_number(-_FINITE, _FINITE), 2, 2),
    "axes": _list(_name, 1, 6),
}
_TAP: Mapping[str, Reader] = {"name": _name, "offset": _integer(0, MAX_WIDTH), "width": _integer(1, MAX_WIDTH)}
_VARIANT: Mapping[str, Reader] = {
    "runtime": _choice(*RUNTIMES),
    "quantized": _flag,
    "hash": _sha256,
    "tolerance": _number(0, 1),
    "saturated": _number(0, 1),
}
_MEMBER: Mapping[str, Reader] = {"sha256": _sha256, "size": _integer(0, 2**31)}
_MANIFEST: Mapping[str, Reader] = {
    "task": _choice(*TASKS),
    "classes": _list(_class_name, 0, MAX_CLASSES),
    "input": _record(InputSpec, _INPUT),
    "cut": _name,
    "taps": _list(_record(Tap, _TAP), 1, 1_000),
    "variants": _list(_record(Variant, _VARIANT), 1, len(RUNTIMES)),
    "members": _table(_name, _record(Member, _MEMBER), 64),
    "provenance": _table(_name, _text, 100),
    "licence": _text,
}
