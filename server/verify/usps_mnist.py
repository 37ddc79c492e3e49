"""Published rows on handwritten digits: 16 x 16 pixels, 1,800 of USPS and 2,000 of MNIST, both directions."""

from functools import partial
from pathlib import Path

from ...edge.transfer.components import primal_components
from .check import Check, published
from .feature_files import Domain, normalised, read_domains
from .nearest import nearest_accuracy

_SHAPES = {"usps": (1800, 256), "mnist": (2000, 256)}
_ROWS = (("usps", "mnist", "44.70", "51.05"), ("mnist", "usps", "65.94", "56.28"))

_PAPER = "Long et al. 2013 (JDA)"


def usps_mnist_rows(path: Path) -> tuple[Check, ...]:
    """Return the rows: the nearest sample, and the nearest after TCA.

    Args:
        path: The file of features.

    Raises:
        InputError: If it is not the published file.
    """
    domains = {name: normalised(domain, path, 2) for name, domain in read_domains(path, _SHAPES).items()}
    rows = []
    for source, target, nearest, tca in _ROWS:
        pair = domains[source], domains[target]
        claim = f"{source.upper()} to {target.upper()}, accuracy in %"
        rows.append(published("1-NN", claim, _PAPER, nearest, partial(nearest_accuracy, *pair)))
        rows.append(published("TCA", claim, _PAPER, tca, partial(_tca, *pair)))
    return tuple(rows)


def _tca(source: Domain, target: Domain) -> float:
    """Take the primal form of Long et al. 2013: L over its Frobenius norm, mu 0.1, 100 directions of length 1."""
    found = primal_components(source[0], target[0], 100, mu=0.1, normalised=True)
    return nearest_accuracy((found.project(source[0]), source[1]), (found.project(target[0]), target[1]))
