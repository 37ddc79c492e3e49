"""Fields of settings: what they take, and what they say of what they do not take."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.config.fields import REQUIRED, check, section_name, setting

pytestmark = pytest.mark.needs_torch


@dataclass(frozen=True)
class CookingSettings:
    """Of a kitchen."""

    minutes: int = setting(10, "How long it cooks.", unit="min", low=1, high=90)
    heat: float = setting(0.5, "How hot.", above=0, below=1)
    pot: str = setting("small", "Which pot.", choices=("small", "large"))
    sizes: tuple[int, ...] = setting((), "Sizes.", low=1)
    span: tuple[float, float] = setting((0.0, 1.0), "From and to.", low=0)
    lid: bool = setting(False, "Whether it is covered.")
    recipe: str = setting(REQUIRED, "What is cooked.")
    stop: int | None = setting(None, "When to stop.", low=1)
    out: str | None = setting(None, "Where to write.")

    def __post_init__(self) -> None:
        """Check the fields."""
        check(self)


def test_values_become_what_their_fields_declare() -> None:
    """Whole numbers become float where a float is declared, lists become tuples, and none stays none."""
    made = CookingSettings(recipe="soup", heat=0.25, sizes=[3, 4], span=(0, 2), stop=None)  # type: ignore[arg-type]
    assert made.sizes == (3, 4)
    assert made.span == (0.0, 2.0)
    assert isinstance(made.span[0], float)
    assert made.stop is None
    assert section_name(CookingSettings) == "cooking"
    with pytest.raises(FrozenInstanceError):
        made.heat = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"minutes": "10"}, r"cooking.minutes as a whole number in min .*found '10'. Write the number alone, in min."),
        ({"heat": "hot"}, "Write the number alone, without quotes"),
        ({"minutes": True}, "expected cooking.minutes as a whole number"),
        ({"minutes": 1.5}, "found 1.5"),
        ({"minutes": 0}, "of 1 or more and at most 90, found 0"),
        ({"minutes": 91}, "at most 90, found 91"),
        ({"heat": 0.0}, "above 0 and below 1, found 0."),
        ({"heat": 1.0}, "above 0 and below 1, found 1."),
        ({"heat": float("nan")}, "found nan"),
        ({"heat": float("inf")}, "found inf"),
        ({"heat": 10**400}, "found 10000"),
        ({"stop": 2**63}, "at most 9223372036854775807, found 9223372036854775808"),
        ({"pot": "lage"}, "out of small, large, found 'lage'. Did you mean 'large'"),
        ({"sizes": 3}, "Write it in brackets"),
        ({"sizes": [3, 0]}, "of 1 or more, found 0"),
        ({"span": [1.0]}, "a list of 2 numbers"),
        ({"lid": 1}, "true or false"),
        ({"stop": 0}, "a whole number or none of 1 or more, found 0"),
        ({"out": 3}, "a text or none"),
    ],
)
def test_what_does_not_fit_is_told(wrong: dict[str, Any], message: str) -> None:
    """The message names section and field, what was expected with its unit and bounds, and what was found."""
    with pytest.raises(InputError, match=message):
        CookingSettings(recipe="soup", **wrong)


def test_paths_are_fields_too() -> None:
    """A text becomes a path where a path is declared; an empty one does not."""

    @dataclass(frozen=True)
    class PlaceSettings:
        where: Path = setting(REQUIRED, "Where.")  # noqa: RUF009

        def __post_init__(self) -> None:
            check(self)

    assert PlaceSettings(where="a/b").where == Path("a/b")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected place.where as a path, found ''"):
        PlaceSettings(where="")  # type: ignore[arg-type]
