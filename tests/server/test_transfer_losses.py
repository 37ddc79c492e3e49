"""Losses that align domains: each against numpy, a closed form, or the mistakes that others make in it."""

import math
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor

from acclimate.edge.transfer.joint_mmd import joint_mmd as numpy_joint
from acclimate.edge.transfer.kernels import median_bandwidth
from acclimate.edge.transfer.mmd import Gaussians, biased, unbiased
from acclimate.errors import InputError
from acclimate.server.transfer.adversarial import (
    DomainClassifier,
    domain_loss,
    gaussian_a_distance,
    proxy_a_distance,
    ramp,
    reversed_gradient,
)
from acclimate.server.transfer.coral_loss import Coral, coral_loss
from acclimate.server.transfer.discrepancy import MultiKernelMMD, gaussian_mean, median_distance, mmd
from acclimate.server.transfer.joint import JointMMD, joint_mmd

pytestmark = pytest.mark.needs_torch
_WIDTHS = (0.5, 1.0, 3.0)


def _pair(n: int = 20, m: int = 33, d: int = 5, shift: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return source, torch.randn(m, d, generator=generator, dtype=torch.float64) + shift


@pytest.mark.parametrize(("n", "m"), [(20, 33), (33, 20), (2, 5), (16, 16)])
def test_mmd_is_that_of_numpy(n: int, m: int) -> None:
    """Biased and unbiased, with given bandwidths and with those around the median, for any numbers of samples."""
    source, target = _pair(n, m)
    a, b = source.numpy(), target.numpy()
    kernel = Gaussians(_WIDTHS)
    assert float(mmd(source, target, _WIDTHS)) == pytest.approx(unbiased(a, b, kernel), abs=1e-12)
    assert float(mmd(source, target, _WIDTHS, unbiased=False)) == pytest.approx(biased(a, b, kernel), abs=1e-12)
    assert float(median_distance(source, target)) == pytest.approx(median_bandwidth(a, b), rel=1e-12)
    assert float(MultiKernelMMD()(source, target)) == pytest.approx(unbiased(a, b), abs=1e-12)


def test_mmd_of_two_gaussians_is_its_closed_form() -> None:
    """N(0, I) and N(m, I), one kernel: 2 (s²/(s²+2))^(d/2) (1 - exp(-|m|²/(2 (s²+2)))), within five errors."""
    d, width, shift = 3, 1.5, 0.8
    found = [float(mmd(*_pair(300, 200, d, shift, seed), [width])) for seed in range(20)]
    scale = width**2 + 2
    expected = 2 * (width**2 / scale) ** (d / 2) * (1 - math.exp(-d * shift**2 / (2 * scale)))
    assert abs(np.mean(found) - expected) < 5 * np.std(found) / math.sqrt(len(found))


def test_mmd_has_no_constant_2_over_n_minus_1_and_takes_unequal_batches() -> None:
    """The mistake of others: of samples of one distribution the mean over draws is 0, not 2 / (n - 1)."""
    n = 8
    found = [float(mmd(*_pair(n, 21, 4, 0.0, seed), [1.5])) for seed in range(400)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error < 0.5 * 2 / (n - 1)


def test_dan_kernel_takes_squared_distances() -> None:
    """The mistake of others: exp(-d / s). It is exp(-d² / (2 s²)), the mean of several bandwidths."""
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    expected = np.mean([math.exp(-25 / (2 * width**2)) for width in (2.0, 5.0)])
    assert float(gaussian_mean(rows, [2.0, 5.0])[0, 1]) == pytest.approx(expected, rel=1e-12)
    # A kernel of unsquared distances has a kink at 0: this gradient would be infinite or 1 / s, not 0.
    rows = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(gaussian_mean(rows, [1.0])[0, 1], rows)
    assert torch.equal(gradient, torch.zeros(2, 2, dtype=torch.float64))


def test_alike_rows_have_no_distance_and_no_broken_gradient() -> None:
    """A constant layer: the median falls back to 1, the loss is 0 and its gradient finite."""
    source, target = torch.ones(4, 3, requires_grad=True), torch.ones(5, 3)
    loss = MultiKernelMMD()(source, target)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(median_distance(source.detach(), target)) == 1.0
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert source.grad is not None
    assert bool(source.grad.isfinite().all())


def test_joint_mmd_is_that_of_numpy_and_one_constant_layer_leaves_mmd() -> None:
    """With two layers numpy's; with a second layer that is always the same, or none, the MMD of the first."""
    source, target = _pair()
    layers = [source, source[:, :2].softmax(1)], [target, target[:, :2].softmax(1)]
    own, others = ([layer.numpy() for layer in side] for side in layers)
    assert float(JointMMD()(*layers)) == pytest.approx(numpy_joint(own, others), abs=1e-12)
    expected = float(mmd(source, target, _WIDTHS))
    constant = torch.ones(20, 4, dtype=torch.float64), torch.ones(33, 4, dtype=torch.float64)
    for first, second, widths in (
        ([source], [target], [_WIDTHS]),
        ([source, constant[0]], [target, constant[1]], [_WIDTHS, (1.0,)]),
    ):
        assert float(joint_mmd(first, second, widths)) == pytest.approx(expected, abs=1e-12)
    assert float(JointMMD()([source, constant[0]], [target, constant[1]])) == pytest.approx(
        float(MultiKernelMMD()(source, target)), abs=1e-12
    )


def test_coral_loss_is_that_of_numpy_and_means_are_no_part_of_it() -> None:
    """The mistake of others mixes mean differences in: moved as a whole, a sample is as near as before."""
    source, target = _pair()
    difference = np.cov(source.numpy(), rowvar=False) - np.cov(target.numpy(), rowvar=False)
    expected = (difference**2).sum() / (4 * 5**2)
    assert float(coral_loss(source, target)) == pytest.approx(expected, rel=1e-12)
    assert float(Coral()(source + 100, target)) == pytest.approx(expected, rel=1e-9)
    assert float(coral_loss(source, source - 7)) == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("loss", [MultiKernelMMD((1.0,)), Coral(), lambda a, b: joint_mmd([a], [b], [(1.3,)])])
def test_gradients_are_finite_differences(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Of both samples; the median that bandwidths follow from is held, as no gradient passes through it."""
    source, target = (rows.requires_grad_() for rows in _pair(4, 6, 3))
    width = float(median_distance(source, target))

    def held(a: Tensor, b: Tensor) -> Tensor:
        return mmd(a, b, [width]) if isinstance(loss, MultiKernelMMD) else loss(a, b)

    assert torch.autograd.gradcheck(held, (source, target))
    gradients = [torch.autograd.grad(one(source, target), source)[0] for one in (held, loss)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)


def test_a_reversed_gradient_is_minus_the_weight_times_the_plain_one() -> None:
    """Forward nothing changes; the domain classifier behind it learns as without."""
    torch.manual_seed(0)
    features, domains = torch.randn(12, 4, dtype=torch.float64, requires_grad=True), torch.arange(12) % 2
    net = DomainClassifier(4, 8).double()

    def gradients(weight: float | None) -> tuple[Tensor, ...]:
        seen = features if weight is None else reversed_gradient(features, features.new_tensor(weight))
        return torch.autograd.grad(domain_loss(net(seen), domains), (features, *net.parameters()))

    plain, reverse, none = gradients(None), gradients(0.7), gradients(0.0)
    torch.testing.assert_close(reverse[0], -0.7 * plain[0], rtol=1e-12, atol=0)
    assert torch.equal(none[0], torch.zeros_like(none[0]))
    for own, other in zip(plain[1:], reverse[1:], strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_dann_schedule_is_steep_not_alpha_1() -> None:
    """The mistake of others, 2 / (1 + exp(-p)) - 1, ends at .46; with 10 it is 0 at first and nearly 1 from half on."""
    p = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(ramp(p), 2 / (1 + torch.exp(-10 * p)) - 1, rtol=1e-12, atol=1e-15)
    assert float(ramp(p)[0]) == 0
    assert float(ramp(p)[5]) > 0.98


def test_source_and_target_have_half_of_the_domain_loss_each_whatever_their_numbers() -> None:
    """By hand; two sources count alike, and one that is not in the batch has no part."""
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-1.0, 3.0], [0.2, 0.4], [1.0, 1.0]], dtype=torch.float64)
    domains = torch.tensor([1, 1, 2, 0, 0])
    told = -torch.log(torch.sigmoid(logits)), -torch.log(torch.sigmoid(-logits))
    first = (told[0][:2, 0].mean() + told[1][3:, 0].mean()) / 2
    second = (told[0][2, 1] + told[1][3:, 1].mean()) / 2
    torch.testing.assert_close(domain_loss(logits, domains), (first + second) / 2)
    torch.testing.assert_close(domain_loss(logits[[0, 1, 3, 4]], domains[[0, 1, 3, 4]]), first)
    assert float(domain_loss(torch.zeros(4, 1), torch.tensor([1, 0, 0, 0]))) == pytest.approx(math.log(2))


def test_the_domain_classifier_finds_the_a_distance_of_two_gaussians() -> None:
    """N(0, I) and N(m, I) are told apart with error Phi(-|m|/2): 2 (1 - 2 Phi(-|m|/2)), within .08."""
    shift, d = 1.6, 4
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6000, d, generator=generator)
    domains = torch.arange(6000) % 2
    rows[domains == 0] += shift / math.sqrt(d)
    net = DomainClassifier(d, 16)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        domain_loss(net(rows[:3000]), domains[:3000]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        error = float(((net(rows[3000:])[:, 0] > 0).long() != domains[3000:]).double().mean())
    assert proxy_a_distance(error) == pytest.approx(gaussian_a_distance(shift), abs=0.08)
    assert (proxy_a_distance(0.5), proxy_a_distance(0.7), proxy_a_distance(0.0)) == (0, 0, 2)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2), r"expected features \(n, d\)"),
        (torch.zeros(4, 3, 2), torch.zeros(4, 3, 2), r"expected features \(n, d\)"),
        (torch.zeros(1, 3), torch.zeros(4, 3), "two samples or more"),
    ],
)
def test_samples_that_do_not_fit_are_refused(source: Tensor, target: Tensor, message: str) -> None:
    """Other widths, maps instead of vectors, and a single sample."""
    for loss in (MultiKernelMMD(), Coral(), lambda a, b: JointMMD()([a], [b])):
        with pytest.raises(InputError, match=message):
            loss(source, target)
    with pytest.raises(InputError, match="one layer or more"):
        joint_mmd([], [], [])
    with pytest.raises(InputError, match="the same layers of source and target, found 2 and 1"):
        JointMMD()([torch.zeros(4, 3)] * 2, [torch.zeros(4, 3)])
