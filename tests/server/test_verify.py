"""What `acclimate verify` checks: every identity holds, and the mistakes found in other libraries would be seen."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("sklearn", reason="acclimate[verify] is not installed")

import torch

from acclimate.edge.choice.logme import log_evidence
from acclimate.edge.transfer import domain_classifier, kliep
from acclimate.edge.transfer.mmd import Gaussians, unbiased
from acclimate.errors import InputError
from acclimate.server.transfer import tradaboost
from acclimate.server.transfer.coral_loss import coral_loss
from acclimate.server.verify import by_feature, by_model, identities, losses, run_checks, source_choice
from acclimate.server.verify.check import Check, distance, published

pytestmark = pytest.mark.needs_torch
Float64 = NDArray[np.float64]


def test_every_identity_holds() -> None:
    """All of them, in the order given, with progress told after each."""
    told: list[tuple[int, int]] = []
    checks = identities()
    outcomes = run_checks(checks, lambda done, total: told.append((done, total)))
    assert [f"{one.check.method}: {one.check.claim} {one.shown} {one.note}" for one in outcomes if not one.holds] == []
    assert [one.check for one in outcomes] == list(checks)
    assert told == [(i + 1, len(checks)) for i in range(len(checks))]


def test_claims_are_told_apart() -> None:
    """No two checks of one method claim the same, and each names where it comes from."""
    names = [(one.method, one.claim) for one in identities()]
    assert len(set(names)) == len(names)
    assert all(one.source for one in identities())


def _non_symmetric(source: Float64, target: Float64, count: int, *, mu: float) -> Any:
    _, centring, contrast, kernel = by_feature._problem()
    a, b = kernel @ centring @ kernel, kernel @ contrast @ kernel + mu * np.eye(len(kernel))
    values, vectors = np.linalg.eigh(np.linalg.solve(b, a))
    return SimpleNamespace(values=values[::-1][:count], coefficients=vectors[:, ::-1][:, :count])


def _log_evidence_without_a_term(x: Float64, y: Float64) -> Float64:
    from sklearn.linear_model import BayesianRidge

    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    fitted = BayesianRidge(max_iter=20_000, tol=1e-14, fit_intercept=False, **flat).fit(x, y)
    missing = max(x.shape[1] - len(x), 0) * np.log(fitted.lambda_) / 2
    return np.array([log_evidence(x, y)[0] + missing / len(x)])


def _batch_fisher(model: torch.nn.Linear, x: torch.Tensor, y: torch.Tensor, block: int = 16) -> Any:
    parts = []
    for start in range(0, len(x), block):
        loss = torch.nn.functional.cross_entropy(model(x[start : start + block]), y[start : start + block])
        parts.append(torch.autograd.grad(loss, model.weight)[0].square())
    return {"weight": torch.stack(parts).mean(dim=0)}


def _unmoved(at_target: Float64, mean: Float64) -> Float64:
    coefficient = np.full(len(mean), 1.0)
    return coefficient / float(mean @ coefficient)


ratio = domain_classifier.ratio
# What methods.md says of other libraries: the method, where it is replaced, and by what.
DEFECTS: dict[str, tuple[Any, str, Callable[..., Any], str]] = {
    "inverted importance weights": (
        domain_classifier,
        "ratio",
        lambda odds, n, m: 1 / ratio(odds, n, m),
        "classifier weights",
    ),
    "KLIEP that never moves": (kliep, "fit", _unmoved, "KLIEP"),
    "a symmetric solver for TCA's product": (by_feature, "transfer_components", _non_symmetric, "TCA"),
    "TrAdaBoost's beta = e / (2 - e)": (
        tradaboost,
        "_vote",
        lambda error, guess, least: float(np.log((2 - error) / error) + np.log(guess / (1 - guess))),
        "TrAdaBoost",
    ),
    "LogME without the term of n < d": (source_choice, "log_evidence", _log_evidence_without_a_term, "LogME"),
    "MMD with the constant 2 / (n - 1)": (
        by_feature,
        "unbiased",
        lambda a, b, kernel=None: unbiased(a, b, kernel) + 2 / (len(a) - 1),
        "MMD",
    ),
    "a kernel of the distance, not squared": (
        Gaussians,
        "_of",
        lambda self, square: np.mean([np.exp(-np.sqrt(square) / s) for s in self.bandwidths], axis=0),
        "MMD",
    ),
    "CORAL loss with means mixed in": (
        losses,
        "coral_loss",
        lambda a, b: coral_loss(a, b) + (a.mean(0) - b.mean(0)).square().sum(),
        "CORAL loss",
    ),
    "EWC's Fisher of batch means": (by_model, "fisher_diagonal", _batch_fisher, "EWC"),
    "DANN's schedule with alpha = 1": (losses, "ramp", lambda p: 2 / (1 + torch.exp(-p)) - 1, "DANN"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_of_other_libraries_are_seen(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mistake in place of the method, a check of that method is off."""
    place, name, wrong, method = DEFECTS[defect]
    monkeypatch.setattr(place, name, wrong)
    outcomes = run_checks([one for one in identities() if one.method == method])
    assert any(not one.holds for one in outcomes)


def test_values_that_are_off_do_not_hold() -> None:
    """Beyond the tolerance, in a printed digit, not a number, of another shape, or refused by the method."""

    def refuse() -> tuple[float, float]:
        raise InputError("expected this, found that")

    def singular() -> tuple[float, float]:
        np.linalg.inv(np.zeros((2, 2)))
        raise AssertionError("an inverse of zeros")

    cases = [
        (Check("a", "b", "c", lambda: (1.0, 1.05), 0.1), True),
        (Check("a", "b", "c", lambda: (1.0, 1.2), 0.1), False),
        (Check("a", "b", "c", lambda: (1.0, float("nan")), 0.1), False),
        (Check("a", "b", "c", lambda: distance(np.ones(2), np.ones(3)), 0.1), False),
        (Check("a", "b", "c", refuse), False),
        (Check("a", "b", "c", singular), False),
        (published("a", "b", "c", "23.70", lambda: 23.6951), True),
        (published("a", "b", "c", "23.70", lambda: 23.7051), False),
        (published("a", "b", "c", "52.1", lambda: 52.05001), True),
    ]
    outcomes = run_checks([check for check, _ in cases])
    assert [one.holds for one in outcomes] == [holds for _, holds in cases]
    assert outcomes[4].note == "expected this, found that"
    assert outcomes[5].note.startswith("LinAlgError: ")
    assert outcomes[4].to_dict()["found"] is None
    assert outcomes[6].shown == ("23.70", "23.70", "as printed")
