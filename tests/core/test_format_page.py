"""`docs/bundle-format.md` says what the code does: members, keys, limits, and each number of its worked example."""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from acclimate import archive, bundle_members, manifest, strict_json, tail_content, tail_spec
from acclimate.bundle import Bundle
from acclimate.errors import BundleFormatError

PAGE = Path(__file__).parents[2] / "docs" / "bundle-format.md"
Row = list[str]


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    """The page by heading."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


def tables(text: str) -> dict[str, list[Row]]:
    """Return the rows of each table below its head, by the last line of text in front of it."""
    found: dict[str, list[Row]] = {}
    for before, table in re.findall(r"([^\n]+)\n\n((?:\|.*\n)+)", text):
        lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        found[before] = lines[2:]
    return found


def keys(rows: list[Row]) -> list[str]:
    """Return what stands in the first column, without its marks."""
    return [row[0].strip("`") for row in rows]


def number(text: str) -> int:
    """Return a number as the page writes it."""
    return int(text.replace(",", ""))


def test_members_are_those_of_the_code(page: dict[str, str]) -> None:
    """Names and which of them must be there."""
    (rows,) = tables(page["Members"]).values()
    for runtime in manifest.RUNTIMES:
        own = [row[0].strip("`") for row in rows if row[1] != "tail"]
        variant = [key.replace("RUNTIME", runtime) for key in own if key.startswith("RUNTIME/")]
        first, *others = bundle_members.FILES
        assert variant == [f"{runtime}/{first}.{runtime}", *(f"{runtime}/{other}" for other in others)]
    assert {key for key in keys(rows) if "/" not in key} == {bundle_members.MANIFEST, bundle_members.SIGNATURE}
    tail = [key for key, row in zip(keys(rows), rows, strict=True) if row[1] == "tail"]
    models = [f"{name}.RUNTIME" for name in (tail_content.FORWARD, tail_content.STEP)]
    others = [tail_content.PARAMETERS, tail_content.SPEC, tail_content.MAP]
    assert tail == [f"RUNTIME/{name}" for name in (*models, *others)]
    for runtime in manifest.RUNTIMES:
        names = [key.removeprefix("RUNTIME/").replace("RUNTIME", runtime) for key in tail]
        assert names == list(bundle_members.tail_files(runtime))


def test_needed_members_are_those_of_the_code(
    page: dict[str, str], tail_bundle: Path, forgery: ModuleType, tmp_path: Path
) -> None:
    """A bundle without one that the page calls needed is refused, without another one it opens."""
    (rows,) = tables(page["Members"]).values()
    for name, needed, _ in rows:
        member = name.strip("`").replace("RUNTIME", "onnx")
        if member in (bundle_members.MANIFEST, bundle_members.SIGNATURE):
            continue
        path = forgery.forge(tail_bundle, tmp_path / "a.acc", {member: None})
        if needed in ("yes", "tail"):
            with pytest.raises(BundleFormatError, match="expected the members"):
                Bundle(path)
        else:
            Bundle(path).close()


def test_a_signature_may_be_there(tiny_bundle: Path, forgery: ModuleType, tmp_path: Path) -> None:
    """The one member that no manifest lists, of exactly the length that the page gives."""
    members = {**forgery.members_of(tiny_bundle), "signature": bytes(96)}
    archive.write_archive(tmp_path / "a.acc", members)
    with Bundle(tmp_path / "a.acc") as signed:
        signed.verify()
        assert signed.read("signature") == bytes(96)
    for size in (0, 95, 97):
        archive.write_archive(tmp_path / "a.acc", {**members, "signature": bytes(size)}, overwrite=True)
        with pytest.raises(BundleFormatError, match=f"a signature of 96 bytes, found {size}"):
            Bundle(tmp_path / "a.acc")


def test_manifest_keys_are_those_of_the_code(page: dict[str, str]) -> None:
    """Each object's keys, in the order of its dataclass."""
    found = tables(page["Manifest"])
    (whole, spec, tap, variant, member, tail) = found.values()
    classes = (manifest.Manifest, manifest.InputSpec, manifest.Tap, manifest.Variant, manifest.Member)
    for rows, cls in zip((whole[2:], spec, tap, variant, member, tail), (*classes, manifest.TailCut), strict=True):
        assert keys(rows) == [f.name for f in fields(cls)]
    assert [tuple(row) for row in whole[:2]] == [
        ("`format`", f'`"{manifest.FORMAT}"`'),
        ("`version`", f"{manifest.VERSION}, a whole number"),
    ]
    assert PAGE.read_text().startswith(f"# Bundle format, version {manifest.VERSION}\n")


def test_a_tail_is_as_the_code_has_it(page: dict[str, str], tail_bundle: Path, forgery: ModuleType) -> None:
    """Keys of `tail.json` and arrays of `map.safetensors`, as the checked-in bundle holds them."""
    maps, spec = tables(page["Tail"]).values()
    members = forgery.members_of(tail_bundle)
    assert keys(spec) == ["format", *(f.name for f in fields(tail_spec.Spec))]
    assert set(keys(spec)) == set(json.loads(members["onnx/tail.json"]))
    content = members["onnx/map.safetensors"]
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    assert {row[0].strip("`"): row[1] for row in maps} == {key: entry["dtype"] for key, entry in header.items()}


