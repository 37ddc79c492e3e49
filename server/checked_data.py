"""The check of a run's data: made by the main process, known to all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .data import Data, validate_data
from .training.engine import main_first, share_text

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Checked:
    """What a check of the data found; nothing but the contents in other processes than the main one.

    Args:
        contents: Hash of the content of each part's samples.
        warnings: What may be wrong.
    """

    contents: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def checked_data(data: Data, running: "Accelerator", *, labels: bool = True) -> Checked:
    """Check the data in the main process; all learn what tells its contents.

    Args:
        data: From `load_data`.
        running: The processes; all of them call this.
        labels: Whether what is trained needs any; where not, nothing is said of missing ones.

    Raises:
        InputError: If it has errors.
    """

    def check() -> Checked:
        report = validate_data(data)
        report.require_sound()
        warnings = (finding for finding in report.warnings if labels or finding.kind != "unlabelled")
        return Checked(report.contents, tuple(finding.message for finding in warnings))

    found = main_first(running, check)
    contents = share_text(running, " ".join(found.contents) if found else "").split()
    return found or Checked(tuple(contents))
