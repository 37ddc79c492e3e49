"""The libraries that methods are compared with, and the classifiers that published results were made with."""

from ...extras import require


def require_oracles() -> None:
    """Check that they are installed.

    Raises:
        MissingExtraError: If they are not, with the extra that installs them.
    """
    for module in ("sklearn", "scipy"):
        require(module, extra="verify", needed_by="acclimate verify")
