"""What is known of explanations and of fairness: completeness, and rates counted by hand."""

import numpy as np

from ...edge.understanding.activation_map import class_map
from ...edge.understanding.fairness import group_fairness
from ...edge.understanding.occlusion import occlude
from .check import Check, distance


def understanding_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("occlusion", "linear model: the parts add up to the score", "Zeiler and Fergus 2014", _occluded, 1e-9),
        Check("class activation map", "mean of the map + bias = logit", "Zhou et al. 2016", _mapped, 1e-12),
        Check(
            "group fairness", "equal opportunity of 3/4 and 1/2: 1/4", "Hardt, Price and Srebro 2016", _recall, 1e-12
        ),
    )


def _occluded() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    weight, frames = draw.normal(size=(3, 24)), draw.normal(size=(5, 6, 4))
    found = occlude(lambda x: x.reshape(len(x), -1).astype(np.float64) @ weight.T, frames, patch=1, stride=1, fill=0.0)
    return distance(found.heat.sum(axis=(1, 2)), (frames.reshape(5, -1) @ weight.T).max(axis=1))


def _mapped() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    maps, weight, bias = draw.normal(size=(5, 3, 4, 6)), draw.normal(size=6), 0.7
    return distance(class_map(maps, weight).mean(axis=(1, 2)) + bias, maps.mean(axis=(1, 2)) @ weight + bias)


def _recall() -> tuple[float, float]:
    y = np.array([1, 1, 1, 1, 0, 0, 1, 1, 0, 0])
    predicted = np.array([1, 1, 1, 0, 0, 1, 1, 0, 0, 0])
    found = group_fairness(y, predicted, np.repeat(["a", "b"], [6, 4]), draws=0)
    (part,) = (one for one in found.classes if str(one.label) == "1")
    return 0.25, part.equal_opportunity.difference
