"""Arrays in .npz files and from functions: shared without a copy, in any usual layout, refused where unsafe."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError, LabelError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.arrays import ArrayReader, find_arrays, text_labels
from acclimate.server.data.samples import Samples

pytestmark = pytest.mark.needs_torch
RNG = np.random.default_rng(0)


def load(path: Path, **settings: Any) -> Any:
    return load_data(DataSettings(train=str(path), **settings), seed=0)


@pytest.mark.parametrize(
    ("shape", "wanted"), [((20, 6, 5), (1, 6, 5)), ((20, 6, 5, 3), (3, 6, 5)), ((20, 3, 6, 5), (3, 6, 5))]
)
def test_images_of_any_layout_become_channels_first(
    tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """Grey (n, h, w), colour (n, h, w, 3) and torch's (n, 3, h, w): pixel values are x / 255 in the right place."""
    x = RNG.integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    data = load(tmp_path / "a.npz", validation_share=0)
    assert data.shape == wanted
    first = x[0][None] if len(shape) == 3 else x[0].transpose(2, 0, 1) if shape[3] == 3 else x[0]
    assert np.array_equal(data.train.dataset[0][0].numpy(), first.astype(np.float32) / 255)


def test_memory_is_shared_and_not_copied() -> None:
    """What reads the samples looks into the very array; read-only ones too."""
    x = RNG.integers(0, 256, (20, 6, 5), np.uint8)
    x.flags.writeable = False
    found = find_arrays({"x": x}, "here", DataSettings(train="here"))
    assert isinstance(found.reader, ArrayReader)
    assert np.shares_memory(found.reader.tensor.numpy(), x)
    assert np.shares_memory(found.reader.read(3), x)


def test_both_parts_share_one_array(tmp_path: Path) -> None:
    """Training and validation samples are rows of the same memory."""
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 256, (20, 6, 5), np.uint8), y=np.arange(20) % 2)
    data = load(tmp_path / "a.npz")
    train, validation = data.train.dataset, data.validation.dataset
    assert isinstance(train, Samples)
    assert train.reader is validation.reader
    assert set(train.rows) | set(validation.rows) == set(range(20))
    assert len(validation) == 2


def test_labels_may_be_names_numbers_or_missing(tmp_path: Path) -> None:
    """Numbers sort by value, texts by letter, -1 is unlabelled; the settings may name numbered classes."""
    x = RNG.integers(0, 256, (4, 6, 5), np.uint8)
    for y, classes, labels, named in (
        ([10, 9, -1, 10], ("9", "10"), [1, 0, -1, 1], ()),
        (["b", "a", "", "b"], ("a", "b"), [1, 0, -1, 1], ()),
        ([1, 0, 2, 1], ("top", "bag", "hat"), [1, 0, 2, 1], ("top", "bag", "hat")),
        (["hat", "top", "top", "hat"], ("top", "bag", "hat"), [2, 0, 0, 2], ("top", "bag", "hat")),
    ):
        np.savez(tmp_path / "a.npz", x=x, y=np.array(y))
        data = load(tmp_path / "a.npz", validation_share=0, classes=named)
        assert data.classes == classes
        assert data.train.labels.tolist() == labels
        assert [int(data.train.dataset[i][1]) for i in range(4)] == labels


@pytest.mark.parametrize("kind", [bytes, object])
def test_labels_of_bytes_are_told_to_become_text(kind: type) -> None:
    """What they are called depends on an encoding; the way that the message names gives the texts."""
    given: NDArray[Any] = np.array([b"hat", b"top"], kind)
    with pytest.raises(
        LabelError, match=r"y: expected labels .*, found bytes\. Decode them first: numpy\.char\.decode"
    ):
        text_labels(given, "y")
    assert text_labels(np.char.decode(given.astype(bytes)), "y") == ["hat", "top"]