def test_arrays_are_those_of_the_code(page: dict[str, str], tiny_bundle: Path, forgery: ModuleType) -> None:
    """Names and types of the arrays, as the checked-in bundle holds them."""
    latent, head, source, targets, novelty, conformance = tables(page["Arrays"]).values()
    members = forgery.members_of(tiny_bundle)
    pages = {"latent": latent, "head": head, "source": source[:3] + source[5:], "novelty": novelty}
    for name, rows in {**pages, "conformance": conformance}.items():
        content = members[f"onnx/{name}.safetensors"]
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        said = {row[0].strip("`"): row[1].replace("as `input.dtype`", "U8") for row in rows}
        assert said == {key: entry["dtype"] for key, entry in header.items()}
    assert keys(source[3:5]) == ["factor", "diagonal"]
    assert keys(targets) == ["target", "square", "cross"]


@pytest.mark.parametrize(
    ("section", "said", "meant"),
    [
        ("Container", r"There are 1 to (\d+) members", archive.MAX_MEMBERS),
        ("Container", r"A name is at most (\d+) bytes", archive.MAX_NAME),
        ("Container", r"at a multiple of (\d+)\.", archive.ALIGNMENT),
        ("Container", r"shorter than\s+(\d+) GiB", (archive.MAX_BYTES + 1) >> 30),
        ("Manifest", r"at most (\d+) MiB", manifest.MAX_MANIFEST >> 20),
        ("Manifest", r"list of 0 to ([\d,]+) different names", manifest.MAX_CLASSES),
        ("Manifest", r"names of at most (\d+) characters", manifest.MAX_CLASS_NAME),
        ("Manifest", r"names of the targets, 1 to ([\d,]+)", manifest.MAX_TARGETS),
        ("Manifest", r"A \*name\* is 1 to ([\d,]+) printable", strict_json.MAX_TEXT),
        ("Manifest", r"whole numbers from 1 to ([\d,]+): one sample", manifest.MAX_AXIS),
        ("Manifest", r"at most 2\^(\d+) elements", manifest.MAX_ELEMENTS.bit_length() - 1),
        ("Manifest", r"all together, `d`, are at most ([\d,]+)", manifest.MAX_WIDTH),
        ("Manifest", r"at most 2\^(\d+) values", manifest.MAX_MAP.bit_length() - 1),
        ("Tail", r"at most (\d+) MiB, read", tail_spec.MAX_SPEC >> 20),
        ("Tail", r"list of 1 to ([\d,]+) objects", tail_spec.MAX_PARAMETERS),
        ("Tail", r"of at most (\d+) characters", tail_spec.MAX_PARAMETER_NAME),
        ("Tail", r"together at most 2\^(\d+) values", tail_spec.MAX_PARAMETER_ELEMENTS.bit_length() - 1),
        ("Tail", r"Each is at most (\d+) MiB", tail_content.MAX_MODEL >> 20),
        ("Backbones", r"above 2\^(\d+) elements", manifest.MAX_ELEMENTS.bit_length() - 1),
    ],
)
def test_limits_are_those_of_the_code(page: dict[str, str], section: str, said: str, meant: int) -> None:
    """Each number that the page gives."""
    (found,) = re.findall(said, page[section])
    assert number(found) == meant


def test_headers_add_up(page: dict[str, str]) -> None:
    """Each row of the three tables of the container begins where the one before ends; the code packs as many bytes."""
    local, central, end = tables(page["Container"]).values()
    for rows, size in ((local, archive._LOCAL.size), (central, archive._CENTRAL.size), (end, archive._END.size)):
        at = 0
        for row in rows:
            if not row[0].isdigit() or int(row[0]) >= size:
                break
            assert int(row[0]) == at
            at += int(row[1])
        assert at == size


def test_every_number_of_the_example(page: dict[str, str], tiny_bundle: Path, forgery: ModuleType) -> None:
    """Places, sizes, checksums, bytes, texts and hash, read from the checked-in bundle with struct alone."""
    content, example = tiny_bundle.read_bytes(), page["Worked example"]
    assert f"{len(content):,} bytes long" in " ".join(example.split())
    *_, count, size, at, _ = struct.unpack("<4s4H2IH", content[-22:])
    assert f"{count} members are listed in {size:,} bytes from byte {at:,} on" in " ".join(example.split())
    (rows,) = tables(example).values()
    places: dict[str, int] = {}
    for name, header, padding, start, length, crc in rows:
        place = number(header)
        *_, found_crc, _, found_size, n, extra = struct.unpack_from("<4s5H3I2H", content, place)
        assert content[place + 30 : place + 30 + n].decode() == name.strip("`")
        assert (f"{found_crc:08x}", found_size, extra - 4) == (crc, number(length), number(padding))
        places[name.strip("`")] = place + 30 + n + extra
        assert places[name.strip("`")] == number(start)
    first, header, spec = re.findall(r"```\n(.*?)\n```", example, re.DOTALL)
    assert bytes.fromhex(first) == content[:64]
    latent = places["onnx/latent.safetensors"]
    (length,) = struct.unpack_from("<Q", content, latent)
    assert f"length of its header, {length}," in example
    assert content[latent + 8 : latent + 8 + length].decode().rstrip() == header
    for name, entry in json.loads(header).items():
        low, high = (latent + 8 + length + offset for offset in entry["data_offsets"])
        assert (
            f"`{name}` lies at bytes {low:,} to {high - 1:,}" in example or f"`{name}` at bytes {low:,} to" in example
        )
    read: Mapping[str, Any] = json.loads(forgery.members_of(tiny_bundle)["manifest.json"])
    assert json.dumps(read["input"], sort_keys=True, separators=(",", ":")) == spec
    assert f"`{read['variants'][0]['hash']}`" in example
