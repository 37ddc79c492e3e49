"""A model as it will be with weights and activations in 8 bits, in torch, with gradients."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from .fake_quantize import activation_scale, fake_quantize
from .recording import Recording, Replay
from .rounded_layer import run_layer, shift_error
from .scheme import Scheme

_LEAST = 1e-3


class Simulation(nn.Module):
    """Runs a model with its 8 bits simulated: predicts what ONNX Runtime computes with the quantized export.

    Its ranges start where `calibrate` puts them, and train as shares of that.

    Args:
        model: The model, in evaluation mode, its normalisations folded. It is part of this one, not copied.
        recording: One run of it.
        scheme: What is held in 8 bits.
    """

    start: Tensor
    limits: Tensor
    trains: Tensor

    def __init__(self, model: nn.Module, recording: Recording, scheme: Scheme) -> None:
        super().__init__()
        self.model = model
        self.recording, self.scheme = recording, scheme
        self.shares = nn.Parameter(torch.ones(len(scheme.sites), 2))
        self.register_buffer("start", torch.zeros(len(scheme.sites), 2))
        self.register_buffer("limits", torch.tensor([site.limit for site in scheme.sites]))
        # Without a place there is no keeping a range: conversion will find it anew. The input's is the sensor's.
        kept = [bool(site.name) and i != scheme.input for i, site in enumerate(scheme.sites)]
        self.register_buffer("trains", torch.tensor(kept).reshape(-1, 1))
        # The sigmoid inside of a SiLU is an operation of its own once it is exported.
        self._gates: dict[int, float] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return what the model returns with its 8 bits simulated; its head computes in float."""
        ranges = self.ranges()
        # Of the bias that belongs to each layer's result.
        steps: dict[int, Tensor] = {}

        def act(number: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            operation = self.recording.operations[number]
            if number in self.scheme.weights:
                source = self.scheme.sources[number]
                assert source is not None  # noqa: S101  what goes into a layer is held
                step = activation_scale(*ranges[source])
                result, steps[operation.outputs[0]] = run_layer(func, operation.kind, args, kwargs, step)
            elif number in self.scheme.kept:
                result = func(*args, **kwargs) + shift_error(args, kwargs, steps[operation.inputs[0]])
            elif operation.kind == "silu":
                gate = fake_quantize(torch.sigmoid(args[0]), args[0].new_zeros(()), _scalar(self._gates[number], x))
                result = args[0] * gate
            else:
                result = func(*args, **kwargs)
            places = self.scheme.places[number]
            if all(place is None for place in places):
                return result
            parts = (result,) if isinstance(result, Tensor) else result
            rounded = [
                part if place is None else fake_quantize(part, ranges[place, 0], ranges[place, 1])
                for part, place in zip(parts, places, strict=True)
            ]
            return rounded[0] if isinstance(result, Tensor) else type(result)(rounded)

        if self.scheme.input is not None:
            x = fake_quantize(x, *ranges[self.scheme.input])
        with Replay(self.recording, act):
            result = self.model(x)
        if not isinstance(result, Tensor):
            raise InputError(f"expected a model that returns one tensor, found {type(result).__name__}.")
        return result

    @property
    def head(self) -> str:
        """Name of the module that is the head."""
        return self.recording.operations[self.scheme.head].module

    def ranges(self) -> Tensor:
        """Return the range of each site, ``(sites, 2) float32``: lower end 0 at most, upper end 0 at least."""
        ends = self.start * torch.where(self.trains, self.shares.clamp_min(_LEAST), 1.0)
        return torch.stack((ends[:, 0], torch.minimum(ends[:, 1], self.limits)), 1)

    def trained_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges that training chose, by place, as `hold_ranges` takes them; none that is a point."""
        ends = self.ranges().tolist()
        return {
            site.name: (low, high)
            for site, (low, high), trains in zip(self.scheme.sites, ends, self.trains[:, 0].tolist(), strict=True)
            if trains and low < high
        }

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor], held: Mapping[str, tuple[float, float]]) -> None:
        """Let the ranges start at the extremes of the float activations.

        Args:
            batches: ``(n, ...) float32`` each, as the model takes them.
            held: Ranges by place that stand before those.
        """
        ends = torch.zeros_like(self.start)

        def widen(place: int | None, value: Tensor) -> None:
            if place is not None:
                ends[place, 0] = torch.minimum(ends[place, 0], value.min())
                ends[place, 1] = torch.maximum(ends[place, 1], value.max())

        def act(number: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            operation = self.recording.operations[number]
            if operation.kind == "silu":
                gate = float(torch.sigmoid(args[0]).max())
                self._gates[number] = max(gate, self._gates.get(number, 0.0))
            result = func(*args, **kwargs)
            parts = (result,) if isinstance(result, Tensor) else result
            for part, place in zip(parts, self.scheme.places[number], strict=True):
                widen(place, part)
            return result

        for x in batches:
            widen(self.scheme.input, x)
            with Replay(self.recording, act):
                self.model(x)
        if not bool(torch.isfinite(ends).all()):
            broken = int((~torch.isfinite(ends)).any(1).nonzero()[0])
            raise InputError(
                f"expected finite activations, found NaN or infinity at {self.scheme.sites[broken].name!r}. "
                f"Check the weights and the batches."
            )
        for i, site in enumerate(self.scheme.sites):
            if site.name in held:
                ends[i] = torch.tensor(held[site.name])
        self.start.copy_(ends)
        self.shares.fill_(1)


def _scalar(value: float, like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)
