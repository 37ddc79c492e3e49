"""The manifest: what is written is read, and nothing in it is taken on trust."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.errors import BundleError, BundleFormatError, BundleVersionError
from acclimate.manifest import (
    FORMAT,
    MAX_CLASS_NAME,
    MAX_CLASSES,
    MAX_MANIFEST,
    RUNTIMES,
    VERSION,
    InputSpec,
    Manifest,
    Member,
    Tap,
    Variant,
)
from acclimate.strict_json import MAX_TEXT

DTYPES: tuple[Literal["uint8", "float32", "int32"], ...] = ("uint8", "float32", "int32")
HELPFUL = re.compile(r"expected .+found .+\. (Write the bundle again|Update Acclimate)", re.DOTALL)
SHA = "0123456789abcdef" * 4
quick = settings(deadline=None, derandomize=True, max_examples=200)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20)
texts = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=20)
finite = st.floats(-3e38, 3e38)
shas = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Draw any manifest that the format allows."""
    shape = tuple(draw(st.lists(st.integers(1, 64), min_size=1, max_size=4)))
    dtype = draw(st.sampled_from(DTYPES))
    bounds = st.integers(-(2**31), 2**31 - 1).map(float) if dtype == "int32" else finite
    low, high = sorted(draw(st.lists(bounds, min_size=2, max_size=2, unique=True)))
    axes = tuple(draw(st.lists(names, min_size=len(shape), max_size=len(shape))))
    widths = draw(st.lists(st.integers(1, 500), min_size=1, max_size=5))
    taps = tuple(Tap(draw(names), sum(widths[:i]), width) for i, width in enumerate(widths))
    share = st.floats(0, 1)
    variants = tuple(
        Variant(runtime, draw(st.booleans()), draw(shas), draw(share), draw(share))
        for runtime in draw(st.permutations(RUNTIMES))[: draw(st.integers(1, 2))]
    )
    return Manifest(
        task="classification",
        classes=tuple(draw(st.lists(names, max_size=5, unique=True))),
        input=InputSpec(shape, dtype, (low, high), axes),
        cut=draw(names),
        taps=taps,
        variants=variants,
        members=draw(st.dictionaries(names, st.builds(Member, shas, st.integers(0, 2**31)), max_size=4)),
        provenance=draw(st.dictionaries(names, texts, max_size=4)),
        licence=draw(texts),
    )


@quick
@given(manifests())
def test_every_manifest_comes_back(manifest: Manifest) -> None:
    """Reading what was written gives the same, and writing it again the same bytes."""
    content = manifest.to_json()
    found = Manifest.from_json(content)
    assert found == manifest
    assert found.to_json() == content
    assert found.width == sum(tap.width for tap in manifest.taps)


def test_json_has_the_dataclass_as_keys() -> None:
    """Format and version stand beside the fields; keys are sorted, so equal manifests have equal bytes."""
    content = plain()
    assert list(content) == sorted(content)
    assert content.pop("format") == FORMAT == "acclimate-bundle"
    assert content.pop("version") == VERSION == 1
    assert set(content) == set(asdict(BASE)) - {"tail"}


BASE = Manifest(
    task="classification",
    classes=("a", "b"),
    input=InputSpec((4, 4, 1), "uint8", (0, 255), ("height", "width", "channel")),
    cut="pool",
    taps=(Tap("one", 0, 3), Tap("two", 3, 5)),
    variants=(Variant("onnx", True, SHA, 0.1, 0.0), Variant("tflite", True, SHA, 0.1, 0.0)),
    members={"onnx/backbone.onnx": Member(SHA, 7)},
    provenance={"model": "none"},
    licence="MIT",
)


def plain() -> dict[str, Any]:
    """Return a right manifest as plain values."""
    content: dict[str, Any] = json.loads(BASE.to_json())
    return content


