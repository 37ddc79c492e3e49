"""What is known of alignment on a device without labels: maps folded into the head, mixes of classes, merged ones."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...edge.adaptation.shipped import Shipped
from ...edge.alignment.mixture import Mixture
from ...edge.alignment.space import head_space
from ...edge.alignment.ways import coral, fit_ways
from ...edge.statistics import SourceStatistics, Statistics
from ...edge.transfer.label_shift import estimate_prior
from ...latent import Codes, LatentCode
from .check import Check, distance

Float64 = NDArray[np.float64]
_D, _K, _STEP = 10, 3, 7


def alignment_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("alignment", "known map folded into the head: logits of what is mapped", "linear algebra", _mapped, 1e-4),
        Check("alignment", "all latents moved by a step: the logits of before", "linear algebra", _moved, 1e-4),
        Check("alignment", "CORAL: mapped covariance = the source's", "Sun, Feng and Saenko 2016", _covariance, 1e-4),
        Check("label shift", "corrected biases = Bayes' rule with the mix here", "Saerens et al. 2002", _bayes, 1e-12),
        Check("merged classes", "probability = the sum of the parts'", "probability", _merged, 1e-6),
    )


def _source() -> tuple[Shipped, Codes]:
    """Return a linear discriminant with statistics of its source, and the codes that they come from."""
    draw = np.random.default_rng(0)
    y = np.arange(300) % _K
    mean = 120 + 12 * draw.normal(size=(_K, _D))
    codes = np.clip(np.rint(mean[y] + draw.normal(size=(300, _D)) * np.linspace(4, 9, _D)), 0, 240).astype(np.uint8)
    code = LatentCode(np.full(_D, 0.02, np.float32), np.full(_D, -1.0, np.float32))
    weight, bias = draw.normal(size=(_K, _D)).astype(np.float32), draw.normal(size=_K).astype(np.float32)
    source = SourceStatistics.compress(Statistics.of(codes, y, _K))
    return Shipped(np.arange(_K), code, LinearLayer(weight, bias), source), codes


def _logits(layer: LinearLayer, codes: Float64, code: LatentCode) -> Float64:
    """Return logits less their mean, in float64; codes may lie between whole numbers."""
    latents = codes * code.scale.astype(np.float64) + code.offset
    found = latents @ layer.weight.T.astype(np.float64) + layer.bias
    centred: Float64 = found - found.mean(axis=1, keepdims=True)
    return centred


def _head(shipped: Shipped) -> LinearLayer:
    if shipped.head is None:
        raise AssertionError("the head is made above")
    return shipped.head


def _mapped() -> tuple[float, float]:
    shipped, codes = _source()
    space, draw = head_space(shipped), np.random.default_rng(1)
    u = space.of(codes)
    matrix, offset = np.eye(u.shape[1]) + 0.3 * draw.normal(size=(u.shape[1],) * 2), draw.normal(size=u.shape[1])
    folded = space.fold(space.weight @ matrix, space.bias + space.weight @ offset, shipped.code)
    # Codes whose coordinates are the mapped ones: the head as it was shipped answers for them.
    there = codes.astype(np.float64) + (u @ matrix.T + offset - u) @ np.linalg.pinv(space.projection).T
    here = _logits(folded, codes.astype(np.float64), shipped.code)
    return distance(here, _logits(_head(shipped), there, shipped.code))


def _moved() -> tuple[float, float]:
    shipped, codes = _source()
    space, moved = head_space(shipped), codes + np.uint8(_STEP)
    way = fit_ways(space, space.of(moved))["shift"]
    folded = space.fold(way.weight, way.bias, shipped.code)
    before = _logits(_head(shipped), codes.astype(np.float64), shipped.code)
    return distance(_logits(folded, moved.astype(np.float64), shipped.code), before)


def _covariance() -> tuple[float, float]:
    # Of so many samples the covariance is drawn to the source's by 2 in 100,002.
    draw, prior = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    home = Mixture(draw.normal(size=(3, 2)), prior)
    few = draw.normal(size=(50, 2)) @ [[2.0, 0.5], [0.0, 0.7]]
    u = np.tile(few, (2_000, 1))
    matrix, offset = coral(u, home, prior)
    mean = prior @ home.mean
    wanted = np.eye(2) + sum(p * np.outer(one - mean, one - mean) for p, one in zip(prior, home.mean, strict=True))
    return distance(np.cov((few @ matrix.T + offset).T, bias=True), wanted)


def _bayes() -> tuple[float, float]:
    from scipy.special import softmax
    from scipy.stats import norm

    draw, home = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    x = draw.normal(size=200) + 2.0 * draw.choice(3, 200, p=[0.1, 0.2, 0.7])
    likely = norm.pdf(x[:, None], loc=2.0 * np.arange(3))
    posteriors = likely * home / (likely @ home)[:, None]
    # Logits of these Gaussians are linear in x.
    slope = 2.0 * np.arange(3)
    bias = np.log(home) - slope**2 / 2
    found = estimate_prior(posteriors, home)
    corrected = softmax(x[:, None] * slope + found.correct(bias), axis=1)
    expected = likely * found.prior
    return distance(corrected, expected / expected.sum(axis=1, keepdims=True))


def _merged() -> tuple[float, float]:
    shipped, codes = _source()
    latents = shipped.code.decode(codes)
    whole, merged = shipped.predictor(), replace(shipped, classes=np.array([0, 1, 0])).predictor()
    if whole is None or merged is None:
        raise AssertionError("there is a head")
    parts = whole.probabilities(latents)
    return distance(merged.probabilities(latents), np.stack([parts[:, 0] + parts[:, 2], parts[:, 1]], axis=1))
