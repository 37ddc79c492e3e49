"""Frames and labels out of NumPy files: what is nothing, or of no type, is refused with what to do about it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.cli.frames import read_frames, read_targets, read_values
from acclimate.errors import InputError

FRAMES = np.zeros((3, 8, 8, 1), np.uint8)


def test_names_and_numbers_are_labels(tmp_path: Path) -> None:
    """Texts as they are, whole numbers by their digits; other arrays of the file are not looked at."""
    np.savez(tmp_path / "a.npz", x=FRAMES, y=[2, 0, 1], more=np.array([None], object))
    frames, labels, names = read_frames(tmp_path / "a.npz")
    np.testing.assert_array_equal(frames, FRAMES)
    assert labels == ["2", "0", "1"]
    assert names == ["a.npz[0]", "a.npz[1]", "a.npz[2]"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": FRAMES[:0], "y": []}, r"at least one frame, found none: shape \(0, 8, 8, 1\)\. Look at what wrote"),
        (
            {"x": FRAMES[0, 0, :, 0]},
            r"samples along the first axis, found \(8,\)\. Of a single one, save frame\[None\]",
        ),
        ({"x": FRAMES, "y": np.array(["a", None, "b"], object)}, r"found 'y' of Python objects.*y\.astype\(str\)"),
        ({"x": np.array([[FRAMES], ["a"]], object)}, r"found 'x' of Python objects .* x\.astype\('float32'\)"),
        ({"frames": FRAMES}, r"an array 'x' with frames, found \['frames'\]\. Write it with numpy\.savez\(path, x="),
        ({"x": FRAMES, "y": [b"a", b"b", b"c"]}, r"texts or whole numbers, found bytes\. Decode them first: numpy"),
        ({"x": FRAMES, "y": [0.5, 1, 2]}, "texts or whole numbers, found float64. Name the classes"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """Expected, found, what to do."""
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(InputError, match=r"^a\.npz: expected .*" + message):
        read_frames(tmp_path / "a.npz")


def test_numbers_of_a_regression(tmp_path: Path) -> None:
    """Beside the frames and in a file of their own; objects are refused there too."""
    np.savez(tmp_path / "a.npz", x=FRAMES, y=[0.5, np.nan, 2])
    np.testing.assert_array_equal(read_values(tmp_path / "a.npz")[1], [0.5, np.nan, 2])
    np.save(tmp_path / "y.npy", np.arange(3))
    assert read_targets(tmp_path / "y.npy", 3).tolist() == [0, 1, 2]
    np.save(tmp_path / "o.npy", np.array([1, None, 2], object))
    with pytest.raises(InputError, match=r"^o\.npy: expected .* Python objects"):
        read_targets(tmp_path / "o.npy", 3)