def put(path: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Return an edit that sets one value; numbers in the path are places in lists."""

    def edit(content: dict[str, Any]) -> None:
        *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        at: Any = content
        for step in way:
            at = at[step]
        at[last] = value

    return edit


def tokens(low: float, high: float) -> Callable[[dict[str, Any]], object]:
    """Return an edit that lets samples be ids of a range."""
    return lambda content: content["input"].update(dtype="int32", range=[low, high])


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.pop("taps"), r"manifest: expected the keys \['classes', .*found"),
    (lambda m: m.update(extra=1), r"manifest: expected the keys .*'extra'"),
    (lambda m: m["input"].pop("axes"), r"manifest.input: expected the keys"),
    (lambda m: m["taps"][0].update(extra=1), r"manifest.taps\[0\]: expected the keys"),
    (lambda m: m["variants"][1].update({"\ud800": 1}), r"manifest.variants\[1\]: expected the keys"),
    (put("format", "zip"), "format: expected 'acclimate-bundle'"),
    (put("task", "ranking"), r"manifest.task: expected one of \('classification', 'regression'\), found 'ranking'"),
    (put("classes", {"a": 1}), "manifest.classes: expected a list of 0 to 10,000 entries, found dict"),
    (put("classes", "ab"), "manifest.classes: expected a list"),
    (put("classes", ["a", "a"]), "classes: expected every name once, found a name twice"),
    (put("classes", [1]), r"manifest.classes\[0\]: expected text"),
    (put("classes", [None]), r"manifest.classes\[0\]: expected text"),
    (put("classes", [""]), r"manifest.classes\[0\]: expected a printable name"),
    (put("classes", [" "]), r"manifest.classes\[0\]: expected a printable name"),
    (put("classes", ["a\nb"]), r"manifest.classes\[0\]: expected a printable name"),
    (put("classes", ["\u202e"]), r"manifest.classes\[0\]: expected a printable name"),
    (put("classes", ["\ud800"]), r"manifest.classes\[0\]: expected a printable name"),
    (put("classes", ["a" * (MAX_CLASS_NAME + 1)]), r"manifest.classes\[0\]: expected a name of at most 200 char"),
    (put("classes", [f"{i}" for i in range(MAX_CLASSES + 1)]), "found 10001 entries"),
    (put("input.shape", []), "manifest.input.shape: expected a list of 1 to 6 entries, found 0 entries"),
    (put("input.shape", [1] * 7), "manifest.input.shape: expected a list of 1 to 6 entries"),
    (put("input.shape", [4, 4]), "input.axes: expected 2 names, found 3"),
    (put("input.shape", [4, 4, 0]), r"manifest.input.shape\[2\]: expected a whole number from 1 to 65,536, found 0"),
    (put("input.shape", [4, 4, -1]), r"manifest.input.shape\[2\]: expected a whole number"),
    (put("input.shape", [4, 4, 1.0]), r"manifest.input.shape\[2\]: expected a whole number"),
    (put("input.shape", [4, 4, True]), r"manifest.input.shape\[2\]: expected a whole number"),
    (put("input.shape", [4, 4, "1"]), r"manifest.input.shape\[2\]: expected a whole number"),
    (put("input.shape", [4, 4, 10**400]), r"manifest.input.shape\[2\]: expected a whole number"),
    (
        put("input.shape", [65_536, 65_536, 1]),
        "input.shape: expected at most 268,435,456 elements, found 4,294,967,296",
    ),
    (put("input.dtype", "object"), "manifest.input.dtype: expected one of"),
    (put("input.dtype", ["uint8"]), "manifest.input.dtype: expected one of"),
    (put("input.dtype", "int64"), "manifest.input.dtype: expected one of"),
    (tokens(0, 30_521.5), "input.range: expected two whole numbers of 32 bits for int32, found"),
    (tokens(0, 2**31), "input.range: expected two whole numbers of 32 bits for int32, found"),
    (tokens(-(2**31) - 1, 0), "input.range: expected two whole numbers of 32 bits for int32, found"),
    (tokens(7, 7), "input.range: expected the least value below the greatest"),
    (put("input.range", [0]), "manifest.input.range: expected a list of 2 to 2 entries"),
    (put("input.range", [255, 0]), "input.range: expected the least value below the greatest"),
    (put("input.range", [0, 1e39]), r"manifest.input.range\[1\]: expected a number from -3.4e\+38"),
    (put("input.range", [0, math.inf]), "expected JSON text, found Infinity is not a JSON number"),
    (put("input.range", [math.nan, 1]), "expected JSON text, found NaN is not a JSON number"),
    (put("input.range", [0, 10**400]), r"manifest.input.range\[1\]: expected a number"),
    (put("input.range", [False, True]), r"manifest.input.range\[0\]: expected a number"),
    (put("cut", ""), "manifest.cut: expected a printable name"),
    (put("cut", "x" * (MAX_TEXT + 1)), "manifest.cut: expected text of at most 4,096 characters"),
    (put("taps", []), "manifest.taps: expected a list of 1 to 1,000 entries"),
    (put("taps", [[]]), r"manifest.taps\[0\]: expected the keys .*found list"),
    (put("taps.0.offset", 1), "taps: offset of 'one': expected 0, found 1"),
    (put("taps.1.offset", 2), "taps: offset of 'two': expected 3, found 2"),
    (put("taps.0.width", 0), r"manifest.taps\[0\].width: expected a whole number from 1 to 65,536, found 0"),
    (put("taps.1.width", 65_536), "taps: expected 1 to 65,536 dimensions together, found 65,539"),
    (put("variants", []), "manifest.variants: expected a list of 1 to 2 entries"),
    (put("variants.0.runtime", "tensorflow"), r"manifest.variants\[0\].runtime: expected one of \('onnx', 'tflite'\)"),
    (put("variants.0.runtime", "tflite"), "variants: expected at least one, each runtime once"),
    (put("variants.0.quantized", 1), r"manifest.variants\[0\].quantized: expected true or false, found 1"),
    (put("variants.0.hash", SHA.upper()), r"manifest.variants\[0\].hash: expected 64 hexadecimal digits"),
    (put("variants.0.hash", SHA[1:]), r"manifest.variants\[0\].hash: expected 64 hexadecimal digits"),
    (put("variants.0.hash", SHA + "\n"), r"manifest.variants\[0\].hash: expected 64 hexadecimal digits"),
    (put("variants.0.tolerance", -0.1), r"manifest.variants\[0\].tolerance: expected a number from 0 to 1, found -0.1"),
    (put("variants.0.tolerance", None), r"manifest.variants\[0\].tolerance: expected a number"),
    (put("variants.0.saturated", 1.5), r"manifest.variants\[0\].saturated: expected a number from 0 to 1"),
    (put("members", []), "manifest.members: expected an object of at most 64 entries, found list"),
    (put("members", {f"m{i}": {"sha256": SHA, "size": 1} for i in range(65)}), "expected an object of at most 64"),
    (put("members", {"a": {"sha256": SHA, "size": -1}}), r"manifest.members\['a'\].size: expected a whole number"),
    (put("members", {"a": {"sha256": SHA, "size": 2**40}}), r"manifest.members\['a'\].size: expected a whole number"),
    (put("members", {"": {"sha256": SHA, "size": 1}}), "manifest.members: expected a printable name"),
    (put("provenance", {"model": 1}), r"manifest.provenance\['model'\]: expected text"),
    (put("provenance", {"model": "\udfff"}), r"manifest.provenance\['model'\]: expected text"),
    (put("provenance", {f"{i}": "" for i in range(101)}), "expected an object of at most 100 entries"),
    (put("licence", None), "manifest.licence: expected text of at most 4,096 characters, all printable, found None"),
    (put("licence", "MIT\x1b[6A"), "manifest.licence: expected text of at most 4,096 characters, all printable"),
    (put("licence", "MIT\nsignature by nobody"), "manifest.licence: expected text of at most 4,096 characters, all"),
]


@pytest.mark.parametrize(("edit", "match"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(edit: Callable[[dict[str, Any]], object], match: str) -> None:
    """Every rule of the page: the message names the place, what was expected, what was found and what to do."""
    content = plain()
    edit(content)
    with pytest.raises(BundleFormatError, match=rf"^the manifest is not valid: .*{match}.*Write the bundle again"):
        Manifest.from_json(json.dumps(content).encode())


@pytest.mark.parametrize("version", [0, 2, 1.0, 1.5, "1", None, True, [1], 10**30])
def test_other_versions(version: object) -> None:
    """A version that is not known says so, before anything else is looked at."""
    content = json.dumps({"format": FORMAT, "version": version}).encode()
    with pytest.raises(BundleVersionError, match=r"expected bundle format version 1, found .*Update Acclimate on this"):
        Manifest.from_json(content)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "expected JSON text"),
        (b"\0" * 100, "expected JSON text"),
        (b"null", "format: expected 'acclimate-bundle'"),
        (b"[]", "format: expected 'acclimate-bundle'"),
        (b'"format"', "format: expected 'acclimate-bundle'"),
        (b"{" * 100_000, "expected JSON text"),
        (b'{"a":' * 100_000, "expected JSON text"),
        (b"[" * 100_000 + b"]" * 100_000, "expected JSON text"),
        (b'{"format": "acclimate-bundle", "version": 1, "version": 1}', "a key occurs twice"),
        (BASE.to_json().replace(b'"width": 3', b'"width": 3, "width": 3'), "a key occurs twice"),
        (BASE.to_json() + b"{}", "expected JSON text"),
        (BASE.to_json()[:-3], "expected JSON text"),
        (b"\xef\xbb\xbf" + BASE.to_json(), "expected JSON text"),
        (BASE.to_json().decode().encode("utf-16"), "expected JSON text"),
        (BASE.to_json().replace(b"MIT", b"\xff\xfe"), "expected JSON text"),
        (BASE.to_json().replace(b"MIT", b"\xed\xa0\x80"), "expected JSON text"),
        (BASE.to_json().replace(b'"size": 7', b'"size": ' + b"9" * 5_000), "expected JSON text"),
        (b" " * (MAX_MANIFEST + 1), "expected at most 16,777,216 bytes, found 16,777,217"),
    ],
    ids=range(18),
)
def test_what_is_no_such_json(content: bytes, match: str) -> None:
    """Cut short, nested too deep, keys twice, other encodings, numbers and files without end."""
    with pytest.raises(BundleFormatError, match=match):
        Manifest.from_json(content)


def test_version_comes_before_the_rest() -> None:
    """A later format may have other keys; the reader must not call it malformed."""
    with pytest.raises(BundleVersionError, match="found 2"):
        Manifest.from_json(json.dumps({"format": FORMAT, "version": 2, "other": []}).encode())


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(SHA)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.data())
def test_any_other_value_is_refused_or_read_as_it_is(data: st.DataObject) -> None:
    """Whatever stands in one place: an error of ours, or a manifest that says the same when written again."""
    content = plain()
    at: Any = content
    key: Any = data.draw(st.sampled_from(sorted(at)))
    while isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans()):
        at = at[key]
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
    at[key] = data.draw(json_values)
    try:
        found = Manifest.from_json(json.dumps(content).encode())
    except BundleError as error:
        if not HELPFUL.search(str(error)):
            raise
        return
    assert Manifest.from_json(found.to_json()) == found
    assert json.loads(found.to_json()) == content
