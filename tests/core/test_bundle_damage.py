"""A damaged bundle is refused with an error of ours, or everything in it is what was written; never another model."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.bundle import Bundle
from acclimate.errors import AcclimateError

HELPFUL = re.compile(r"expected .+found .+\. .*([Gg]et it again|Get the file again|Write the bundle again)", re.DOTALL)
SMALL = 3_000
Read = Callable[[bytes], dict[str, bytes] | None]


@pytest.fixture(scope="module")
def read(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A function that reads everything from given bytes: all contents, or None where they are refused."""
    path = tmp_path_factory.mktemp("damaged") / "d.acc"

    def read_all(content: bytes) -> dict[str, bytes] | None:
        path.write_bytes(content)
        try:
            with Bundle(path) as bundle:
                bundle.verify()
                return {name: bundle.read(name) for name in bundle.sizes}
        except AcclimateError as error:
            if not HELPFUL.search(str(error)):
                raise
            return None

    assert read_all(tiny_bundle.read_bytes()) is not None
    return read_all


@contextmanager
def flipped(path: Path, place: int, bit: int) -> Iterator[None]:
    """Flip one bit of a file for a while."""
    flip(path, place, bit)
    yield
    flip(path, place, bit)


def flip(path: Path, place: int, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        (old,) = file.read(1)
        file.seek(place)
        file.write(bytes([old ^ 1 << bit]))


def spans(zips: ModuleType, content: bytes, members: dict[str, bytes]) -> dict[str, range]:
    """Return where each member's content lies; what is left are headers and directory."""
    assert zips.build([zips.Member(name, body) for name, body in members.items()]) == content
    found: dict[str, range] = {}
    at = 0
    for name, body in members.items():
        at += 30 + len(name) + 4
        at += -at % 64
        found[name] = range(at, at + len(body))
        at += len(body)
    return found


def test_every_truncation_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    """Cut anywhere, at each of its lengths, it does not open."""
    path = tmp_path / "cut.acc"
    path.write_bytes(tiny_bundle.read_bytes())
    with path.open("r+b") as file:
        for length in range(path.stat().st_size - 1, -1, -1):
            file.truncate(length)
            with pytest.raises(AcclimateError) as caught:
                Bundle(path)
            if length % 1_000 == 0:
                assert HELPFUL.search(str(caught.value)), str(caught.value)


def test_every_flipped_bit_around_the_members_is_refused(
    tiny_bundle: Path, tmp_path: Path, forgery: ModuleType, zips: ModuleType
) -> None:
    """No bit of a header, of the padding or of the directory can change unnoticed."""
    path, content = tmp_path / "a.acc", tiny_bundle.read_bytes()
    path.write_bytes(content)
    inside = {i for span in spans(zips, content, forgery.members_of(tiny_bundle)).values() for i in span}
    outside = [i for i in range(len(content)) if i not in inside]
    assert 1_000 < len(outside) < 5_000
    for i in outside:
        for bit in range(8):
            with flipped(path, i, bit), pytest.raises(AcclimateError):
                Bundle(path)
    Bundle(path).close()


def test_a_flipped_bit_in_any_member_is_refused(
    tiny_bundle: Path, tmp_path: Path, forgery: ModuleType, zips: ModuleType
) -> None:
    """Every byte of the manifest and of the small members, and every 50th of the large ones."""
    path, content = tmp_path / "a.acc", tiny_bundle.read_bytes()
    path.write_bytes(content)
    for name, span in spans(zips, content, forgery.members_of(tiny_bundle)).items():
        for i in span[:: 1 if len(span) < SMALL else 50]:
            with flipped(path, i, i * 5 % 8), pytest.raises(AcclimateError) as caught, Bundle(path) as bundle:
                bundle.read(name)
            assert HELPFUL.search(str(caught.value)), str(caught.value)
    Bundle(path).close()


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_harmless(
    tiny_bundle: Path,
    read: Read,
    forgery: ModuleType,
    data: st.DataObject,
) -> None:
    """Bytes overwritten, taken out, put in, moved: refused, or every content is the original's."""
    content = tiny_bundle.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 200)))
        other = data.draw(st.one_of(st.binary(max_size=40), st.just(content[stop : stop + 64]), st.just(bytes(64))))
        content = content[:start] + other + content[stop:]
    assert read(content) in (None, forgery.members_of(tiny_bundle))


def test_members_that_changed_places(tiny_bundle: Path, read: Read, forgery: ModuleType, zips: ModuleType) -> None:
    """A right container in which two contents stand under each other's name does not pass its hashes."""
    members = forgery.members_of(tiny_bundle)
    one, other = "onnx/latent.safetensors", "tflite/latent.safetensors"
    assert len(members[one]) == len(members[other])
    members[one], members[other] = members[other], members[one]
    assert read(zips.build([zips.Member(name, body) for name, body in members.items()])) is None
