"""Compare a compiled tail with PyTorch's own forward pass and gradients, in double precision."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.nn import functional

from ...errors import ParityError
from ...tail_spec import Spec
from .capture import Captured

Float32 = NDArray[np.float32]
# Float32 against double, through a tail of a few layers; a rectifier may decide otherwise for a number next to 0.
MOST = 2e-3
_NOTHING = 1e-4


@dataclass(frozen=True)
class Difference:
    """How far a compiled tail is from PyTorch in double precision.

    Args:
        logits: Greatest absolute difference, as a share of the greatest logit.
        gradient: Greatest distance of a parameter's gradient, as a share of its length.
        parameter: The parameter where that is.
    """

    logits: float
    gradient: float
    parameter: str


def check(captured: Captured, spec: Spec, forward: bytes, step: bytes, maps: Tensor) -> Difference:
    """Run both models once on a batch, and compare.

    Args:
        captured: The tail, BatchNorm folded.
        spec: What the models take and give.
        forward: The forward pass.
        step: The training step.
        maps: ``(n, ...) float32``.

    Returns:
        The differences.

    Raises:
        ParityError: If one is greater than `MOST`.
    """
    n, k = len(maps), spec.classes
    generator = torch.Generator().manual_seed(0)
    target = functional.one_hot(torch.randint(k, (n,), generator=generator), k).float()
    weight = 0.5 + torch.rand(n, generator=generator)
    logits, gradients = _expected(captured, spec, maps, target, weight)
    feed: dict[str, Float32] = {f"parameter/{p.name}": captured.tensors[p.name].numpy() for p in spec.parameters}
    feed["map"] = maps.numpy()
    (found,) = _run(forward, ["logits"], {name: feed[name] for name in spec.forward_inputs})
    # Without momentum and at rate 1 the new value is the old one less the gradient; Adam's first mean is a share of it.
    scalars = {"learning_rate": 1.0, "momentum": 0.0, "beta1": 0.0, "beta2": 0.5, "step": 1.0}
    feed |= {name: np.array(scalars.get(name, 0.0), np.float32) for name in spec.scalars}
    feed |= {"target": target.numpy(), "sample_weight": weight.numpy()}
    for name in spec.step_inputs:
        kind, _, of = name.partition("/")
        if name not in feed:
            feed[name] = feed[f"parameter/{of}"] if kind == "reference" else np.zeros_like(feed[f"parameter/{of}"])
    kind = spec.state[0]
    names = [f"new_{kind}/{p.name}" for p in spec.parameters]
    moved = _run(step, names, {name: feed[name] for name in spec.step_inputs})
    # Rounding of float32 is in proportion to the greatest.
    floor = _NOTHING * max(_size(gradient) for gradient in gradients)
    off = [distance(a, b, floor) for a, b in zip(moved, gradients, strict=True)]
    worst = int(np.argmax(off))
    scale = float(np.abs(logits).max()) + 1e-12
    difference = Difference(float(np.abs(found - logits).max()) / scale, off[worst], spec.parameters[worst].name)
    if not (difference.logits <= MOST and difference.gradient <= MOST):
        raise ParityError(
            f"expected the compiled tail to compute what PyTorch does within {MOST:g}, found logits off by "
            f"{difference.logits:.2g} and the gradient of {difference.parameter!r} by {difference.gradient:.2g}. "
            f"Look for very large or very small activations at the cut, or cut elsewhere."
        )
    return difference


def _expected(
    captured: Captured, spec: Spec, maps: Tensor, target: Tensor, weight: Tensor
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    tensors = {n: t.double() if t.is_floating_point() else t for n, t in captured.tensors.items()}
    trained = [tensors[p.name].requires_grad_() for p in spec.parameters]
    graph = fx.GraphModule(torch.nn.Module(), captured.graph)
    placeholders = [node for node in captured.graph.nodes if node.op == "placeholder"]
    given = [maps.double() if node is captured.source else tensors[captured.names[node]] for node in placeholders]
    (logits,) = graph(*given)
    each = -(target * torch.log_softmax(logits, 1)).sum(1)
    loss = (each * weight).sum() / weight.sum()
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    zero = [torch.zeros_like(t) if g is None else g for t, g in zip(trained, gradients, strict=True)]
    return logits.detach().numpy(), [g.numpy() for g in zero]


def distance(found: Float32, expected: NDArray[np.float64], floor: float = 0.0) -> float:
    """Return how far a gradient is off, as a share of its size.

    Args:
        found: The gradient.
        expected: What it should be, of the same shape.
        floor: Root mean square below which sizes count as this: a gradient that is 0 but for rounding, like that of a
            bias in front of a softmax over positions, has no direction. At least 1e-6.
    """
    size = max(_size(expected), floor, 1e-6)
    return float(np.linalg.norm(found - expected) / (size * expected.size**0.5))


def _size(gradient: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(gradient) / gradient.size**0.5)


def _run(model: bytes, outputs: list[str], feed: dict[str, Float32]) -> list[Float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    taken = {given.name for given in session.get_inputs()}
    found: list[Float32] = session.run(outputs, {name: value for name, value in feed.items() if name in taken})
    return found
