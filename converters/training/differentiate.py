"""Differentiate a tail: one training step, and the forward pass, as graphs of plain operations on named inputs."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx.traceback
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from ...errors import ConversionError
from .capture import Captured
from .decompose import decompositions
from .layout import Constants
from .lower import run
from .objective import Penalty, cross_entropy, pull
from .optimiser import SCALARS, STATE, Optimiser, update

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Program:
    """A graph with named inputs and outputs.

    Args:
        graph: Functional ATen operations; placeholders in the order of `inputs` and then of `constants`.
        inputs: Names of the inputs.
        constants: Values of the inputs that are known at conversion.
        outputs: Names of the outputs.
    """

    graph: fx.Graph
    inputs: tuple[str, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a step trains, and how.

    Args:
        train: Names of the tensors that train.
        optimiser: Which update.
        penalty: Which distance from the shipped weights counts.
    """

    train: tuple[str, ...]
    optimiser: Optimiser
    penalty: Penalty

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the scalar inputs."""
        return SCALARS[self.optimiser] + (() if self.penalty == "none" else ("strength",))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is given for every tensor that trains, beside the tensor."""
        more = {"none": (), "l2sp": ("reference",), "ewc": ("reference", "fisher")}[self.penalty]
        return (*STATE[self.optimiser], *more)


def differentiate(captured: Captured, plan: Plan, maps: Tensor, classes: int) -> Program:
    """Return one training step.

    Args:
        captured: The tail, BatchNorm folded.
        plan: What trains, and how.
        maps: ``(n, ...) float32``, a batch at the cut.
        classes: Number of logits.

    Returns:
        The step: from batch, scalars, tensors and state to losses, new tensors and new state.
    """
    state = STATE[plan.optimiser]

    def step(given: Tensors, frozen: Tensors, constants: Constants) -> Tensors:
        tensors = {name: given[f"parameter/{name}"] for name in plan.train}

        def objective(trained: Tensors) -> Tensor:
            logits = run(captured, {**frozen, **trained}, given["map"], constants)
            return cross_entropy(logits, given["target"], given["sample_weight"])

        gradients, data_loss = torch.func.grad_and_value(objective)(tensors)
        scalars = {name: given[name] for name in plan.scalars}
        extra = {
            kind: {name: given[f"{kind}/{name}"] for name in plan.train} for kind in plan.kinds if kind not in state
        }
        strength = scalars.get("strength", data_loss)
        penalty, force = pull(plan.penalty, strength, tensors, extra.get("reference", {}), extra.get("fisher", {}))
        found = {"loss": data_loss} if plan.penalty == "none" else {"loss": data_loss + penalty, "data_loss": data_loss}
        for name in plan.train:
            gradient = gradients[name] + force[name] if name in force else gradients[name]
            own = {kind: given[f"{kind}/{name}"] for kind in state}
            new, moved = update(plan.optimiser, tensors[name], gradient, own, scalars)
            found[f"new_parameter/{name}"] = new
            found |= {f"new_{kind}/{name}": value for kind, value in moved.items()}
        return found

    n, one = len(maps), torch.ones(())
    inputs = {"map": maps, "target": torch.ones(n, classes), "sample_weight": torch.ones(n)}
    inputs |= dict.fromkeys(plan.scalars, one)
    for kind in ("parameter", *plan.kinds):
        inputs |= {f"{kind}/{name}": captured.tensors[name] for name in plan.train}
    return _trace(step, inputs, captured, plan.train)


def forward(captured: Captured, plan: Plan, maps: Tensor) -> Program:
    """Return the forward pass: from a batch and the tensors that train to the logits."""

    def infer(given: Tensors, frozen: Tensors, constants: Constants) -> Tensors:
        tensors = {name: given[f"parameter/{name}"] for name in plan.train}
        return {"logits": run(captured, {**frozen, **tensors}, given["map"], constants)}

    inputs = {"map": maps} | {f"parameter/{name}": captured.tensors[name] for name in plan.train}
    return _trace(infer, inputs, captured, plan.train)


def _trace(
    function: Callable[[Tensors, Tensors, Constants], Tensors],
    inputs: Tensors,
    captured: Captured,
    train: Sequence[str],
) -> Program:
    frozen = {name: value for name, value in captured.tensors.items() if name not in set(train)}
    constants = Constants()
    # A run on numbers finds out which constants there are.
    with torch.no_grad():
        run(captured, captured.tensors, inputs["map"], constants)
    outputs: list[str] = []
    keys: list[Hashable] = list(constants.made)
    fixed = [*frozen.values(), *(torch.from_numpy(constants.made[key]) for key in keys)]

    def flat(*tensors: Tensor) -> list[Tensor]:
        named = dict(zip(inputs, tensors, strict=False))
        rest = tensors[len(inputs) :]
        known: Mapping[Hashable, Tensor] = dict(zip(keys, rest[len(frozen) :], strict=True))
        found = function(named, dict(zip(frozen, rest, strict=False)), Constants(given=known))
        outputs[:] = found
        return list(found.values())

    mode = FakeTensorMode(shape_env=ShapeEnv())
    batch = {"map", "target", "sample_weight"}
    fakes = [_fake(mode, value, name in batch) for name, value in inputs.items()]
    fakes += [_fake(mode, value, free=False) for value in fixed]
    try:
        with mode, enable_python_dispatcher(), fx.traceback.preserve_node_meta():
            traced = make_fx(flat, decomposition_table=decompositions())(*fakes)
    except ConversionError:
        raise
    # What PyTorch raises for an operation without a gradient, or with a batch of a fixed size, is of any type.
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ConversionError(
            f"expected a tail that PyTorch can differentiate for any batch size, found {type(error).__name__}: {first} "
            f"Cut behind the operation."
        ) from error
    _out_of_place(traced.graph)
    traced.graph.eliminate_dead_code()
    return Program(traced.graph, tuple(inputs), tuple(fixed), tuple(outputs))


def _out_of_place(graph: fx.Graph) -> None:
    """Let what is copied over a result, as the gradient of a norm does where it is 0, stand for it from there on."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    for node in [node for node in graph.nodes if node.target is torch.ops.aten.copy_.default]:
        old, new = node.args[:2]
        if old.op != "call_function" or old.meta["val"].shape != new.meta["val"].shape:
            continue
        for user in [user for user in old.users if places[user] > places[node]]:
            user.replace_input_with(old, new)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def _fake(mode: FakeTensorMode, tensor: Tensor, free: bool) -> Tensor:
    sizes = [DimDynamic.DYNAMIC if free and axis == 0 else DimDynamic.STATIC for axis in range(tensor.dim())]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
    return mode.from_tensor(tensor.detach(), symbolic_context=context)
