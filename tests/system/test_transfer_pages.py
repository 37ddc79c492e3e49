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


@pytest.mark.parametrize("block", [block for _, block in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_runs(block: str, tmp_path: Path) -> None:
    """As a reader would run it: in a process of its own, warnings as errors."""
    pytest.importorskip("torch")
    found = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", block], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
