"""The commands of the device side, as a user types them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from acclimate import Bundle

from .conftest import Acclimate, Place


def test_the_way_of_a_user(acclimate: Acclimate, place: Place, tiny_bundle: Path, tmp_path: Path) -> None:
    """observe, adapt, predict, versions and rollback work in turn; adapting helps, and rolling back undoes it."""
    shutil.copy(tiny_bundle, tmp_path / "tiny.acc")
    before = acclimate("predict", "tiny.acc", place.test, "--json")
    assert not (tmp_path / "tiny.db").exists()
    observed = acclimate("observe", "tiny.acc", place.local, "--json")
    assert observed.json()["labelled"] == 120
    adapted = acclimate("adapt", "tiny.acc", "--json")
    assert adapted.code == 0
    assert adapted.json()["applied"] is True
    after = acclimate("predict", "tiny.acc", place.test, "--json")
    assert after.json()["accuracy"] > before.json()["accuracy"] + 0.05
    history = acclimate("versions", "tiny.acc", "--json").json()
    assert [(v["number"], v["current"]) for v in history] == [(0, False), (1, True)]
    assert acclimate("rollback", "tiny.acc", "--json").json() == {"version": 0}
    assert acclimate("predict", "tiny.acc", place.test, "--json").json() == before.json()
    assert acclimate("rollback", "tiny.acc", "1").output == "version 1 is in use\n"


def test_without_json_people_can_read_it(acclimate: Acclimate, place: Place, tiny_bundle: Path) -> None:
    """Without --json the same commands print lines and tables, and no escape codes where there is no terminal."""
    store = ("--store", "people.db")
    said = [acclimate("inspect", tiny_bundle), acclimate("observe", tiny_bundle, place.local, *store)]
    said += [acclimate(command, tiny_bundle, *store) for command in ("adapt", "versions")]
    said.append(acclimate("predict", tiny_bundle, place.test, *store))
    text = "".join(outcome.output for outcome in said)
    assert all(outcome.code == 0 for outcome in said)
    for part in ("every hash is right", "observed 120 frames", "source weight", "* 1 ", "accuracy 0."):
        assert part in text
    assert "\x1b" not in text


def test_inspect_says_what_the_bundle_holds(acclimate: Acclimate, tiny_bundle: Path) -> None:
    """JSON of inspect repeats the manifest and the members."""
    found = acclimate("inspect", tiny_bundle, "--json").json()
    with Bundle(tiny_bundle) as bundle:
        assert found["classes"] == list(bundle.manifest.classes)
        assert found["members"] == bundle.sizes
        assert {v["hash"] for v in found["variants"]} == {v.hash for v in bundle.manifest.variants}
    assert found["verified"] is True


def test_adapt_that_is_not_applied_has_an_exit_code_of_its_own(
    acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, scenes: object
) -> None:
    """Random labels are not accepted over the shipped head: exit code 3, and the shipped head stays."""
    rng = np.random.default_rng(0)
    frames = scenes.frames(60, 3)[0]  # type: ignore[attr-defined]
    np.savez(tmp_path / "random.npz", x=frames, y=rng.choice(["bark", "moss"], 60))
    acclimate("observe", tiny_bundle, "random.npz", "--store", "r.db")
    adapted = acclimate("adapt", tiny_bundle, "--store", "r.db", "--json")
    assert adapted.code == 3
    assert adapted.json()["applied"] is False
    assert acclimate("versions", tiny_bundle, "--store", "r.db", "--json").json()[0]["current"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "nothing.acc"), "nothing.acc: No such file"),
        (("inspect", "text.acc"), "expected a ZIP directory"),
        (("predict", "BUNDLE", "nothing.npy"), "found nothing at nothing.npy"),
        (("predict", "BUNDLE", "broken.npy"), "expected a NumPy file without pickled objects"),
        (("predict", "BUNDLE", "pickled.npy"), "expected a NumPy file without pickled objects"),
        (("predict", "BUNDLE", "setup.py"), "expected .npy, .npz or an image (.png, .jpg"),
        (("predict", "BUNDLE", "float.npy"), r"expected frames as (n, 8, 8, 1) uint8"),
        (("predict", "BUNDLE", "empty"), "found none. Check the path"),
        (("predict", "BUNDLE", "no_x.npz"), "expected an array 'x'"),
        (("observe", "BUNDLE", "mislabelled.npz"), "expected 'y' with 4 labels"),
        (("observe", "BUNDLE", "new.npz", "--new-classes", "refuse"), "expected labels among the classes"),
        (("observe", "BUNDLE", "twice.npz"), "expected samples that are not stored yet"),
        (("predict", "BUNDLE", "frames.npy", "--store", "none.db"), "expected a store at none.db, found none"),
        (("adapt", "BUNDLE", "--store", "none.db"), "expected a store at none.db, found none"),
        (("versions", "BUNDLE", "--store", "text.acc"), "expected a store of Acclimate"),
        (("rollback", "BUNDLE", "--store", "fresh.db"), "expected an earlier version"),
        (("rollback", "BUNDLE", "7", "--store", "fresh.db"), "expected one of the versions [0]"),
    ],
)
def test_errors_are_one_line(
    acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """A refusal is one line on standard error with exit code 1: no traceback, and nothing on standard output."""
    frames = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
    (tmp_path / "text.acc").write_text("not a bundle, and not a store either" * 20)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00 broken")
    (tmp_path / "empty").mkdir()
    (tmp_path / "setup.py").write_text("print()")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "float.npy", frames / 255)
    np.savez(tmp_path / "no_x.npz", frames=frames)
    np.savez(tmp_path / "mislabelled.npz", x=frames, y=["bark"])
    np.savez(tmp_path / "new.npz", x=frames, y=["bark", "bark", "sand", "moss"])
    np.savez(tmp_path / "twice.npz", x=frames[[0, 1, 0]])
    if "fresh.db" in arguments:
        np.save(tmp_path / "frames.npy", frames)
        acclimate("observe", tiny_bundle, "frames.npy", "--store", "fresh.db")
    filled = [str(tiny_bundle) if part == "BUNDLE" else part for part in arguments]
    store = ("--store", "some.db") if arguments[0] == "observe" else ()
    found = acclimate(*filled, *store)
    assert found.code == 1
    assert found.output == ""
    assert found.errors.startswith("error: ")
    assert message in found.errors
    assert found.errors.count("\n") == 1


def test_frames_that_are_none_leave_no_store(acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path) -> None:
    """A slip in a path makes no empty store that is found later."""
    assert acclimate("observe", tiny_bundle, "nothing.npy", "--store", "new.db").code == 1
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("adapt", "x.acc", "--on-insufficient", "maybe"),
        ("adapt", "x.acc", "--max-seconds", "0"),
        ("adapt", "x.acc", "--max-seconds", "nan"),
        ("adapt", "x.acc", "--max-memory-mb", "-1"),
        ("predict", "x.acc", "y.npy", "--runtime", "torch"),
        ("predict", "x.acc", "y.npy", "--threads", "0"),
        ("observe", "x.acc", "y.npy", "--new-classes", "perhaps"),
        ("nonsense",),
        ("inspect",),
    ],
)
def test_wrong_usage_has_exit_code_2(acclimate: Acclimate, arguments: tuple[str, ...]) -> None:
    """Unknown commands and options out of range are usage errors, told before any file is opened."""
    assert acclimate(*arguments).code == 2


def test_images_in_a_folder_per_class(acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, scenes: object) -> None:
    """Images are read as frames, and the folders' names are the labels."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    x, y = scenes.frames(16, 5)  # type: ignore[attr-defined]
    for i, (frame, label) in enumerate(zip(x, y, strict=True)):
        (tmp_path / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        image.fromarray(frame[..., 0]).save(tmp_path / "photos" / str(label) / f"{i:02}.png")
    found = acclimate("observe", tiny_bundle, "photos", "--store", "photos.db", "--json").json()
    assert found["labelled"] == 16
    predicted = acclimate("predict", tiny_bundle, "photos", "--store", "photos.db", "--json").json()
    assert predicted["accuracy"] > 0.5
    assert {row["frame"].split("/")[0] for row in predicted["predictions"]} == set(y.tolist())


def test_json_is_one_document(acclimate: Acclimate, place: Place, tiny_bundle: Path) -> None:
    """Every command's --json prints strict JSON: no NaN, nothing before or after."""
    store = ("--store", "j.db", "--json")
    for arguments in (("observe", tiny_bundle, place.local), ("adapt", tiny_bundle), ("versions", tiny_bundle)):
        json.loads(acclimate(*arguments, *store).output, parse_constant=pytest.fail)


def test_version(acclimate: Acclimate) -> None:
    """--version prints the package's version."""
    from acclimate import __version__

    assert acclimate("--version").output == f"acclimate {__version__}\n"


def test_help_imports_no_side(acclimate: Acclimate) -> None:
    """`acclimate --help` works where neither a runtime nor torch is installed, since no side is imported."""
    import subprocess
    import sys

    code = "import sys; sys.argv = ['acclimate', '--help']\nimport acclimate.cli.app\n"
    code += (
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'onnxruntime', 'ai_edge_litert', 'sqlite3'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_one_frame_in_an_array_file(acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, scenes: object) -> None:
    """A `.npy` file may hold a single frame, without an axis for samples."""
    np.save(tmp_path / "one.npy", scenes.frames(4, 5)[0][0])  # type: ignore[attr-defined]
    found = acclimate("predict", tiny_bundle, "one.npy", "--json")
    assert [row["frame"] for row in found.json()["predictions"]] == ["one.npy"]
    assert acclimate("observe", tiny_bundle, "one.npy", "--store", "one.db", "--json").json()["stored"] == 1


def test_new_classes_are_named(acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, scenes: object) -> None:
    """A label that no class had is said, since it may be a slip."""
    frames = scenes.frames(4, 5)[0]  # type: ignore[attr-defined]
    np.savez(tmp_path / "typo.npz", x=frames, y=["moss", "mos", "bark", "bark"])
    assert "new classes: mos\n" in acclimate("observe", tiny_bundle, "typo.npz", "--store", "typo.db").output
