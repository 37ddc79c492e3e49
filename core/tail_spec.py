"""What a compiled tail takes and gives: the contract between the converter and a device that trains.

A compiled tail is two ONNX models of standard operations with float32 inputs and outputs. `n`, the batch, is free in
both and may differ from call to call; so is `k`, the number of classes, where the spec names the head. A device needs
nothing but an inference runtime to follow this:

* ``forward``: ``map`` ``(n, *map)`` and ``parameter/NAME`` for every parameter, to ``logits`` ``(n, k)``.
* ``step``: one step of the optimiser. Its inputs, in this order:

  1. ``map`` ``(n, *map)``: maps at the cut.
  2. ``target`` ``(n, k)``: one-hot or soft targets; a row sums to 1.
  3. ``sample_weight`` ``(n,)``: what each row counts, 0 or more. The weight of a class, of a sample and of the source
     against the target is their product. The loss is divided by the sum of the weights, so their scale does not matter;
     a row of weight 0 is as if it were not there, which allows a batch to be filled up.
  4. the `scalars`, each of shape ``()``: ``learning_rate`` and ``momentum`` for ``sgd``; ``learning_rate``, ``beta1``,
     ``beta2``, ``step`` (1 in the first step) and ``weight_decay`` (0 for plain Adam) for ``adam``; with a penalty also
     its ``strength``.
  5. ``parameter/NAME`` for every parameter in their order; then for each kind of `state` (``momentum``, or ``mean`` and
     ``square``) ``KIND/NAME`` for every parameter, all zero before the first step; then, with a penalty,
     ``reference/NAME``, the weights to stay close to (the shipped ones), and for ``ewc`` ``fisher/NAME``, 0 or more.

  Its outputs, in this order: ``loss``, what was minimised, before the step; with a penalty ``data_loss``, the loss
  without it; then for every parameter ``new_parameter/NAME`` and for each kind of state ``new_KIND/NAME``: the values
  that go into the next step.

The loss is the mean cross-entropy and ``strength / 2 * sum(fisher * (parameter - reference) ** 2)``, with 1 for
``fisher`` under ``l2sp``. A model with frozen tensors holds them as constants. The JSON of a spec is `Spec.to_json`;
equal specs have equal JSON.

With ONNX Runtime, two sets of buffers and two bindings that write what the other reads are the fastest way to go
from step to step: nothing is copied, and nothing is allocated.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from .manifest import MAX_AXIS, MAX_CLASSES, MAX_MAP
from .record import record
from .strict_json import Reader, choice, integer, into, members, name, optional, parse, several, wrong

FORMAT = 1
MAX_SPEC = 2**20
MAX_PARAMETERS = 4_096
MAX_PARAMETER_NAME = 200
MAX_PARAMETER_ELEMENTS = 2**26
MAX_WORKING = 2**40
# Rows of a batch of maps, in training and elsewhere.
BATCH = 32
# Names of the scalar inputs of each optimiser, and the kinds of its state.
SCALARS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("learning_rate", "momentum"),
    "adam": ("learning_rate", "beta1", "beta2", "step", "weight_decay"),
}
STATE: Mapping[str, tuple[str, ...]] = {"sgd": ("momentum",), "adam": ("mean", "square")}
# What each penalty is given for every parameter.
GIVEN: Mapping[str, tuple[str, ...]] = {"none": (), "l2sp": ("reference",), "ewc": ("reference", "fisher")}


@record()
class Parameter:
    """A tensor that trains.

    Args:
        name: Its name in the tail; a folded BatchNorm's shift is its layer's bias.
        shape: Its shape, as shipped.
    """

    name: str
    shape: tuple[int, ...]


@record()
class Spec:
    """What the models of a compiled tail take and give.

    Args:
        map: Shape of one map at the cut, without the batch axis.
        classes: Number of logits, as shipped.
        optimiser: ``"sgd"`` or ``"adam"``.
        penalty: ``"none"``, ``"l2sp"`` or ``"ewc"``.
        scalars: Names of the scalar inputs, in their order.
        state: Kinds of the optimiser's state, in their order.
        parameters: What trains, in its order.
        weight: Name of the head's weight ``(k, c)`` among the parameters: its rows and the logits are free in number.
            None where the number of classes is fixed; never in a bundle.
        bias: Name of the head's bias ``(k,)`` among the parameters; None without one.
        working: Bytes of intermediate results that the two models hold at once, on `BATCH` rows and as many classes as
            were shipped, together; 0 where nobody has looked.
    """

    map: tuple[int, ...]
    classes: int
    optimiser: str
    penalty: str
    scalars: tuple[str, ...]
    state: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    weight: str | None = None
    bias: str | None = None
    working: int = 0

    @property
    def head(self) -> tuple[str, ...]:
        """Names of the parameters whose first axis is that of the classes."""
        return tuple(given for given in (self.weight, self.bias) if given is not None)

    @property
    def step_inputs(self) -> tuple[str, ...]:
        """Names of the step's inputs, in their order."""
        kinds = ("parameter", *self.state, *GIVEN[self.penalty])
        tensors = (f"{kind}/{p.name}" for kind in kinds for p in self.parameters)
        return ("map", "target", "sample_weight", *self.scalars, *tensors)

    @property
    def step_outputs(self) -> tuple[str, ...]:
        """Names of the step's outputs, in their order."""
        losses = ("loss",) if self.penalty == "none" else ("loss", "data_loss")
        kinds = ("parameter", *self.state)
        return (*losses, *(f"new_{k}/{p.name}" for p in self.parameters for k in kinds))

    def axes(self, inputs: Iterable[str]) -> dict[str, int]:
        """Return the number of axes of some of the models' inputs, by name."""
        shapes = {p.name: p.shape for p in self.parameters}
        known = {"map": 1 + len(self.map), "target": 2, "sample_weight": 1} | dict.fromkeys(self.scalars, 0)
        return {name: known[name] if name in known else len(shapes[name.partition("/")[2]]) for name in inputs}

    @property
    def forward_inputs(self) -> tuple[str, ...]:
        """Names of the forward pass's inputs, in their order; its output is ``logits``."""
        return ("map", *(f"parameter/{p.name}" for p in self.parameters))

    def to_json(self) -> str:
        """Return it as JSON, the same for equal specs."""
        content = {"format": FORMAT, **asdict(self)}
        if not self.working:
            del content["working"]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, content: str | bytes) -> "Spec":
        """Read a spec, taking nothing on trust.

        Raises:
            BundleFormatError: If anything in it is not as the format says.
        """
        raw = parse(content.encode() if isinstance(content, str) else content, "tail", MAX_SPEC)
        found = raw.pop("format", None) if isinstance(raw, dict) else None
        if type(found) is not int or found != FORMAT:
            raise wrong("tail.format", str(FORMAT), f"{found!r:.40}")
        spec = cls(**members(cls, raw, "tail", _SPEC, optional=("working",)))
        spec._check()
        return spec

    def _check(self) -> None:
        if math.prod(self.map) > MAX_MAP:
            raise wrong("tail.map", f"at most {MAX_MAP:,} values", f"{math.prod(self.map):,}")
        scalars = SCALARS[self.optimiser] + (() if self.penalty == "none" else ("strength",))
        if self.scalars != scalars:
            raise wrong("tail.scalars", f"{scalars}", f"{self.scalars}")
        if self.state != STATE[self.optimiser]:
            raise wrong("tail.state", f"{STATE[self.optimiser]}", f"{self.state}")
        shapes = {p.name: p.shape for p in self.parameters}
        if len(shapes) != len(self.parameters):
            raise wrong("tail.parameters", "every name once", "a name twice")
        if sum(math.prod(shape) for shape in shapes.values()) > MAX_PARAMETER_ELEMENTS:
            raise wrong("tail.parameters", f"at most {MAX_PARAMETER_ELEMENTS:,} numbers together", "more")
        for given in shapes.keys() - set(self.head):
            if 0 in shapes[given]:
                raise wrong("tail.parameters", "axes of at least 1 but for the head's classes", f"0 in {given!r}")
        if self.weight is None:
            if self.bias is not None or self.classes < 1:
                raise wrong("tail.weight", "the name of the head's weight", "none")
            return
        shape = shapes.get(self.weight, ())
        if len(shape) != 2 or shape[0] != self.classes or shape[1] < 1:
            raise wrong("tail.weight", f"a parameter of shape ({self.classes}, c)", f"{self.weight!r} of shape {shape}")
        if self.bias is not None and shapes.get(self.bias) != (self.classes,):
            found = f"{self.bias!r} of shape {shapes.get(self.bias)}"
            raise wrong("tail.bias", f"a parameter of shape ({self.classes},)", found)


def _parameter_name(raw: object, where: str) -> str:
    found = str(name(raw, where))
    if len(found) > MAX_PARAMETER_NAME:
        raise wrong(where, f"a name of at most {MAX_PARAMETER_NAME} characters", f"{len(found):,}")
    return found


_PARAMETER: Mapping[str, Reader] = {
    "name": _parameter_name,
    # 0 classes may be shipped.
    "shape": several(integer(0, MAX_PARAMETER_ELEMENTS), 0, 6),
}
_SPEC: Mapping[str, Reader] = {
    "map": several(integer(1, MAX_AXIS), 1, 5),
    "classes": integer(0, MAX_CLASSES),
    "optimiser": choice(*SCALARS),
    "penalty": choice(*GIVEN),
    "scalars": several(name, 0, 16),
    "state": several(name, 0, 16),
    "parameters": several(into(Parameter, _PARAMETER), 1, MAX_PARAMETERS),
    "weight": optional(_parameter_name),
    "bias": optional(_parameter_name),
    "working": integer(0, MAX_WORKING),
}
