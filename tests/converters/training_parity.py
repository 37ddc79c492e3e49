"""What the tests of compiled training share: runs of the compiled step, and the same steps in PyTorch."""

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from acclimate.converters.training import CompiledTail

Float32 = NDArray[np.float32]


class Steps:
    """A device that trains: holds the tensors, and runs the step as the spec says, with names and orders from it."""

    def __init__(self, compiled: CompiledTail, fisher: Mapping[str, Float32] | None = None) -> None:
        self.spec = compiled.spec
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._step = onnxruntime.InferenceSession(compiled.step, options)
        self._forward = onnxruntime.InferenceSession(compiled.forward, options)
        self.values: dict[str, Float32] = {}
        for name, value in compiled.initial.items():
            self.values |= {f"parameter/{name}": value, f"reference/{name}": value}
            self.values |= {f"{kind}/{name}": np.zeros_like(value) for kind in self.spec.state}
        for name, value in (fisher or {}).items():
            self.values[f"fisher/{name}"] = value

    def step(self, maps: Float32, target: Float32, weight: Float32, scalars: Mapping[str, float]) -> float:
        """Make one step, and return the loss before it."""
        given = {"map": maps, "target": target, "sample_weight": weight}
        given |= {name: np.array(value, np.float32) for name, value in scalars.items()}
        feed = {name: given.get(name, self.values.get(name)) for name in self.spec.step_inputs}
        found = dict(zip(self.spec.step_outputs, self._step.run(list(self.spec.step_outputs), feed), strict=True))
        self.values |= {n.removeprefix("new_"): value for n, value in found.items() if n.startswith("new_")}
        return float(found["loss"])

    def logits(self, maps: Float32) -> Float32:
        """Run the forward pass."""
        feed = {name: maps if name == "map" else self.values[name] for name in self.spec.forward_inputs}
        found: Float32 = self._forward.run(["logits"], feed)[0]
        return found


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm statistics and parameters as training leaves them, and set evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter == 1).float())
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module.eval()


def folded(tail: nn.Module) -> nn.Module:
    """Fold BatchNorm in `nn.Sequential` containers as PyTorch's own functions do, under the layers' names."""
    tail = copy.deepcopy(tail).eval()
    for container in [m for m in tail.modules() if isinstance(m, nn.Sequential)]:
        names = list(container._modules)
        for before, after in pairwise(names):
            layer, norm = container[int(before)], container[int(after)]
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and isinstance(
                layer, nn.Conv1d | nn.Conv2d | nn.Linear
            ):
                fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
                container._modules[before] = fuse(layer, norm)
                container._modules[after] = nn.Identity()
    return tail


def torch_losses(
    tail: nn.Module, compiled: CompiledTail, maps: Tensor, target: Float32, weight: Float32, steps: int
) -> list[float]:
    """Make the same steps of gradient descent in PyTorch: on the folded tail, or step by step on its own graph."""
    module = folded(tail)
    if isinstance(module, nn.Module) and _has_other_norms(module):
        module = _fold_attributes(module)
    trained = [p for n, p in module.named_parameters() if n in compiled.initial]
    assert len(trained) == len(compiled.initial)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    losses = []
    goal, share = torch.from_numpy(target), torch.from_numpy(weight)
    for _ in range(steps):
        optimiser.zero_grad()
        each = nn.functional.cross_entropy(module(maps), goal, reduction="none")
        loss = (each * share).sum() / share.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def _has_other_norms(module: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


def _fold_attributes(module: nn.Module) -> nn.Module:
    """Fold pairs that are attributes `x` and `xn` of a block, as the tests' blocks name them."""
    for block in list(module.modules()):
        for name in [n for n in block._modules if f"{n}n" in block._modules]:
            norm = block._modules[f"{name}n"]
            if isinstance(norm, nn.BatchNorm2d):
                block._modules[name] = fuse_conv_bn_eval(cast(nn.Conv2d, block._modules[name]), norm)
                block._modules[f"{name}n"] = nn.Identity()
    return module
