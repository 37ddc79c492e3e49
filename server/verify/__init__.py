"""Every transfer method against what is known of it: closed forms, other libraries' results, published rows."""

from .check import Check, Outcome, run_checks
from .identities import identities, left_out
from .published import FILES, published_rows

__all__ = ["FILES", "Check", "Outcome", "identities", "left_out", "published_rows", "run_checks"]
