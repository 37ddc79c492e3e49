"""Where the training of a tail begins: the shipped parameters, with a row of the head for each class there is here."""

from collections.abc import Mapping

import numpy as np

from ...bundle import LinearLayer
from ...tail_content import TailContent
from ..adaptation.shipped import merge_rows
from ..distinct import distinct
from ..head import ABSENT, Ids
from ..heads import Prior, Problem, Setting, Softmax, Weights
from ..heads.problem import Float64
from .graphs import Float32

# Strength of the pull of the first rows, to the shipped ones or to 0: the middle of what is tried for heads.
REGULARISATION = 0.004
# Below this share of the greatest one, a dimension hardly varies.
_STILL = 1e-3


def shipped_rows(content: TailContent, became: Ids, ids: Ids) -> tuple[LinearLayer, dict[str, Float32]]:
    """Return the shipped head of the tail with a row for each class.

    Args:
        content: The tail.
        became: ``(r,)`` class id that each shipped class stands for now, -1 where it is removed.
        ids: ``(k,)`` the classes, ascending.

    Returns:
        The rows, with bias `ABSENT` for a class that was not shipped; and Fisher diagonals of all parameters in the
        same shapes, scaled to a mean of 1, empty where none were shipped.
    """
    spec, rows = content.spec, len(became)
    weight = content.parameters[_weight(content)]
    bias = np.zeros(rows, np.float32) if spec.bias is None else content.parameters[spec.bias]
    found = np.zeros((len(ids), weight.shape[1]), np.float32)
    offset = np.full(len(ids), ABSENT, np.float32)
    known = distinct(became[became >= 0])
    if len(known):
        merged, places = merge_rows(LinearLayer(weight, bias), became), np.searchsorted(ids, known)
        found[places], offset[places] = merged.weight, merged.bias
    return LinearLayer(found, offset), _fisher(content, became, ids)


def warm_rows(latents: Float32, y: Ids, k: int, shipped: LinearLayer, weight: Float64 | None) -> LinearLayer:
    """Fit the head's rows alone, drawn to the shipped ones: training all at once would first spoil what is in front.

    Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution".

    Args:
        latents: ``(n, c) float32`` what the head takes in.
        y: ``(n,)`` classes, 0 to k - 1, each with samples.
        k: Number of classes.
        shipped: Their rows, bias `ABSENT` for those that were not shipped.
        weight: ``(n,)`` weights of the samples, or None.

    Returns:
        A row for each class.
    """
    x = latents.astype(np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.maximum(spread, max(float(spread.max()) * _STILL, 1e-12))
    has = shipped.bias > ABSENT
    prior = Weights(
        shipped.weight.astype(np.float64) * spread,
        np.where(has, shipped.bias + shipped.weight.astype(np.float64) @ mean, ABSENT),
    )
    drawn: Prior = "shipped" if has.any() else "none"
    problem = Problem((x - mean) / spread, y, k, prior=prior if has.any() else None, weight=weight)
    (found,) = Softmax().solve(problem, (Setting("softmax", REGULARISATION, prior=drawn),))
    rows = found.weight / spread
    return LinearLayer(rows.astype(np.float32), (found.bias - rows @ mean).astype(np.float32))


def with_rows(content: TailContent, parameters: Mapping[str, Float32], rows: LinearLayer) -> dict[str, Float32]:
    """Return parameters with other rows of the head; without a bias in the tail, that of the rows is dropped."""
    spec = content.spec
    bias = {} if spec.bias is None else {spec.bias: np.where(rows.bias > ABSENT, rows.bias, 0).astype(np.float32)}
    return {**parameters, _weight(content): rows.weight, **bias}


def rows_of(content: TailContent, parameters: Mapping[str, Float32]) -> LinearLayer:
    """Return the rows of the head among parameters."""
    weight, bias = parameters[_weight(content)], content.spec.bias
    return LinearLayer(weight, np.zeros(len(weight), np.float32) if bias is None else parameters[bias])


def take_rows(names: tuple[str, ...], parameters: Mapping[str, Float32], places: Ids) -> dict[str, Float32]:
    """Return parameters with only some rows of the head, whose parameters have these names."""
    return {name: values[places] if name in names else values for name, values in parameters.items()}


def _weight(content: TailContent) -> str:
    if content.spec.weight is None:
        raise AssertionError("a bundle's tail names its head")
    return content.spec.weight


def _fisher(content: TailContent, became: Ids, ids: Ids) -> dict[str, Float32]:
    if content.fisher is None or content.spec.penalty != "ewc":
        return {}
    found = dict(content.fisher)
    for name in content.spec.head:
        given = content.fisher[name]
        typical = given.mean(axis=0) if len(given) else np.float32(0)
        rows = np.broadcast_to(typical, (len(ids), *given.shape[1:])).astype(np.float32)
        for place, label in enumerate(ids):
            own = given[became == label]
            if len(own):
                rows[place] = own.mean(axis=0)
        found[name] = rows
    # The scale of an information depends on the model: what matters is how it is spread.
    total, count = sum(float(v.sum(dtype=np.float64)) for v in found.values()), sum(v.size for v in found.values())
    scale = np.float32(count / total if total > 0 else 0)
    return {name: values * scale for name, values in found.items()}
