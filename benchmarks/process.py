"""Fresh Python processes that find their modules compiled, as pip leaves them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BYTECODE = Path("build/bench/bytecode")


def run_python(arguments: Sequence[str]) -> float:
    """Run Python, and return the number that it prints.

    Sources in a working tree would else be compiled at each start where the environment keeps bytecode from being
    written. The first run with the same modules compiles them: it must not be counted.

    Args:
        arguments: What follows the name of the interpreter.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(_BYTECODE.resolve())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
