"""What is known of low-rank adapters: nothing at first, their rank, and what becomes of them when they are merged."""

import copy
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ..transfer.lora import Adapters, add_adapters
from .check import Check

_HU = "Hu et al. 2022"
_RANK, _ALPHA = 2, 6


def adapter_identities() -> tuple[Check, ...]:
    """Return the checks; none where PEFT, which makes the adapters, is not installed."""
    if not has_peft():
        return ()
    return (
        Check("LoRA", "adapters give 0 at first", _HU, _start),
        Check("LoRA", "the update has the rank asked for", _HU, _rank),
        Check("LoRA", "merged: W + (alpha / r) B A", _HU, _update, 1e-12),
        Check("LoRA", "the merged model answers as the adapted one", _HU, _merged, 1e-12),
    )


def has_peft() -> bool:
    """Return whether PEFT, an optional package, is installed."""
    return find_spec("peft") is not None


def _net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()


def _x() -> Tensor:
    return torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _adapted(*, trained: bool) -> tuple[nn.Module, Adapters]:
    """Return a network with adapters in its first two layers, trained: moved by random steps."""
    net = _net()
    adapters = add_adapters(net, rank=_RANK, alpha=_ALPHA, head=["4"])
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in net.named_parameters() if trained else ():
            if "lora_" in name:
                parameter.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=draw))
    return net, adapters


def _states() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the state before, that with trained adapters, and the merged one."""
    net, adapters = _adapted(trained=True)
    state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    return _net().state_dict(), state, adapters.merged(copy.copy(state))


def _start() -> tuple[float, float]:
    return 0.0, _apart(_adapted(trained=False)[0](_x()), _net()(_x()))


def _rank() -> tuple[float, float]:
    before, _, merged = _states()
    return _RANK, float(torch.linalg.matrix_rank(merged["0.weight"] - before["0.weight"], rtol=1e-9))


def _update() -> tuple[float, float]:
    before, state, merged = _states()
    down, up = (state[f"2.lora_{side}.default.weight"] for side in "AB")
    return 0.0, _apart(merged["2.weight"], before["2.weight"] + _ALPHA / _RANK * up @ down)


def _merged() -> tuple[float, float]:
    plain = _net()
    plain.load_state_dict(_states()[2])
    return 0.0, _apart(plain(_x()), _adapted(trained=True)[0](_x()))


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max())
