"""The legend of a plot: for each line or mark a small drawing that tells it by shape, too, not by colour alone."""

from dataclasses import dataclass
from typing import Literal

Line = Literal["", "solid", "dashed", "dotted"]
Mark = Literal["", "o", "s", "^", "D", "v"]

_DASHES = {"solid": "", "dashed": ' stroke-dasharray="5 3"', "dotted": ' stroke-dasharray="1.5 2.5"'}
_SHAPES = {
    "o": '<circle cx="12" cy="6" r="3.6"{paint}/>',
    "s": '<rect x="8.6" y="2.6" width="6.8" height="6.8"{paint}/>',
    "^": '<path d="M12 1.8 16 9.6H8z"{paint}/>',
    "D": '<path d="M12 1.4 16.4 6 12 10.6 7.6 6z"{paint}/>',
    "v": '<path d="M12 10.2 8 2.4h8z"{paint}/>',
}


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Args:
        name: What it is called.
        variable: CSS variable of its colour.
        line: How its line is drawn; empty for none.
        mark: The shape of its marks, as matplotlib names it; empty for none.
        filled: Whether marks are filled.
    """

    name: str
    variable: str
    line: Line = "solid"
    mark: Mark = ""
    filled: bool = True

    @property
    def svg(self) -> str:
        """The small drawing."""
        colour = f"var(--{self.variable})"
        line = f'<path d="M0 6H24" stroke="{colour}" stroke-width="2"{_DASHES[self.line]}/>' if self.line else ""
        fill = colour if self.filled else "var(--card)"
        paint = f' fill="{fill}" stroke="{colour}" stroke-width="1.5"'
        mark = _SHAPES[self.mark].format(paint=paint) if self.mark else ""
        return f'<svg viewBox="0 0 24 12" aria-hidden="true">{line}{mark}</svg>'
