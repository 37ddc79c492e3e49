"""What the README shows works as it stands there."""

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
CONVERTING = (ROOT / "docs" / "converting.md").read_text()


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_device_code_runs(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Python block runs as it is, prints a report, and runs again on the store that it has made.

    Without the demo's bundle another one takes its place that was made for frames of that size.
    """
    pytest.importorskip("onnxruntime", reason="the README's code needs a runtime")
    pytest.importorskip("sklearn", reason="the README's code reads its digits")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build" / "demo").mkdir(parents=True)
    made = ROOT / "build" / "demo" / "demo.acc"
    shutil.copy(made if made.exists() else tiny_bundle, tmp_path / "build" / "demo" / "demo.acc")
    code = blocks(README)[0]
    said: list[str] = []
    for _ in range(2):
        said.clear()
        exec(compile(code, "README.md", "exec"), {"print": lambda *what: said.append(str(what))})  # noqa: S102
        assert any("applied" in line for line in said)
    assert (tmp_path / "digits.db").exists()
    assert (tmp_path / "adapted.onnx").exists()


def test_the_guide_runs(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of the guide that use a learner run one after the other, and do what is said beside them."""
    pytest.importorskip("onnxruntime", reason="the guide's code needs a runtime")
    from acclimate.edge import Learner

    monkeypatch.chdir(tmp_path)
    frames, labels = scenes.frames(80, 1, 1.0)
    plants = [i for i, label in enumerate(labels, 1) if label in ("bark", "moss")]
    # A tail is trained on a bundle that has one.
    shown = [
        block for block in blocks(GUIDE) if "learner." in block and "tail=True" not in block and "align" not in block
    ]
    assert len(shown) == 5
    with Learner.open(tiny_bundle, store=tmp_path / "guide.db", threads=1) as learner:
        given = {
            "learner": learner,
            "frames": frames,
            "labels": labels,
            "rooms": [f"room {i % 8}" for i in range(80)],
            "files": [f"{i}.png" for i in range(80)],
            "ids": plants[:5],
            "print": lambda *_: None,
        }
        for code, after in zip(shown, ((80, 80), (80, 80), (80, 60), (75, 55), (75, 55)), strict=True):
            exec(compile(code, "guide.md", "exec"), given)  # noqa: S102
            assert learner.samples == after
        assert tuple(learner.classes) == ("plant", "gravel", "crack", "fern")


def test_the_guides_alignment_runs(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType) -> None:
    """The block on another place without labels runs as it is, in a darker place, and says what it did."""
    pytest.importorskip("onnxruntime", reason="the guide's code needs a runtime")
    import numpy as np

    from acclimate.edge import Learner

    (block,) = (block for block in blocks(GUIDE) if "align()" in block)
    frames = np.clip((scenes.frames(240, 2)[0].astype(np.float64) - 128) * 0.8 + 113, 0, 255).astype(np.uint8)
    said: list[str] = []
    with Learner.open(tiny_bundle, store=tmp_path / "guide.db", threads=1) as learner:
        given = {"learner": learner, "frames": frames, "print": lambda *what: said.append(str(*what))}
        exec(compile(block, "guide.md", "exec"), given)  # noqa: S102
        assert learner.versions()[1].summary.startswith("aligned")
    assert len(said) == 2


def test_the_server_call_names_real_arguments() -> None:
    """Every keyword of the README's convert() call is one of the function."""
    pytest.importorskip("torch", reason="torch, which converting needs, is not installed")
    import inspect

    from acclimate.converters import convert

    call = blocks(README)[1]
    assert set(re.findall(r"(\w+)=", call)) <= set(inspect.signature(convert).parameters)


def test_commands_are_real() -> None:
    """Commands that README and guide show are those of the command line, make targets those of the Makefile."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from acclimate.cli.app import app

    text = README + "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    text += (ROOT / "CONTRIBUTING.md").read_text()
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    shown = set(re.findall(r"(?:^|&& |`)acclimate (\w+)(?: (\w+) )?", text, re.MULTILINE))
    assert shown
    for name, then in shown:
        assert name in group.commands
        command = group.commands[name]
        if then and isinstance(command, TyperGroup):
            assert then in command.commands, f"acclimate {name} {then}"
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w[\w-]*)`", text)) <= targets


def test_links_lead_somewhere() -> None:
    """Every relative link of README, CONTRIBUTING and docs leads to a file, and to a heading where it names one."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name} links to {link}"
            if heading:
                found = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in found}
                assert heading in slugs, f"{page.name} links to {link}#{heading}"