def test_several_tasks_have_labels_of_their_own(tmp_path: Path) -> None:
    """Y is a tuple of one scalar per task, each with its own classes, -1 where one is not known."""
    np.savez(tmp_path / "a.npz", x=RNG.normal(size=(4, 3)), kind=np.array([0, 1, 0, 1]), colour=["r", "g", "", "r"])
    data = load(tmp_path / "a.npz", labels=("kind", "colour"), validation_share=0)
    assert [(task.name, task.classes) for task in data.tasks] == [("kind", ("0", "1")), ("colour", ("g", "r"))]
    assert data.train.labels.tolist() == [[0, 1], [1, 0], [0, -1], [1, 1]]
    assert [int(part) for part in data.train.dataset[2][1]] == [0, -1]


def test_a_validation_file_is_labelled_by_the_classes_of_training(tmp_path: Path) -> None:
    """Places are the same in both; a class that training has not is refused by the sample's name."""
    x = RNG.integers(0, 256, (4, 6, 5), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=["b", "c", "b", "c"])
    np.savez(tmp_path / "b.npz", x=x, y=["c", "c", "c", "c"])
    data = load(tmp_path / "a.npz", validation=str(tmp_path / "b.npz"))
    assert data.validation.labels.tolist() == [1, 1, 1, 1]
    assert len(data.train.dataset) == 4
    np.savez(tmp_path / "b.npz", x=x, y=["c", "d", "c", "d"])
    with pytest.raises(LabelError, match=r"b.npz\[1\]: expected a label out of 'b', 'c', found 'd' \(2 samples"):
        load(tmp_path / "a.npz", validation=str(tmp_path / "b.npz"))


def test_a_table_is_standardised_by_its_training_part(tmp_path: Path) -> None:
    """Mean 0 and deviation 1 over the training rows alone, also far from 0; a constant column becomes 0."""
    x = RNG.normal(size=(200, 3)) * [1, 5, 0] + [1e4, -3, 7]
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(200) % 2)
    data = load(tmp_path / "a.npz", validation_share=0.25)
    rows = data.train.dataset.rows
    got = torch.stack([data.train.dataset[i][0] for i in range(len(rows))]).numpy()
    kept = x[rows].astype(np.float32).astype(np.float64)
    assert np.allclose(data.mean, kept.mean(0), rtol=1e-6)
    assert np.allclose(data.std[:2], kept.std(0)[:2], rtol=1e-4)
    assert data.std[2] == 1
    assert np.allclose(got.mean(0), 0, atol=2e-3)
    assert np.allclose(got.std(0), [1, 1, 0], atol=1e-3)
    plain = load(tmp_path / "a.npz", standardise=False)
    assert np.allclose(plain.train.dataset[0][0], x[plain.train.dataset.rows[0]])


class Exploding:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was run",))


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    """A file with objects is refused by its name, without advice to allow them."""
    np.savez(tmp_path / "a.npz", x=np.array([Exploding()], object))
    message = r"a.npz: expected a NumPy file without pickled objects, found 'x' of Python objects"
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "a.npz")
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all" * 10])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, cut off, and other files."""
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz: expected a NumPy file"):
        load(tmp_path / "a.npz")


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    """The archive's own sums tell that an array is damaged."""
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 256, (20, 6, 5), np.uint8), y=np.arange(20))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz: expected a NumPy file .* or damaged"):
        load(tmp_path / "a.npz")


def test_an_archive_larger_than_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of kilobytes that unpacks to more than there is: its directory tells."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10_000_000))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    monkeypatch.setattr("acclimate.numpy_files._memory", lambda: 2**20)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match=r"a.npz: expected arrays that fit into 0.0 GiB of memory"):
        load(tmp_path / "a.npz")


