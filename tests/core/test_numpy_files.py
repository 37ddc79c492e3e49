"""NumPy files from anywhere: arrays come back as they are, and whatever is no array is refused by its name."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.errors import InputError
from acclimate.numpy_files import open_npz, read_npy


class Exploding:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was run",))


def test_arrays_come_back(tmp_path: Path) -> None:
    """Of both kinds of file; a name that is not there is told as by a mapping."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "x.npz", x=x, y=np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), x)
    with open_npz(tmp_path / "x.npz") as arrays:
        assert sorted(arrays) == ["x", "y"]
        assert len(arrays) == 2
        assert "z" not in arrays
        assert arrays.get("z") is None
        np.testing.assert_array_equal(arrays["x"], x)
        assert arrays["y"].tolist() == ["a", "b", "c"]


def test_an_array_of_objects_is_refused_by_its_name(tmp_path: Path) -> None:
    """Nothing of it runs, the others can be read, and the message says how to save it instead."""
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.array([Exploding(), "b", None], object))
    with open_npz(tmp_path / "a.npz") as arrays:
        assert arrays["x"].shape == (3,)
        with pytest.raises(InputError, match=r"a\.npz: expected .*, found 'y' of Python objects .* y\.astype\(str\)"):
            arrays["y"]
    np.save(tmp_path / "a.npy", np.array([Exploding()], object))
    with pytest.raises(InputError, match=r"a\.npy: expected .*, found an array of Python objects"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00 broken", b"neither" * 9])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, cut off, damaged and foreign ones, without advice to allow pickles."""
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy: expected a NumPy file .* or damaged \(") as caught:
        read_npy(tmp_path / "a.npy")
    assert "allow_pickle" not in str(caught.value)
    with pytest.raises(InputError, match=r"a\.npz: expected a NumPy file .* or damaged"), open_npz(tmp_path / "a.npz"):
        pass


def test_the_other_kind_of_file_is_refused(tmp_path: Path) -> None:
    """An archive under the name of an array, and the reverse."""
    x = np.zeros((2, 3))
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, x=x)
    with pytest.raises(InputError, match=r"a\.npy: expected a NumPy file"):
        read_npy(tmp_path / "a.npy")
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, x)
    with pytest.raises(InputError, match=r"a\.npz: expected a NumPy file"), open_npz(tmp_path / "a.npz"):
        pass


def test_memory_is_asked_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what will be read counts; a header that says terabytes is refused as well."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", bytes(10_000_000))
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 4)})
        archive.writestr("x.npy", content.getvalue() + bytes(1_000))
    (tmp_path / "x.npy").write_bytes(content.getvalue() + bytes(1_000))
    monkeypatch.setattr("acclimate.numpy_files._memory", lambda: 2**20)
    message = r"a\.npz: expected arrays that fit into 0\.0 GiB of memory, found 0\.0 GiB"
    with pytest.raises(InputError, match=message), open_npz(tmp_path / "a.npz"):
        pass
    with open_npz(tmp_path / "a.npz", ("x", "y")) as arrays, pytest.raises(InputError, match=r"a\.npz: expected"):
        arrays["x"]
    with pytest.raises(InputError, match=r"x\.npy: expected"):
        read_npy(tmp_path / "x.npy")
