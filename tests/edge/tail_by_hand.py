"""A tail small enough to reckon with numpy: one linear layer on the map, its step written by hand as ONNX."""

import math
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from acclimate.latent import Codes
from acclimate.map_code import MapCode
from acclimate.tail_content import TailContent
from acclimate.tail_spec import Parameter, Spec

from ..fixtures.onnx_by_hand import FLOAT, INT64, attribute, graph, model, node, tensor, value

SHAPE = (2, 3, 3)
SIZE = math.prod(SHAPE)
Float32 = NDArray[np.float32]
_FLAT = tensor("flat_shape", [2], struct.pack("<2q", -1, SIZE), INT64)
_AXES = tensor("all_axes", [1], struct.pack("<q", 1), INT64)


def by_hand(classes: int = 2, *, penalty: str = "l2sp", seed: int = 0) -> TailContent:
    """Return a linear tail: weight ``(k, 18)`` named ``fc.weight`` and bias ``fc.bias``, SGD with momentum."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, SIZE)).astype(np.float32) * 0.1
    bias = rng.normal(size=classes).astype(np.float32) * 0.1
    scalars = ("learning_rate", "momentum") + (() if penalty == "none" else ("strength",))
    spec = Spec(
        SHAPE,
        classes,
        "sgd",
        penalty,
        scalars,
        ("momentum",),
        (Parameter("fc.weight", weight.shape), Parameter("fc.bias", bias.shape)),
        "fc.weight",
        "fc.bias",
    )
    code = MapCode(np.full(2, 8 / 255, np.float32), np.full(2, -4, np.float32), SHAPE, 1)
    parameters = {"fc.weight": weight, "fc.bias": bias}
    fisher = {name: np.full_like(v, 0.5) for name, v in parameters.items()} if penalty == "ewc" else None
    return TailContent(forward_model(), step_model(spec), spec, parameters, fisher, code)


def forward_model(divide: float = 1.0, opset: int = 18) -> bytes:
    """Return the forward pass; dividing by 0 makes it give infinity."""
    nodes = [
        node("Reshape", ["map", "flat_shape"], ["flat"]),
        node("Gemm", ["flat", "parameter/fc.weight", "parameter/fc.bias"], ["raw"], attribute("transB", 3, 1, 2)),
        node("Div", ["raw", "by"], ["logits"]),
    ]
    inputs = [value("map", ["n", *SHAPE]), value("parameter/fc.weight", ["k", SIZE]), value("parameter/fc.bias", ["k"])]
    by = tensor("by", [], struct.pack("<f", divide))
    return model(graph(nodes, inputs, [value("logits", ["n", "k"])], _FLAT, by), opset=opset)


def step_model(spec: Spec, axis: int = 0) -> bytes:
    """Return a training step: the gradient of a linear layer in closed form; along another axis it is wrong."""
    shapes: dict[str, list[int | str]] = {"fc.weight": ["k", SIZE], "fc.bias": ["k"]}
    nodes = [
        node("Reshape", ["map", "flat_shape"], ["flat"]),
        node("Gemm", ["flat", "parameter/fc.weight", "parameter/fc.bias"], ["logits"], attribute("transB", 3, 1, 2)),
        node("LogSoftmax", ["logits"], ["logs"], attribute("axis", 3, 1, 2)),
        node("ReduceSum", ["sample_weight"], ["total"], attribute("keepdims", 3, 1, 2)),
        node("Div", ["sample_weight", "total"], ["shares"]),
        node("Unsqueeze", ["shares", "all_axes"], ["share"]),
        node("Mul", ["target", "logs"], ["each"]),
        node("Mul", ["each", "share"], ["counted"]),
        node("ReduceSum", ["counted"], ["negative"], attribute("keepdims", 3, 0, 2)),
        node("Neg", ["negative"], ["cross_entropy"]),
        node("Exp", ["logs"], ["shown"]),
        node("Sub", ["shown", "target"], ["off"]),
        node("Mul", ["off", "share"], ["error"]),
        node("Gemm", ["error", "flat"], ["slope/fc.weight"], attribute("transA", 3, 1, 2)),
        node("ReduceSum", ["error", "first_axis"], ["slope/fc.bias"], attribute("keepdims", 3, 0, 2)),
    ]
    loss = "cross_entropy"
    for name in shapes:
        slope = f"slope/{name}"
        if spec.penalty != "none":
            nodes += [
                node("Sub", [f"parameter/{name}", f"reference/{name}"], [f"away/{name}"]),
                node("Mul", [f"away/{name}", f"fisher/{name}" if spec.penalty == "ewc" else "one"], [f"force/{name}"]),
                node("Mul", [f"force/{name}", "strength"], [f"pull/{name}"]),
                node("Add", [slope, f"pull/{name}"], [f"whole/{name}"]),
                node("Mul", [f"away/{name}", f"pull/{name}"], [f"square/{name}"]),
                node("ReduceSum", [f"square/{name}"], [f"squares/{name}"], attribute("keepdims", 3, 0, 2)),
                node("Mul", [f"squares/{name}", "half"], [f"penalty/{name}"]),
                node("Add", [loss, f"penalty/{name}"], [f"loss/{name}"]),
            ]
            slope, loss = f"whole/{name}", f"loss/{name}"
        nodes += [
            node("Mul", [f"momentum/{name}", "momentum"], [f"kept/{name}"]),
            node("Add", [f"kept/{name}", slope], [f"new_momentum/{name}"]),
            node("Mul", [f"new_momentum/{name}", "learning_rate"], [f"move/{name}"]),
            node("Sub", [f"parameter/{name}", f"move/{name}"], [f"new_parameter/{name}"]),
        ]
    nodes.append(node("Identity", [loss], ["loss"]))
    if spec.penalty != "none":
        nodes.append(node("Identity", ["cross_entropy"], ["data_loss"]))
    sizes: dict[str, list[int | str]] = {"map": ["n", *SHAPE], "target": ["n", "k"], "sample_weight": ["n"]}

    def shape(name: str) -> list[int | str]:
        return sizes.get(name, shapes.get(name.partition("/")[2], []))

    return model(
        graph(
            nodes,
            [value(name, shape(name)) for name in spec.step_inputs],
            [value(name, shape(name)) for name in spec.step_outputs],
            _FLAT,
            _AXES,
            tensor("first_axis", [1], struct.pack("<q", axis), INT64),
            tensor("half", [], struct.pack("<f", 0.5), FLOAT),
            tensor("one", [], struct.pack("<f", 1), FLOAT),
        ),
        opset=18,
    )


@dataclass(eq=False)
class Shelf:
    """Maps by sample id, where a store would have them.

    Args:
        codes: ``(n, m) uint8``; the sample ids are 1, 2, ...
        read: How many were asked for at a time.
    """

    codes: Codes
    read: list[int] = field(default_factory=list)

    def maps(self, ids: NDArray[np.integer]) -> Codes:
        """Return the codes of some samples."""
        self.read.append(len(ids))
        found: Codes = self.codes[np.asarray(ids) - 1]
        return found
