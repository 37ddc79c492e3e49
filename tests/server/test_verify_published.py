"""Published rows from the published feature files, which are not part of the project; and files that are others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("sklearn", reason="acclimate[verify] is not installed")

from acclimate.errors import InputError
from acclimate.server.verify import FILES, published_rows, run_checks

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.needs_torch
needs_data = pytest.mark.skipif(
    not all((DATA / name).is_file() for name in FILES), reason="the published feature files are not at ../shared/data"
)


@needs_data
def test_small_pairs_reproduce() -> None:
    """The rows between the two small domains come out to the printed digit: 1-NN, TCA and CORAL, both directions."""
    rows, missing = published_rows(DATA)
    assert missing == ()
    small = [row for row in rows if "D-W" in row.claim or "W-D" in row.claim]
    assert len(small) == 6
    assert [(one.check.claim, one.shown) for one in run_checks(small) if not one.holds] == []


@needs_data
@pytest.mark.slow
def test_every_published_row_reproduces() -> None:
    """All 40 rows come out to the printed digit."""
    rows, _ = published_rows(DATA)
    assert len(rows) == 40
    found = run_checks(rows)
    assert [(one.check.method, one.check.claim, one.shown) for one in found if not one.holds] == []


def digits(folder: Path, **changed: object) -> None:
    """Write a file like the published one, with other samples."""
    draw = np.random.default_rng(0)
    arrays: dict[str, object] = {}
    for name, n in (("usps", 1800), ("mnist", 2000)):
        arrays[f"{name}_x"] = draw.random((n, 256)).astype(np.float32)
        arrays[f"{name}_y"] = draw.integers(0, 10, n).astype(np.uint8)
    arrays.update(changed)
    kept: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "usps_mnist.npz", **kept)


def test_other_samples_are_off(tmp_path: Path) -> None:
    """With samples of the same shape that are not the published ones, the 1-NN rows do not hold; one file is enough."""
    digits(tmp_path)
    rows, missing = published_rows(tmp_path)
    assert missing == ("office_caltech_surf.npz",)
    outcomes = run_checks([row for row in rows if row.method == "1-NN"])
    assert [one.holds for one in outcomes] == [False, False]
    json.dumps([one.to_dict() for one in outcomes], allow_nan=False)


BAD = {
    "missing": ({"mnist_y": None}, "found none named mnist_y"),
    "shape": ({"usps_x": np.zeros((10, 256))}, r"usps_x of shape \(1800, 256\), as published, found \(10, 256\)"),
    "text": ({"usps_x": np.full((1800, 256), "a")}, "usps samples of real numbers"),
    "not finite": ({"usps_x": np.full((1800, 256), np.nan)}, "finite usps samples"),
    "labels": ({"mnist_y": np.full(2000, 0.5)}, "mnist labels as whole numbers"),
    "fewer labels": ({"mnist_y": np.zeros(3, int)}, "one mnist label for each of 2000"),
    "zeros": ({"usps_x": np.zeros((1800, 256))}, "rows that are not all 0, found row 0"),
    "objects": ({"usps_y": np.array([{}] * 1800, dtype=object)}, "without pickled objects, found 'usps_y'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_another_is_refused(case: str, tmp_path: Path) -> None:
    """The message names the file, what was found and what to do; nothing pickled is read."""
    changed, said = BAD[case]
    digits(tmp_path, **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"usps_mnist.npz: .*{said}"):
        published_rows(tmp_path)


def test_a_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    """No archive, a truncated one, and one whose arrays claim more memory than there is."""
    path = tmp_path / "usps_mnist.npz"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match="found that it is none, or damaged"):
        published_rows(tmp_path)
    digits(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="found that it is none, or damaged"):
        published_rows(tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    """No folder, and one without any of them."""
    with pytest.raises(InputError, match="found none at"):
        published_rows(tmp_path / "absent")
    with pytest.raises(InputError, match="found neither"):
        published_rows(tmp_path)
