"""Fold frozen BatchNorm into the convolution or linear layer in front of it."""

from typing import cast

import torch
from torch import Tensor, fx

from .capture import Captured

_aten = torch.ops.aten
_LAYERS = (_aten.conv1d.default, _aten.conv2d.default, _aten.convolution.default, _aten.linear.default)
_NORM = _aten._native_batch_norm_legit_no_training.default


def fold(captured: Captured) -> Captured:
    """Fold every BatchNorm that directly follows a layer with weights of its own.

    The layer's weight takes the norm's scale and its bias the shift (created if there was none); both stay trainable
    under the layer's names, and the norm's parameters vanish. A norm elsewhere stays, with frozen statistics.

    Args:
        captured: The tail; its graph is changed in place.

    Returns:
        The tail with folded tensors.
    """
    graph, names, tensors = captured.graph, dict(captured.names), dict(captured.tensors)
    parameters = list(captured.parameters)
    for norm in [node for node in graph.nodes if node.target is _NORM]:
        layer = norm.args[0]
        if not _foldable(layer, norm, names):
            continue
        weight_node = layer.args[1]
        weight_name = names[weight_node]
        bias_node = layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
        scale, mean, shift = _affine(norm, names, tensors)
        weight = tensors[weight_name].double()
        tensors[weight_name] = (weight * scale.reshape(-1, *[1] * (weight.dim() - 1))).float()
        old = tensors[names[bias_node]].double() if bias_node is not None else 0.0
        bias = ((old - mean) * scale + shift).float()
        if bias_node is None:
            bias_name = f"{weight_name.removesuffix('weight').removesuffix('.')}.bias".lstrip(".")
            with graph.inserting_before(weight_node):
                bias_node = graph.placeholder(f"folded_{weight_node.name}_bias")
            bias_node.meta["val"] = bias
            names[bias_node] = bias_name
            layer.args = (*layer.args[:2], bias_node, *layer.args[3:])
            layer.kwargs = {k: v for k, v in layer.kwargs.items() if k != "bias"}
            if weight_name in parameters:
                parameters.insert(parameters.index(weight_name) + 1, bias_name)
        tensors[names[bias_node]] = bias
        for user in list(norm.users):
            user.replace_all_uses_with(layer)
            graph.erase_node(user)
        gone = [a for a in norm.args[1:5] if isinstance(a, fx.Node)]
        graph.erase_node(norm)
        for node in gone:
            if not node.users:
                name = names.pop(node)
                graph.erase_node(node)
                if name not in names.values():
                    tensors.pop(name)
                    parameters = [p for p in parameters if p != name]
    return Captured(graph, names, tensors, parameters, captured.source)


def _foldable(layer: object, norm: fx.Node, names: dict[fx.Node, str]) -> bool:
    if not isinstance(layer, fx.Node) or layer.target not in _LAYERS or set(layer.users) != {norm}:
        return False
    weight = layer.args[1]
    bias = layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
    transposed = layer.target is _aten.convolution.default and layer.args[6]
    # A weight or bias that another layer uses too would change there.
    alone = all(isinstance(a, fx.Node) and a in names and len(a.users) == 1 for a in (weight, bias) if a is not None)
    # Only the first result is the normalised tensor; a linear layer on tokens is normalised along another axis.
    plain = all(user.args[1] == 0 for user in norm.users)
    flat = layer.target is not _aten.linear.default or layer.meta["val"].dim() == 2
    return alone and plain and flat and not transposed


def _affine(norm: fx.Node, names: dict[fx.Node, str], tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    weight, bias, mean, variance = (
        tensors[names[a]].double() if isinstance(a, fx.Node) else None for a in norm.args[1:5]
    )
    assert mean is not None and variance is not None  # noqa: S101, PT018  the operation has no other form
    scale = (variance + cast(float, norm.args[6])).rsqrt()
    if weight is not None:
        scale = scale * weight
    return scale, mean, torch.zeros_like(mean) if bias is None else bias
