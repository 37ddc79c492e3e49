"""Factorise linear layers: a wide one becomes two narrow ones, as narrow as the data allows."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...errors import InputError
from .given import checked_batches
from .hold_ranges import require_no_ranges


@dataclass(frozen=True)
class Factorised:
    """What became of one layer.

    Args:
        name: Its name.
        rank: Width between the two factors, or that of the layer where it stays whole.
        error: Root mean square error of what it returns, as a share of the spread of that; 0 where it stays whole.
        parameters: Number of its parameters before and after.
        whole: Whether it stays as it is, since two factors of this rank would not be smaller.
    """

    name: str
    rank: int
    error: float
    parameters: tuple[int, int]
    whole: bool


@dataclass(frozen=True)
class LowRankReport:
    """What factorising did.

    Args:
        layers: What became of each layer that was named.
        parameters: Number of parameters of the model before and after.
    """

    layers: tuple[Factorised, ...]
    parameters: tuple[int, int]


def low_rank(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    error: float = 0.05,
    layers: Sequence[str] | None = None,
) -> tuple[nn.Module, LowRankReport]:
    """Factorise linear layers of a copy of a model, each by the least rank that keeps a given error on data.

    Of all matrices of its rank, the product of the factors comes closest to what the layer returns on these samples
    (`best_rank`), which the decomposition of the weights alone does not. A layer ``name`` becomes ``name.0`` and
    ``name.1``, the first without bias.

    Args:
        model: The model. It is not changed.
        batches: ``(n, ...) float32`` each, as the model takes them.
        error: Most root mean square error of what a layer returns, as a share of the spread of that, 0 to 1. Errors of
            several layers add up.
        layers: Names of the layers, each an ``nn.Linear``; the last of the model where None.

    Returns:
        The model in evaluation mode, and what was done.

    Raises:
        InputError: If a layer is none, is not reached, or an argument does not fit.
    """
    if not 0 <= error < 1:
        raise InputError(f"expected an error from 0 to below 1, found {error}. 0.05 is usual.")
    batches = checked_batches(model, batches)
    require_no_ranges(model, "factorise it")
    result = copy.deepcopy(model).eval()
    moments = _watch(result, batches, _find(result, layers))
    before = sum(parameter.numel() for parameter in result.parameters())
    reports = []
    for name, moment in moments.items():
        layer = result.get_submodule(name)
        assert isinstance(layer, nn.Linear)  # noqa: S101  looked for
        basis, found = best_rank(moment.covariance(), error)
        # More than the inputs' width cannot come out.
        rank, size = min(basis.shape[1], layer.in_features), _size(layer)
        smaller = rank * (layer.in_features + layer.out_features) + layer.out_features
        if smaller >= size:
            whole = min(layer.in_features, layer.out_features)
            reports.append(Factorised(name, whole, 0.0, (size, size), whole=True))
            continue
        result.set_submodule(name, _factors(layer, basis[:, :rank], moment.mean))
        reports.append(Factorised(name, rank, found, (size, smaller), whole=False))
    after = sum(parameter.numel() for parameter in result.parameters())
    return result, LowRankReport(tuple(reports), (before, after))


def best_rank(covariance: Tensor, error: float) -> tuple[Tensor, float]:
    """Return the directions that hold all but a share of a layer's results.

    With the results ``y = W x + b`` of covariance C, no matrix of rank r comes closer to them, after the best bias,
    than the projection on the r first eigenvectors U of C: what remains is the sum of the other eigenvalues (Eckart
    and Young 1936, applied to W times the root of the inputs' covariance). The factors are U and Uᵀ W.

    Args:
        covariance: ``(k, k) float64`` of what the layer returns.
        error: Most root mean square error, as a share of the spread.

    Returns:
        U ``(k, r) float64`` of the least r, at least 1, that keeps the error; and the error it makes.
    """
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = float(values.sum())
    if total == 0:
        return vectors[:, :1], 0.0
    rest = (values.flip(0).cumsum(0).flip(0) - values) / total
    # Rounding must not ask for a direction in which nothing happens.
    rank = int((rest > error**2 + 1e-12).sum()) + 1
    return vectors[:, :rank], math.sqrt(max(float(rest[rank - 1]), 0.0))


@dataclass
class _Moment:
    """Mean and covariance of what a layer returns, added up in float64 about the first batch's mean."""

    count: int = 0
    origin: Tensor = field(default_factory=lambda: torch.zeros(0))
    total: Tensor = field(default_factory=lambda: torch.zeros(0))
    squares: Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, y: Tensor) -> None:
        y = y.detach().reshape(-1, y.shape[-1]).double()
        if not self.count:
            self.origin = y.mean(0)
            self.total, self.squares = torch.zeros_like(self.origin), y.new_zeros(y.shape[1], y.shape[1])
        y = y - self.origin
        self.count += len(y)
        self.total += y.sum(0)
        self.squares += y.T @ y

    @property
    def mean(self) -> Tensor:
        return self.origin + self.total / self.count

    def covariance(self) -> Tensor:
        mean = self.total / self.count
        return self.squares / self.count - torch.outer(mean, mean)


def _find(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear and name]
    if layers is None:
        layers = linear[-1:]
    there = f"There are: {', '.join(linear[-20:]) or 'none'}."
    if not layers:
        raise InputError(f"expected the names of linear layers of {type(model).__name__}, found none. {there}")
    unknown = [name for name in layers if name not in linear]
    if unknown:
        raise InputError(f"expected names of linear layers of {type(model).__name__}, found {unknown[0]!r}. {there}")
    return list(dict.fromkeys(layers))


@torch.no_grad()
def _watch(model: nn.Module, batches: Iterable[Tensor], names: Sequence[str]) -> dict[str, _Moment]:
    moments = {name: _Moment() for name in names}

    def taking(moment: _Moment) -> object:
        return lambda module, args, output: moment.add(output)

    handles = [model.get_submodule(name).register_forward_hook(taking(moments[name])) for name in names]  # type: ignore[arg-type]
    try:
        for x in batches:
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    for name, moment in moments.items():
        if moment.count < 2 or not bool(torch.isfinite(moment.squares).all()):
            raise InputError(
                f"expected finite results of {name!r} for two samples or more, found {moment.count} rows. "
                f"Give batches, and layers that they pass through."
            )
    return moments


@torch.no_grad()
def _factors(layer: nn.Linear, basis: Tensor, mean: Tensor) -> nn.Sequential:
    weight, dtype = layer.weight.double(), layer.weight.dtype
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias.double()
    first = nn.Linear(layer.in_features, basis.shape[1], bias=False, device=weight.device, dtype=dtype)
    second = nn.Linear(basis.shape[1], layer.out_features, device=weight.device, dtype=dtype)
    first.weight.copy_(basis.T @ weight)
    second.weight.copy_(basis)
    # y = U Uᵀ (W x) + c, exact where W x is at its mean.
    second.bias.copy_(mean - basis @ (basis.T @ (mean - bias)))
    return nn.Sequential(first, second)


def _size(layer: nn.Linear) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
