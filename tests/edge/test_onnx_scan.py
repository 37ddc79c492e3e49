"""ONNX files that reach outside of themselves are refused before ONNX Runtime sees them, wherever they hide it."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.bundle import Bundle
from acclimate.edge.runtime.onnx_scan import _HOLDS, refuse_external_data
from acclimate.errors import BackendError

# Numbers of the fields on the way from the model to a tensor, as onnx.proto has them.
PLACES: dict[str, tuple[int, ...]] = {
    "initializer": (7, 5),
    "node attribute": (7, 1, 5, 5),
    "list in an attribute": (7, 1, 5, 10),
    "branch of an If": (7, 1, 5, 6, 5),
    "constant in a branch of an If in a branch": (7, 1, 5, 6, 1, 5, 6, 1, 5, 5),
    "graphs in an attribute": (7, 1, 5, 11, 5),
    "sparse values": (7, 15, 1),
    "sparse indices": (7, 15, 2),
    "sparse attribute": (7, 1, 5, 22, 1),
    "sparse attributes": (7, 1, 5, 23, 2),
    "function": (25, 7, 5, 5),
    "default of a function": (25, 11, 5),
    "training start": (20, 1, 5),
    "training step": (20, 2, 5),
}
LOCATIONS = ["/etc/passwd", "../secret", "weights.bin", "*/_ORT_MEM_ADDR_/*", ""]


def at(write: ModuleType, place: str, tensor: bytes, high: int = 0) -> bytes:
    """Return a model with a tensor in a place, behind a harmless one."""
    content = tensor
    for number in reversed(PLACES[place]):
        harmless = write.field(number, b"") if number != 5 else write.field(5, write.tensor("a", [1], bytes(4)))
        content = harmless + write.field(number, content, high)
    return bytes(write.field(1, 8) + content)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", LOCATIONS)
def test_a_tensor_in_another_file_is_found_everywhere(onnx_by_hand: ModuleType, place: str, location: str) -> None:
    """In every place that a tensor can have, and wherever it points; memory addresses too."""
    refuse_external_data(at(onnx_by_hand, place, onnx_by_hand.tensor("w", [1], bytes(4))))
    outside = onnx_by_hand.external_tensor("w", [1], location)
    with pytest.raises(BackendError, match=r"expected every tensor inside .*, found one that names an external file\."):
        refuse_external_data(at(onnx_by_hand, place, outside))


@pytest.mark.parametrize("mark", [(13, b""), (13, 1), (14, 1), (14, 2), (14, 2**63), (14, b"\1")])
def test_each_mark_of_external_data_is_enough(onnx_by_hand: ModuleType, mark: tuple[int, bytes | int]) -> None:
    """The location without the entry, the entry without the location, and spellings that a parser might forgive."""
    tensor = onnx_by_hand.tensor("w", [1], bytes(4))
    refuse_external_data(at(onnx_by_hand, "initializer", tensor + onnx_by_hand.field(14, 0)))
    with pytest.raises(BackendError, match="names an external file"):
        refuse_external_data(at(onnx_by_hand, "initializer", tensor + onnx_by_hand.field(*mark)))


@pytest.mark.parametrize("high", [1, 2, 7])
@pytest.mark.parametrize("place", PLACES)
def test_tags_that_parsers_cut_short_hide_nothing(onnx_by_hand: ModuleType, place: str, high: int) -> None:
    """Protocol buffers drop a tag's bits above 32, so a field's number can look like another one to a scan."""
    inside = onnx_by_hand.tensor("w", [1], bytes(4))
    outside = onnx_by_hand.external_tensor("w", [1], "secret", high)
    for hidden in (at(onnx_by_hand, place, outside), at(onnx_by_hand, place, inside, high)):
        with pytest.raises(
            BackendError, match=r"expected an ONNX file, found that byte .* follows a field that cannot be"
        ):
            refuse_external_data(hidden)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x0f", "byte 1 is no part"),
        (b"\x0b\x0c", "byte 1 is no part"),  # a group, which ONNX never had
        (b"\x02\x00", "follows a field that cannot be"),  # field 0
        (b"\x0a\x05abcd", "ends in the middle of a field"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "ends in the middle of a field"),
        (b"\x08" + b"\xff" * 11, "a number has more than 64 bits"),
        (b"\x08" + b"\x80" * 10 + b"\0", "a number has more than 64 bits"),
        (b"\x09" + bytes(7), "ends in the middle of a field"),
        (b"\x0d" + bytes(3), "ends in the middle of a field"),
        (b"\x08\x80", "ends in the middle of a number"),
        (b"PK\x03\x04", "follows a field that cannot be"),
    ],
)
def test_what_is_no_protocol_buffer(content: bytes, match: str) -> None:
    """Groups, field 0, lengths and numbers beyond the end: refused with advice."""
    with pytest.raises(BackendError, match=rf"expected an ONNX file, found that .*{match}.*Convert the model again"):
        refuse_external_data(content)


def test_graphs_without_end(onnx_by_hand: ModuleType) -> None:
    """Branches in branches are followed to a depth that no model has, and then refused, not forgotten."""
    graph = onnx_by_hand.field(5, onnx_by_hand.tensor("w", [1], bytes(4)))
    for _ in range(2_000):
        graph = onnx_by_hand.field(1, onnx_by_hand.field(5, onnx_by_hand.field(6, graph)))
    with pytest.raises(BackendError, match="graphs are nested deeper than 64"):
        refuse_external_data(onnx_by_hand.field(7, graph))


def test_fields_without_end(onnx_by_hand: ModuleType) -> None:
    """The work is bounded: a file of nothing but tiny fields is refused once all its graphs have too many together."""
    half = onnx_by_hand.field(7, onnx_by_hand.field(5, b"") * (2**19 - 1))
    refuse_external_data(half + half)
    with pytest.raises(BackendError, match="it has more than 1,048,576 fields"):
        refuse_external_data(half + half + onnx_by_hand.field(7, b""))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_any_bytes_pass_or_are_refused(tiny_bundle: Path, data: st.DataObject) -> None:
    """Random bytes and a damaged backbone never raise anything but ours."""
    with Bundle(tiny_bundle) as bundle:
        content = bundle.backbone("onnx")
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    damaged = content[:start] + data.draw(st.binary(max_size=40)) + content[stop:]
    for one in (damaged, data.draw(st.binary(max_size=60))):
        try:
            refuse_external_data(one)
        except BackendError as error:
            if not re.search(r"expected .*, found .*onvert the model again", str(error), re.DOTALL):
                raise


def test_a_sound_backbone_passes(tiny_bundle: Path, onnx_by_hand: ModuleType) -> None:
    """What the converters write is not refused."""
    with Bundle(tiny_bundle) as bundle:
        refuse_external_data(bundle.backbone("onnx"))
    refuse_external_data(onnx_by_hand.backbone())


def test_the_scan_knows_every_place_that_onnx_has() -> None:
    """Parity with the onnx package: the scan follows each field that can lead to a tensor, and no other."""
    onnx = pytest.importorskip("onnx", reason="onnx, the oracle, is not installed")
    ours = {
        "ModelProto": "model",
        "GraphProto": "graph",
        "NodeProto": "node",
        "FunctionProto": "function",
        "AttributeProto": "attribute",
        "SparseTensorProto": "sparse",
        "TrainingInfoProto": "training",
        "TensorProto": "tensor",
    }
    found: dict[str, dict[int, str]] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in found:
            inner = {f.number: f.message_type for f in message.fields if f.message_type is not None}
            found[message.name] = {number: kind.name for number, kind in inner.items()}
            waiting += inner.values()
    leads = {"TensorProto"}
    while True:
        more = {name for name, fields in found.items() if leads & set(fields.values())} - leads
        if not more:
            break
        leads |= more
    expected = {name: {n: k for n, k in found[name].items() if k in leads} for name in leads}
    assert {ours[name]: {n: ours[k] for n, k in fields.items()} for name, fields in expected.items()} == _HOLDS
