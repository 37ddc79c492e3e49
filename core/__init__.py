"""Acclimate: adapt the last layers of a shipped model on the device it runs on.

This package is the contract between the sides: the bundle, the errors, the guard of extras. The sides are subpackages:
`acclimate.edge` (device), `acclimate.converters`, `acclimate.server`, `acclimate.cli`.
"""

from ._version import __version__
from .bundle import Bundle
from .bundle_writer import write_bundle
from .errors import AcclimateError
from .manifest import Manifest

__all__ = ["AcclimateError", "Bundle", "Manifest", "__version__", "write_bundle"]
