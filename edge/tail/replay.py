"""What stands for shipped classes without local samples while a tail is trained: draws from the source statistics.

The bundle has no maps of the source. But the last tap of a latent is what the tail's head takes in, and the statistics
say where the source's classes are in it, as long as the blocks in front of the head stay near the shipped ones.
"""

import numpy as np

from ...bundle import LinearLayer
from ...latent import LatentCode
from ...manifest import Tap
from ...record import record
from ..adaptation.displacement import carry_along
from ..adaptation.probe import LOST, draw_probe
from ..adaptation.shipped import Shipped
from ..distinct import distinct
from ..head import Ids
from ..store.samples import StoredSamples
from .graphs import Float32


@record(eq=False)
class Replay:
    """Draws of classes without local samples.

    Args:
        x: ``(m, c) float32`` what the head takes in.
        ids: ``(m,)`` their class ids.
    """

    x: Float32
    ids: Ids

    def lost(self, ids: Ids, before: LinearLayer, after: LinearLayer) -> Ids:
        """Return the ids of classes of which less than half of what was known is left.

        Args:
            ids: ``(k,)`` class ids of the rows, ascending.
            before: The shipped rows; those of new classes have bias `ABSENT`.
            after: The rows now.
        """
        places = np.searchsorted(ids, self.ids)
        right = [(self.x @ rows.weight.T + rows.bias).argmax(axis=1) == places for rows in (before, after)]
        found = distinct(self.ids)
        lost = [right[1][self.ids == i].mean() < LOST * right[0][self.ids == i].mean() for i in found]
        result: Ids = found[np.array(lost, np.bool_)]
        return result


def draw_replay(shipped: Shipped, samples: StoredSamples, code: LatentCode, last: Tap | None) -> Replay | None:
    """Draw the last tap of shipped classes without local samples, moved as the others have moved here.

    Args:
        shipped: What the bundle brings along.
        samples: The local samples.
        code: Quantization of the latents.
        last: The last tap, or None.

    Returns:
        The draws; None where there is no such class, or nothing is known of it.
    """
    found = shipped.present()
    absent = ~np.isin(found.ids, samples.classes)
    if found.source is None or last is None or not (absent & (found.source.count > 0)).any():
        return None
    columns = slice(last.offset, last.offset + last.width)
    rows, labels = [], []
    for drawn, y in draw_probe(carry_along(found.source, found.ids, samples.codes, samples.classes)):
        wanted = absent[y]
        rows.append((drawn[wanted, columns] * code.scale[columns] + code.offset[columns]).astype(np.float32))
        labels.append(found.ids[y[wanted]])
    return Replay(np.concatenate(rows), np.concatenate(labels))
