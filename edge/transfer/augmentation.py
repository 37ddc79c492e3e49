"""Feature augmentation: one copy of the features that all domains share, and one for each domain.

A linear model of the augmented features learns what holds everywhere and what holds in one place only.

References:
    Daume III 2007, "Frustratingly easy domain adaptation".
    Daume III, Kumar and Saha 2010, "Frustratingly easy semi-supervised domain adaptation", for samples without labels.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from .checks import check_rows

Float64 = NDArray[np.float64]


def augment(x: ArrayLike, domain: int | None, domains: int = 2) -> Float64:
    """Return samples of a domain with a copy of their features for it: ``(x, 0, ..., x, ..., 0)``.

    Products of augmented samples are twice those of the samples within a domain, and theirs across.

    Args:
        x: ``(n, d)``.
        domain: Which domain they come from, 0 to domains - 1; None where it is another one or unknown: ``(x, 0, ...)``,
            of which a model says what all domains share.
        domains: How many there are.

    Returns:
        ``(n, (domains + 1) d) float64``.

    Raises:
        InputError: If they are no such samples, or the domain is none of them.
    """
    rows = check_rows(x, "augmented", least=1)
    _check(domains, *(() if domain is None else (domain,)))
    return _placed(rows, {} if domain is None else {domain: 1.0}, domains, shared=1.0)


def augment_unlabelled(x: ArrayLike, domain: int, other: int, domains: int = 2) -> Float64:
    """Return samples without labels such that a model is asked to answer them alike in two domains.

    A linear model's answer on ``(0, ..., x, ..., -x, ...)`` is the difference of its answers in the two: fit it to 0.

    Args:
        x: ``(n, d)``.
        domain: One domain, 0 to domains - 1.
        other: Another.
        domains: How many there are.

    Returns:
        ``(n, (domains + 1) d) float64``.

    Raises:
        InputError: If they are no such samples, or the domains are not two of them.
    """
    rows = check_rows(x, "augmented", least=1)
    _check(domains, domain, other)
    if domain == other:
        raise InputError(f"expected two domains that must agree, found domain {domain} twice.")
    return _placed(rows, {domain: 1.0, other: -1.0}, domains, shared=0.0)


def domain_layer(weight: Float64, domain: int | None, domains: int = 2) -> Float64:
    """Return the ``(k, d)`` layer on plain features that does what one on augmented features does in a domain.

    Args:
        weight: ``(k, (domains + 1) d)``.
        domain: As in `augment`.
        domains: How many there are.

    Raises:
        InputError: If the width is not one of augmented features, or the domain is none of them.
    """
    _check(domains, *(() if domain is None else (domain,)))
    if weight.ndim != 2 or weight.shape[1] % (domains + 1):
        raise InputError(f"expected a layer on {domains + 1} copies of the features, found shape {weight.shape}.")
    copies = weight.reshape(len(weight), domains + 1, -1)
    found: Float64 = copies[:, 0].copy() if domain is None else copies[:, 0] + copies[:, domain + 1]
    return found


def _placed(rows: Float64, factors: dict[int, float], domains: int, *, shared: float) -> Float64:
    found = np.zeros((len(rows), domains + 1, rows.shape[1]))
    found[:, 0] = shared * rows
    for domain, factor in factors.items():
        found[:, domain + 1] = factor * rows
    return found.reshape(len(rows), -1)


def _check(domains: int, *chosen: int) -> None:
    if not isinstance(domains, int | np.integer) or domains < 1:
        raise InputError(f"expected at least one domain, as a whole number, found {domains}.")
    for domain in chosen:
        if not isinstance(domain, int | np.integer) or not 0 <= domain < domains:
            raise InputError(f"expected a domain from 0 to {domains - 1}, found {domain}.")
