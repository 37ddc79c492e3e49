"""Which source to start from: sources ranked on a target's labelled samples, without training any of them."""

from .rank import rank_sources
from .ranking import Ranked, Ranking

__all__ = ["Ranked", "Ranking", "rank_sources"]
