"""`acclimate verify`, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from .conftest import Acclimate

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("sklearn", reason="acclimate[verify] is not installed")

from acclimate.cli.app import app
from acclimate.errors import AcclimateError, InputError, MissingExtraError, OutputExistsError
from acclimate.server import verify
from acclimate.server.verify.source_choice import choice_identities

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.needs_torch


def test_a_table_and_a_file_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data: a table, what is skipped and how to give it, a JSON file, and exit code 0."""
    monkeypatch.setattr(verify, "identities", choice_identities)
    path = tmp_path / "found.json"
    done = CliRunner().invoke(app, ["verify", "--json", str(path)])
    assert done.exit_code == 0, done.output
    told = json.loads(path.read_text())
    assert told["holds"] is True
    assert told["skipped"] == ["office_caltech_surf.npz", "usps_mnist.npz"]
    assert len(told["checks"]) == len(choice_identities())
    assert f"{len(told['checks'])} of {len(told['checks'])} checks hold" in done.output
    assert "skipped: published rows of office_caltech_surf.npz and usps_mnist.npz" in done.output
    assert "--data" in done.output
    refused = CliRunner().invoke(app, ["verify", "--json", str(path)])
    assert isinstance(refused.exception, OutputExistsError)
    assert CliRunner().invoke(app, ["verify", "--json", str(path), "--overwrite"]).exit_code == 0
    value = next(one for one in told["checks"] if one["method"] == "LEEP")
    assert f"{value['expected']:.6g}" in done.output
    assert "holds" in done.output


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the published feature files are not at ../shared/data")
def test_everything_holds(acclimate: Acclimate, tmp_path: Path) -> None:
    """The whole command with the published files, in a process of its own: all checks hold, none is skipped."""
    found = acclimate("verify", "--data", DATA, "--json", "found.json")
    assert found.code == 0, found.errors + found.output
    told = json.loads((tmp_path / "found.json").read_text())
    assert (told["holds"], told["skipped"]) == (True, [])
    assert f"{len(told['checks'])} of {len(told['checks'])} checks hold" in found.output
    assert len([one for one in told["checks"] if one["digits"] is not None]) == 40


def test_what_is_off_is_said_with_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is off and a method that refuses: both named, the JSON file written all the same."""

    def refuse() -> tuple[float, float]:
        raise InputError("expected this, found that")

    checks = (
        verify.Check("one", "two = 2", "nobody", lambda: (2.0, 3.0)),
        verify.Check("other", "it runs", "nobody", refuse),
    )
    monkeypatch.setattr(verify, "identities", lambda: checks)
    path = tmp_path / "found.json"
    done = CliRunner().invoke(app, ["verify", "--json", str(path)])
    assert done.exit_code == 1, done.output
    assert "off: one, two = 2" in done.output
    assert "off: other, it runs: expected this, found that" in done.output
    assert "0 of 2 checks hold" in done.output
    told = json.loads(path.read_text())
    assert told["holds"] is False
    assert [one["found"] for one in told["checks"]] == [3.0, None]


def test_bad_arguments_are_said(tmp_path: Path) -> None:
    """A folder without the files, a file that is another, and a JSON file that cannot be; nothing is checked then."""
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "usps_mnist.npz", usps_x=np.zeros((2, 2)))
    for arguments, said in (
        (("--data", tmp_path / "absent"), "found none at"),
        (("--data", tmp_path), "found neither"),
        (("--data", other), "usps_mnist.npz: expected the arrays usps_x"),
        (("--json", other), "found a folder"),
        (("--json", other / "usps_mnist.npz"), "is there already"),
    ):
        with pytest.raises(AcclimateError, match=said):
            CliRunner().invoke(app, ["verify", *map(str, arguments)], catch_exceptions=False)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which extra installs it."""
    from importlib import util

    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: None if name == "sklearn" else util.find_spec(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'acclimate\[verify\]'"):
        CliRunner().invoke(app, ["verify"], catch_exceptions=False)
