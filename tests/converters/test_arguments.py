"""What is refused before any work: labels of one class, and words that no manifest can hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters.arguments import check_arguments, check_origin, require_two_classes
from acclimate.errors import InputError, LabelError, OutputExistsError
from acclimate.manifest import Task

pytestmark = pytest.mark.needs_torch
X = np.zeros((4, 8, 8, 1), np.uint8)


def check(out: Path, y: Any, task: Task | None = "classification", **options: Any) -> Path:
    """Check arguments for a head to be fitted."""
    return check_arguments(out, ("onnx",), "fit", (X, y), False, (), task=task, **options)


def test_one_class_is_too_few_to_fit_a_head_on(tmp_path: Path) -> None:
    """In any form of labels; numbers of a regression are no classes."""
    for labels in (["moss"] * 4, np.array([1] * 4), np.array(["1"] * 4)):
        with pytest.raises(LabelError, match=r"at least two classes in the source to fit a head on, found one"):
            check(tmp_path / "m.acc", labels)
    with pytest.raises(LabelError, match="found none"):
        require_two_classes([])
    assert check(tmp_path / "m.acc", ["moss", "moss", "moss", "bark"]) == tmp_path / "m.acc"
    check(tmp_path / "m.acc", np.ones(4), task="regression")


@pytest.mark.parametrize(
    ("licence", "provenance", "message"),
    [
        ("MIT\nor not", {}, r"expected the licence as text .* found 'MIT\\nor not'"),
        ("x" * 5_000, {}, "found 5,000 characters"),
        ("MIT", {"data": "a\x1b[2J"}, "expected provenance as text"),
        ("MIT", {"data\n": "a"}, "expected provenance as text"),
        ("MIT", {" ": "a"}, "found a blank one"),
        ("MIT", {"year": 2026}, "found 2026"),
    ],
)
def test_words_that_no_manifest_can_hold(tmp_path: Path, licence: str, provenance: Any, message: str) -> None:
    """Licence and provenance are texts of one line."""
    with pytest.raises(InputError, match=message):
        check(tmp_path / "m.acc", ["a", "b", "a", "b"], licence=licence, provenance=provenance)
    check_origin("x" * 4_096, {"data": ""})


def test_a_folder_is_no_place_for_a_bundle(tmp_path: Path) -> None:
    """Also where files may be replaced."""
    with pytest.raises(OutputExistsError, match="found a folder"):
        check_arguments(tmp_path, ("onnx",), None, None, True, ())
