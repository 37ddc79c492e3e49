"""What is printed: nothing steers the terminal, any encoding will do, a pipe has no edge, Ctrl-C is one line."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from acclimate.cli import console
from acclimate.cli.wording import OPTIONS, files_named, in_options
from acclimate.errors import DuplicateSampleError

from .conftest import Acclimate

ROOT = Path(__file__).parents[2]
HOSTILE = "MIT\x1b[6A\x9b2Jtrusted\nsignature \u202egnp"


def test_what_does_not_show_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, C1 controls, line breaks and turned writing come out as text; in JSON they mean the same."""
    assert console.printable("MIT 2.0, für 日本語") == "MIT 2.0, für 日本語"
    assert console.printable(HOSTILE) == r"MIT\x1b[6A\x9b2Jtrusted\nsignature \u202egnp"
    for print_it in (console.tell, console.print_row, console.note):
        print_it(HOSTILE)
        said = capsys.readouterr()
        assert (said.out + said.err).strip() == console.printable(HOSTILE)
    with pytest.raises(SystemExit):
        console.fail(HOSTILE, 1)
    assert capsys.readouterr().err == "error: MIT\\x1b[6A\\x9b2Jtrusted signature \\u202egnp\n"
    console.print_json({HOSTILE: ["日本語", HOSTILE]})
    said = capsys.readouterr()
    assert "日本語" in said.out
    assert all(c.isprintable() or c == "\n" for c in said.out)
    assert json.loads(said.out) == {HOSTILE: ["日本語", HOSTILE]}


def test_inspect_escapes_what_a_bundle_says(
    here: Acclimate, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a licence with escape sequences has come through the checks of the manifest."""
    from acclimate.manifest import Manifest

    read = Manifest.from_json.__func__  # type: ignore[attr-defined]

    def changed(cls: type[Manifest], *given: object) -> Manifest:
        found: Manifest = read(cls, *given)
        found.__dict__["licence"] = HOSTILE
        return found

    monkeypatch.setattr(Manifest, "from_json", classmethod(changed))
    told = here("inspect", tiny_bundle)
    assert told.code == 0, told.errors
    assert console.printable(HOSTILE) in told.output
    assert "\x1b" not in told.output
    assert here("inspect", tiny_bundle, "--json").json()["licence"] == HOSTILE


def test_any_encoding_will_do(tiny_bundle: Path, tmp_path: Path, scenes: object) -> None:
    """Where the terminal knows no other letters they are escaped, and JSON stays JSON."""
    shutil.copy(tiny_bundle, tmp_path / "tiny.acc")
    np.savez(tmp_path / "new.npz", x=scenes.frames(4, 5)[0], y=["ünï", "ünï", "日本語", "日本語"])  # type: ignore[attr-defined]
    told = []
    for arguments in (("observe", "tiny.acc", "new.npz"), ("classes", "list", "tiny.acc", "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "acclimate.cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.decode("ascii"))
    assert r"new classes: \xfcn\xef, \u65e5\u672c\u8a9e" in told[0]
    assert {entry["name"] for entry in json.loads(told[1])} >= {"ünï", "日本語"}


def test_tables_have_their_full_width_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe has no edge at which columns are cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console.output, "_width", 80)
    written = io.StringIO()
    monkeypatch.setattr(console.output, "_file", written)
    table = Table("cut", "reason", box=None)
    table.add_row("layer" * 20, "shares" * 20)
    console.prepare()
    console.output.print(table)
    assert "layer" * 20 in written.getvalue()
    assert "shares" * 20 in written.getvalue()


def test_an_interruption_is_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    """Ctrl-C within a command: exit code 130, no traceback."""
    # A shell that starts the tests in the background has the signal ignored, which processes inherit.
    code = "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"sys.argv = ['acclimate', 'inspect', {str(tiny_bundle)!r}]\n"
    code += (
        "import importlib\nmodule = importlib.import_module('acclimate.cli.inspect')\nfrom acclimate.cli import main\n"
    )
    code += "module.size = lambda count: print('ready', flush=True) or time.sleep(60)\nmain()\n"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        try:
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
        assert running.returncode == 130
    assert said == "error: interrupted; what was stored before stays.\n"


def test_errors_name_options() -> None:
    """What the library advises becomes an option's name, and each phrase still stands in the library."""
    said = in_options("Leave it out, or pass on_duplicate='skip'. Convert with head='fit' or head=None.")
    assert said == "Leave it out, or give --skip-duplicates. Convert with --head fit or --head none."
    sources = "\n".join(
        file.read_text() for folder in ("core", "edge", "converters") for file in (ROOT / folder).rglob("*.py")
    )
    # An f-string makes this one of the runtime's name.
    made = {"runtime='onnx'": "runtime='{others[0]}'"}
    for phrase in OPTIONS:
        assert made.get(phrase, phrase) in sources, phrase


def test_duplicates_are_named_by_their_files() -> None:
    """Places in a call say nothing to who gave files."""
    said = "found sample 1 again: it equals sample 0 of the call."
    with (
        pytest.raises(DuplicateSampleError, match=r"^found b/1.png again: it equals a/1.png\.$"),
        files_named(["a/1.png", "b/1.png"]),
    ):
        raise DuplicateSampleError(said)
