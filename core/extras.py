"""The guard that names the extra to install when an optional package is missing."""

from importlib.util import find_spec

from .errors import MissingExtraError


def require(module: str, *, extra: str, needed_by: str) -> None:
    """Check that an optional package can be imported, without importing it.

    Args:
        module: Import name of the package, for example ``"torch"``.
        extra: The extra of Acclimate that installs it.
        needed_by: What needs it, for the message.

    Raises:
        MissingExtraError: If it is not installed. Also an ``ImportError``.
    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{needed_by} needs {module!r}, which is not installed. Install it with: pip install 'acclimate[{extra}]'",
            name=module,
        )
