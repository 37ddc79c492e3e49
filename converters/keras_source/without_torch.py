"""The very start of TensorFlow's process: torch is as if it were not installed, whoever asks for it."""

import runpy
import sys
from typing import Any


class Without:
    """A finder of modules that does not find one package.

    Args:
        finder: The finder.
        package: The package.
    """

    def __init__(self, finder: Any, package: str) -> None:
        self._finder, self._package = finder, package

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, *rest: Any) -> Any:
        """Return what the finder finds, nothing for the package."""
        return None if name.partition(".")[0] == self._package else self._finder.find_spec(name, *rest)


def start() -> None:
    """Run the worker. `None` among the loaded modules would not do: scipy takes what is there for a module."""
    sys.meta_path[:] = [Without(finder, "torch") for finder in sys.meta_path]
    runpy.run_module("acclimate.converters.keras_source.worker", run_name="__main__")


if __name__ == "__main__":
    start()
