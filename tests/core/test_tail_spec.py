"""What a compiled tail takes and gives, as JSON: it comes back, and nothing that is not so is taken."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.errors import BundleFormatError
from acclimate.tail_spec import MAX_PARAMETERS, MAX_SPEC, SCALARS, STATE, Parameter, Spec

SPEC = Spec(
    map=(4, 3, 3),
    classes=3,
    optimiser="sgd",
    penalty="l2sp",
    scalars=("learning_rate", "momentum", "strength"),
    state=("momentum",),
    parameters=(Parameter("conv.weight", (5, 4, 3, 3)), Parameter("head.weight", (3, 5)), Parameter("head.bias", (3,))),
    weight="head.weight",
    bias="head.bias",
)


def plain(spec: Spec = SPEC) -> dict[str, Any]:
    """Return a spec as plain values."""
    found: dict[str, Any] = json.loads(spec.to_json())
    return found


@pytest.mark.parametrize("optimiser", SCALARS)
@pytest.mark.parametrize("penalty", ["none", "l2sp", "ewc"])
def test_it_comes_back(optimiser: str, penalty: str) -> None:
    """Every optimiser and penalty; writing again gives the same text."""
    scalars = SCALARS[optimiser] + (("strength",) if penalty != "none" else ())
    spec = replace(SPEC, optimiser=optimiser, penalty=penalty, scalars=scalars, state=STATE[optimiser])
    assert Spec.from_json(spec.to_json()) == spec
    assert Spec.from_json(spec.to_json().encode()).to_json() == spec.to_json()


def test_names_of_inputs_and_outputs() -> None:
    """In the order that the format gives."""
    assert SPEC.head == ("head.weight", "head.bias")
    assert SPEC.forward_inputs == ("map", "parameter/conv.weight", "parameter/head.weight", "parameter/head.bias")
    assert SPEC.step_inputs[:7] == (
        *("map", "target", "sample_weight", "learning_rate", "momentum", "strength"),
        "parameter/conv.weight",
    )
    assert SPEC.step_inputs[-3:] == ("reference/conv.weight", "reference/head.weight", "reference/head.bias")
    assert SPEC.step_outputs[:4] == ("loss", "data_loss", "new_parameter/conv.weight", "new_momentum/conv.weight")


def test_no_class_and_no_bias_may_be_shipped() -> None:
    """Then the head has no rows, which the device adds."""
    spec = replace(SPEC, classes=0, parameters=(Parameter("head.weight", (0, 5)),), bias=None)
    assert Spec.from_json(spec.to_json()) == spec


def test_what_it_needs_may_be_left_out() -> None:
    """A spec that does not say it has no such key."""
    assert "working" not in plain()
    spec = replace(SPEC, working=12_345)
    assert plain(spec)["working"] == 12_345
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda s: s.update(working=-1), "from 0 to"),
        (lambda s: s.update(working=2**41), "from 0 to"),
        (lambda s: s.update(working=1.5), "tail.working"),
        (lambda s: s.update(format=2), "tail.format"),
        (lambda s: s.update(format=True), "tail.format"),
        (lambda s: s.pop("map"), "the keys"),
        (lambda s: s.update(more=1), "the keys"),
        (lambda s: s.update(map=[]), "1 to 5 entries"),
        (lambda s: s.update(map=[0, 3, 3]), "from 1 to"),
        (lambda s: s.update(map=[65_536, 65_536]), "at most 16,777,216 values"),
        (lambda s: s.update(classes=-1), "from 0 to"),
        (lambda s: s.update(classes=2), r"shape \(2, c\)"),
        (lambda s: s.update(optimiser="lion"), "one of"),
        (lambda s: s.update(optimiser="adam"), "learning_rate"),
        (lambda s: s.update(penalty=None), "one of"),
        (lambda s: s.update(scalars=["learning_rate"]), "tail.scalars"),
        (lambda s: s.update(state=["mean"]), "tail.state"),
        (lambda s: s.update(parameters=[]), "1 to 4,096 entries"),
        (lambda s: s.update(parameters=s["parameters"][:1] * (MAX_PARAMETERS + 1)), "1 to 4,096 entries"),
        (lambda s: s["parameters"].append(s["parameters"][0]), "a name twice"),
        (lambda s: s["parameters"][0].update(name="a\nb"), "printable"),
        (lambda s: s["parameters"][0].update(name="a" * 201), "at most 200"),
        (lambda s: s["parameters"][0].update(shape=[1] * 7), "0 to 6 entries"),
        (lambda s: s["parameters"][0].update(shape=[5, 0]), "axes of at least 1"),
        (lambda s: s["parameters"][0].update(shape=[2**26, 2]), "67,108,864 numbers"),
        (lambda s: s["parameters"][0].update(shape=[2**26] * 6), "67,108,864 numbers"),
        (lambda s: s.update(weight=None), "the name of the head's weight"),
        (lambda s: s.update(weight="conv.weight"), r"shape \(3, c\)"),
        (lambda s: s.update(weight="nobody"), r"shape \(3, c\)"),
        (lambda s: s.update(bias="conv.weight"), r"shape \(3,\)"),
        (lambda s: s["parameters"][1].update(shape=[3, 0]), r"shape \(3, c\)"),
    ],
)
def test_what_is_wrong_is_named(edit: Callable[[dict[str, Any]], object], match: str) -> None:
    """Every rule of the page: place, what was expected, what was found, what to do."""
    content = plain()
    edit(content)
    with pytest.raises(BundleFormatError, match=rf"^the tail is not valid: .*{match}.*Write the bundle again"):
        Spec.from_json(json.dumps(content))


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * (MAX_SPEC + 1)])
def test_what_is_no_spec(content: bytes) -> None:
    """Anything else than a JSON object of a modest size."""
    with pytest.raises(BundleFormatError, match="the tail is not valid"):
        Spec.from_json(content)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(plain())), value=JUNK)
def test_junk_in_place_of_a_value(key: str, value: Any) -> None:
    """Refused in words, or what is read is a spec that can be written and read again."""
    try:
        spec = Spec.from_json(json.dumps({**plain(), key: value}))
    except BundleFormatError:
        return
    assert Spec.from_json(spec.to_json()) == spec
