"""What the README shows works as it stands there."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_device_code_runs(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Python block runs as it is, and prints a report."""
    pytest.importorskip("onnxruntime", reason="the README's code needs a runtime")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "fixtures").mkdir(parents=True)
    shutil.copy(tiny_bundle, tmp_path / "tests" / "fixtures")
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    said: list[str] = []
    exec(compile(code, "README.md", "exec"), {"print": lambda *what: said.append(str(what))})  # noqa: S102
    assert any("applied" in line for line in said)
    assert (tmp_path / "tiny.db").exists()


def test_the_server_call_names_real_arguments() -> None:
    """Every keyword of the README's convert() call is one of the function."""
    pytest.importorskip("torch", reason="torch, which converting needs, is not installed")
    import inspect

    from acclimate.converters import convert

    call = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert set(re.findall(r"(\w+)=", call)) <= set(inspect.signature(convert).parameters)


def test_commands_are_real() -> None:
    """Commands that README and guide show are those of the command line, make targets those of the Makefile."""
    from acclimate.cli.app import app

    text = README + (ROOT / "docs" / "guide.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    commands = {command.name for command in app.registered_commands}
    shown = set(re.findall(r"(?:^|&& |`)acclimate (\w+)", text, re.MULTILINE))
    assert shown
    assert shown <= commands
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w[\w-]*)`", text)) <= targets


def test_links_lead_somewhere() -> None:
    """Every relative link of README, guide and docs leads to a file."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
