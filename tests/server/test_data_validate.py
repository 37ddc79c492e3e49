"""The check of the data: each fault is found, by name, and sound data has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.data import DataReport, DataSettings, load_data, validate_data

from .data_files import noise_image, png_bomb, png_bytes, write_image, write_image_folder, write_shard

pytestmark = pytest.mark.needs_torch
RNG = np.random.default_rng(0)


def check(train: Path, **settings: Any) -> DataReport:
    return validate_data(load_data(DataSettings(train=str(train), **settings), seed=0))


def told(report: DataReport) -> list[tuple[str, str]]:
    return [(finding.level, finding.kind) for finding in report.findings]


def test_sound_data_has_no_findings(tmp_path: Path) -> None:
    """Different images of two classes, enough of each: nothing to say; every sample is counted."""
    write_image_folder(tmp_path, {"a": 20, "b": 20})
    data = load_data(DataSettings(train=str(tmp_path), augment=("flip",)), seed=0)
    steps: list[tuple[int, int]] = []
    report = validate_data(data, progress=lambda done, total: steps.append((done, total)))
    assert report.findings == ()
    assert report.samples == (36, 4)
    assert report.counts == {"a": (18, 2), "b": (18, 2)}
    assert steps == [(i, 40) for i in range(1, 41)]
    report.require_sound()


def test_unreadable_files_are_all_named(tmp_path: Path) -> None:
    """A bomb, a text and an empty file among images, also as the first: one error with every name, others are read."""
    write_image_folder(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "000.png").write_bytes(png_bomb(8_000, 8_000))
    (tmp_path / "a" / "005.png").write_text("no image")
    (tmp_path / "b" / "009.png").write_bytes(b"")
    report = check(tmp_path, validation_share=0.2)
    (finding,) = report.errors
    assert finding.kind == "unreadable"
    assert sorted(finding.names) == ["a/000.png", "a/005.png", "b/009.png"]
    with pytest.raises(InputError, match=r"^a/000\.png: expected an image"):
        report.require_sound()
    (tmp_path / "a" / "000.png").unlink()
    message = check(tmp_path, validation_share=0.2).errors[0].message
    assert message.startswith(
        "a/005.png: expected an image, found that it has no format that Pillow knows. Leave it out."
    )


def test_contents_are_told_apart_by_a_hash(tmp_path: Path) -> None:
    """The same samples have the same one; another number in one of them, or another order, another one."""
    x = RNG.normal(size=(20, 80)).astype(np.float32)
    found = []
    for change in (0, 0, 1, 2):
        changed = x.copy()
        if change == 1:
            changed[7, 3] += 1
        if change == 2:
            changed[[4, 5]] = changed[[5, 4]]
        np.savez(tmp_path / "a.npz", x=changed, y=np.arange(20) % 2)
        found.append(check(tmp_path / "a.npz", validation_share=0.0, standardise=False).contents)
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    """What was there when the folder was listed, and is not any more."""
    write_image_folder(tmp_path, {"a": 10, "b": 5})
    data = load_data(DataSettings(train=str(tmp_path), validation_share=0), seed=0)
    (tmp_path / "a" / "003.png").unlink()
    (finding,) = validate_data(data).errors
    assert finding.names == ("a/003.png",)


def test_images_of_other_sizes_are_named_unless_they_are_resized(tmp_path: Path) -> None:
    """A batch could not be made of them."""
    write_image_folder(tmp_path, {"a": 10, "b": 5})
    write_image(tmp_path / "a" / "odd.png", noise_image(99, 5, 6))
    report = check(tmp_path, validation_share=0)
    assert [(finding.kind, finding.names) for finding in report.errors] == [("shape", ("a/odd.png",))]
    assert (
        "a/odd.png: expected samples of one shape, (3, 8, 8) as the first, found (3, 5, 6). Set"
        in report.errors[0].message
    )
    assert check(tmp_path, validation_share=0, size=(8, 8)).errors == ()


def test_an_empty_class_is_an_error(tmp_path: Path) -> None:
    """A folder without images, a class that only the settings name, and one that is only validated on."""
    write_image_folder(tmp_path / "t", {"a": 10, "b": 10, "c": 0})
    (finding,) = check(tmp_path / "t", validation_share=0).errors
    assert (finding.kind, finding.names) == ("empty", ("c",))
    (tmp_path / "t" / "c").rmdir()
    (finding,) = check(tmp_path / "t", classes=("a", "b", "d")).errors
    assert (finding.kind, finding.names) == ("empty", ("d",))
    write_image_folder(tmp_path / "v", {"a": 3, "e": 3}, first=50_000)
    (finding,) = check(tmp_path / "t", validation=str(tmp_path / "v"), classes=("a", "b", "e")).errors
    assert (finding.kind, finding.names) == ("empty", ("e",))


def test_a_single_class_is_an_error(tmp_path: Path) -> None:
    """Nothing can be told from it: it is named, with what to do instead."""
    write_image_folder(tmp_path, {"a": 10})
    (finding,) = check(tmp_path, validation_share=0).errors
    assert (finding.kind, finding.names) == ("single", ("a",))
    assert "found only 'a'. Add samples of another" in finding.message


def test_imbalance_and_classes_without_validation_are_warnings(tmp_path: Path) -> None:
    """101 samples beside 4 are told with what to do, and a class of which none is kept; 101 beside 14 are not."""
    x = RNG.integers(0, 256, (115, 20, 20), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.repeat([0, 1], [101, 14]))
    assert told(check(tmp_path / "a.npz", validation_share=0.0)) == [("warning", "unvalidated")]
    np.savez(tmp_path / "a.npz", x=x, y=np.repeat([0, 1, 2], [101, 10, 4]))
    report = check(tmp_path / "a.npz", validation_share=0.1)
    assert told(report) == [("warning", "imbalance"), ("warning", "unvalidated")]
    assert report.warnings[0].names == ("2", "0")
    assert "training.balanced = true" in report.warnings[0].message
    assert report.warnings[1].names == ("2",)


def test_duplicates_across_parts_are_found_by_content(tmp_path: Path) -> None:
    """One in five validation images is also trained on, under another name: an error; one in 200 a warning."""
    write_image_folder(tmp_path / "t", {"a": 10, "b": 10})
    write_image_folder(tmp_path / "v", {"a": 5, "b": 5}, first=50_000)
    for i in range(2):
        content = (tmp_path / "t" / "b" / f"00{i}.png").read_bytes()
        (tmp_path / "v" / "b" / f"00{i}.png").write_bytes(content)
    report = check(tmp_path / "t", validation=str(tmp_path / "v"))
    assert told(report) == [("error", "duplicates")]
    assert report.errors[0].names == ("b/000.png (as b/000.png)", "b/001.png (as b/001.png)")
    x = RNG.integers(0, 256, (400, 20, 20), np.uint8)
    x[300] = x[7]
    np.savez(tmp_path / "t.npz", x=x[:200], y=np.arange(200) % 2)
    np.savez(tmp_path / "v.npz", x=x[200:], y=np.arange(200) % 2)
    report = check(tmp_path / "t.npz", validation=str(tmp_path / "v.npz"))
    assert told(report) == [("warning", "duplicates")]
    assert report.warnings[0].names == ("v.npz[100] (as t.npz[7])",)


def test_small_rows_that_are_alike_are_a_warning(tmp_path: Path) -> None:
    """Rows of a few whole numbers are alike by chance: no error."""
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 2, (200, 2)), y=np.arange(200) % 2)
    report = check(tmp_path / "a.npz")
    assert report.errors == ()
    assert ("warning", "duplicates") in told(report)


def test_the_same_content_under_two_labels_is_told(tmp_path: Path) -> None:
    """Within the training part: duplicates, and among them a contradiction."""
    write_image_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "b" / "004.png").write_bytes((tmp_path / "a" / "001.png").read_bytes())
    (tmp_path / "a" / "002.png").write_bytes((tmp_path / "a" / "001.png").read_bytes())
    report = check(tmp_path, validation_share=0)
    assert told(report) == [("warning", kind) for kind in ("unvalidated", "contradiction", "duplicates")]
    names = {finding.kind: finding.names for finding in report.findings}
    assert names["contradiction"] == ("b/004.png (as a/001.png)",)
    assert names["duplicates"] == ("a/002.png (as a/001.png)", "b/004.png (as a/001.png)")


def test_a_group_in_both_parts_is_an_error(tmp_path: Path) -> None:
    """A validation file with a person of the training file; a held-out share never has one."""
    for name, people in (("t", ["p", "q", "r", "s"] * 10), ("v", ["q", "x", "y", "z"] * 10)):
        x = RNG.normal(size=(40, 80))
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.repeat([0, 1], 20), who=people)
    report = check(tmp_path / "t.npz", validation=str(tmp_path / "v.npz"), group="who")
    assert [(finding.kind, finding.names) for finding in report.errors] == [("leakage", ("q",))]
    assert check(tmp_path / "t.npz", group="who", validation_share=0.3).findings == ()


def test_unlabelled_data_is_told(tmp_path: Path) -> None:
    """Only self-supervised objectives can use it."""
    for i in range(5):
        write_image(tmp_path / f"{i}.png", noise_image(i))
    assert ("warning", "unlabelled") in told(check(tmp_path))


def test_shards_are_checked_too(tmp_path: Path) -> None:
    """A sample that cannot be decoded, a label out of the classes, and a duplicate are named by shard and key."""
    for shard in range(4):
        members = []
        for i in range(10):
            number = 10 * shard + i
            members += [(f"{number}.png", png_bytes(noise_image(number))), (f"{number}.cls", b"a" if i % 2 else b"b")]
        write_shard(tmp_path / f"{shard}.tar", members)
    pattern = str(tmp_path / "{0..2}.tar")
    report = check(Path(pattern), validation=str(tmp_path / "3.tar"))
    assert (told(report), report.samples) == ([], (30, 10))
    assert report.counts == {"a": (15, 5), "b": (15, 5)}
    broken = [("90.png", png_bytes(noise_image(90))), ("90.cls", b"c"), ("91.png", b"x"), ("91.cls", b"a")]
    write_shard(tmp_path / "3.tar", [*broken, ("5.png", png_bytes(noise_image(5))), ("5.cls", b"a")])
    report = check(Path(pattern), validation=str(tmp_path / "3.tar"), classes=("a", "b"))
    kinds = {finding.kind: finding.names for finding in report.errors}
    assert kinds == {"unreadable": ("3.tar/90", "3.tar/91"), "duplicates": ("3.tar/5 (as 0.tar/5)",)}
