"""The examples of the pages on transfer run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
# Those that name a file of the reader's cannot run.
_NEEDS_FILES = re.compile(r"\.acc\"|learner|truth, predicted")


def _examples() -> list[tuple[str, str]]:
    found = []
    for page in ("transfer", "choosing", "understanding"):
        blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
        found += [(f"{page}{i}", block) for i, block in enumerate(blocks) if not _NEEDS_FILES.search(block)]
    return found


EXAMPLES = _examples()


def test_most_examples_are_run() -> None:
    """The pages are found, and few of their examples are left out."""
    assert len(EXAMPLES) >= 12


def _rows() -> list[list[str]]:
    page = (DOCS / "transfer.md").read_text()
    lines = [line[2:-2].split(" | ") for line in page.splitlines() if line.startswith("| ") and line.endswith(" |")]
    return [cells for cells in lines if cells[0] != "method"]


def test_every_method_names_its_place_its_paper_its_proof_and_an_example() -> None:
    """Modules are there, papers are linked, named tests exist where their paths say, and an example is linked."""
    root, page, rows = DOCS.parent, (DOCS / "transfer.md").read_text(), _rows()
    linked = set(re.findall(r"^\[([^\]]+)\]: https://", page, re.MULTILINE))
    assert len(rows) >= 60
    for cells in rows:
        assert len(cells) == 5, cells
        method, place, paper, proof, example = cells
        for module in re.findall(r"`acclimate\.([\w.]+)`", place):
            path = root / module.replace(".", "/")
            # The last name may be one in a module.
            found = (path, path.with_suffix(".py"), path.parent.with_suffix(".py"))
            assert any(one.exists() for one in found), (method, module)
        assert paper == "-" or linked >= set(re.findall(r"\[([^\]]+)\]", paper)) != set(), (method, paper)
        tests = re.findall(r"`(tests/\w+/\w+\.py)(?:::(\w+))?`", proof)
        assert tests, (method, proof)
        for file, name in tests:
            assert not name or f"def {name}(" in (root / file).read_text(), (method, file, name)
            assert (root / file).is_file(), (method, file)
        assert re.search(r"\]\((\w+\.md)?(#[\w-]+)?\)$", example), (method, example)


@pytest.mark.parametrize("block", [block for _, block in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_runs(block: str, tmp_path: Path) -> None:
    """As a reader would run it: in a process of its own, warnings as errors."""
    pytest.importorskip("torch")
    found = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", block], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