def test_a_header_that_says_terabytes_is_refused(tmp_path: Path) -> None:
    """An array of kilobytes whose own header gives it the shape of terabytes."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 4)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue() + bytes(1_000))
    with pytest.raises(InputError, match=r"a.npz: expected"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({"images": np.zeros((3, 4))}, {}, r"expected an array 'x' with samples, found \['images'\]"),
        ({"x": np.zeros(3)}, {}, r"along the first axis, found \(3,\)"),
        ({"x": np.zeros((0, 3))}, {}, r"along the first axis, found \(0, 3\)"),
        ({"x": np.zeros((3, 0))}, {}, r"along the first axis, found \(3, 0\)"),
        ({"x": np.array([["a", "b"]])}, {}, "expected x as numbers"),
        ({"x": np.array([[1.0], [1e300]])}, {}, r"a.npz\[1\]: expected numbers that float32 holds"),
        ({"x": np.array([[0.0, 1], [np.nan, 2]])}, {}, r"a.npz\[1\]: expected finite numbers"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(2)}, {}, r"'y' with one value for each of 3 samples, found \(2,\)"),
        ({"x": np.zeros((3, 4)), "y": np.array([0, 1, -2])}, {}, r"y\[2\]: expected a label of 0 or more, .* found -2"),
        ({"x": np.zeros((3, 4)), "y": np.array([0, 1, 0.5])}, {}, "labels as texts or whole numbers, found float64"),
        ({"x": np.zeros((3, 4))}, {"labels": ("kind",)}, r"expected an array 'kind', found \['x'\]"),
        ({"x": np.zeros((3, 4))}, {"group": "who"}, r"expected an array 'who', found \['x'\]"),
        ({"x": np.zeros((3, 4, 4, 4), np.uint8)}, {}, "images of 1 or 3 channels"),
        ({"x": np.zeros((3, 4))}, {"kind": "images"}, "expected images as uint8"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, arrays: Any, settings: Any, message: str) -> None:
    """Missing arrays, other shapes, other types, numbers that are none."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.npz", **settings)


def test_a_function_gives_arrays(tmp_path: Path) -> None:
    """Two arrays, or a dictionary with validation data; a module beside the file can be imported."""
    (tmp_path / "beside_data.py").write_text("N = 6\n")
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\nfrom beside_data import N\n"
        "x = np.arange(N * 9, dtype=np.uint8).reshape(N, 3, 3)\n"
        "def pair(): return x, np.arange(N) % 2\n"
        "def parts(): return {'x': x, 'y': np.arange(N) % 2, 'x_validation': x[:2], 'y_validation': np.array([1, 0])}\n"
        "def wrong(): return 3\n"
        "def broken(): return x[99]\n"
        "def leaves(): raise SystemExit(1)\n"
    )
    source = tmp_path / "my_data.py"
    data = load_data(DataSettings(train=f"{source}:pair", validation_share=0), seed=0)
    assert data.shape == (1, 3, 3)
    assert len(data.train.dataset) == 6  # type: ignore[arg-type]
    data = load_data(DataSettings(train=f"{source}:parts"), seed=0)
    assert data.validation is not None
    assert data.validation.labels is not None
    assert data.validation.labels.tolist() == [1, 0]
    for name, message in (
        ("wrong", "to return arrays, found int. Return"),
        ("broken", "found IndexError"),
        ("leaves", "found SystemExit"),
        ("none", "expected a function 'none'"),
    ):
        with pytest.raises(InputError, match=message):
            load_data(DataSettings(train=f"{source}:{name}"), seed=0)
    with pytest.raises(InputError, match="found nothing at"):
        load_data(DataSettings(train=f"{tmp_path}/none.py:f"), seed=0)


def test_data_that_is_nothing_known_is_refused(tmp_path: Path) -> None:
    """A path that is not there, and a file of another ending."""
    (tmp_path / "a.xyz").write_text("")
    for source in ("nothing", str(tmp_path / "a.xyz"), "C:\\photos"):
        with pytest.raises(InputError, match=r"Check the path, or set data.kind"):
            load_data(DataSettings(train=source), seed=0)
