"""Files of settings: read strictly, changed by overrides, written back exactly, and described."""

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.config.describe import describe
from acclimate.server.config.fields import rule_of
from acclimate.server.config.read import as_json, as_toml, config_of, read_config, sections

pytestmark = pytest.mark.needs_torch

TEXT = """
[model]
name = "timm:resnet18@random"

[data]
train = "photos"
size = [32, 48]
augment = ["crop", "flip"]
mean = [0, 0.5, 1e-5]

[training]
epochs = 3
"""


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_come_from_the_file_and_the_rest_from_defaults(tmp_path: Path) -> None:
    """Lists become tuples, whole numbers floats, and what is not named keeps its default."""
    config = read_config(write(tmp_path))
    assert config.model.name == "timm:resnet18@random"
    assert config.data.size == (32, 48)
    assert config.data.mean == (0.0, 0.5, 1e-5)
    assert config.training.epochs == 3
    assert config.data.validation_share == 0.1


def test_overrides_are_toml_or_texts_as_they_stand(tmp_path: Path) -> None:
    """Numbers, lists and quoted texts are read as TOML; a path needs no quotes; a section need not be in the file."""
    changes = [
        "training.learning_rate=1e-5",
        "data.train=a/b c",
        "data.augment=['flip']",
        "run.workers = 2",
        'data.group="x"',
    ]
    config = read_config(write(tmp_path), changes)
    assert config.training.learning_rate == 1e-5
    assert config.data.train == "a/b c"
    assert config.data.augment == ("flip",)
    assert config.run.workers == 2
    assert config.data.group == "x"


def test_settings_are_written_back_exactly(tmp_path: Path) -> None:
    """Through JSON and through TOML the same settings come back, with odd characters and small numbers."""
    odd = 'ä "quoted" \\ back\x7f\n😀'
    config = read_config(write(tmp_path), ["training.learning_rate=1e-07"])
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=odd, classes=("a", odd)))
    assert config_of(json.loads(json.dumps(as_json(config)))) == config
    assert read_config(write(tmp_path, as_toml(config))) == config
    (tmp_path / "run.json").write_text(json.dumps(as_json(config)))
    assert read_config(tmp_path / "run.json") == config


def test_toml_can_say_everything_that_differs_from_defaults() -> None:
    """TOML has no none: a field that may be none is none by default, so that leaving it out says the same."""
    for kind in sections().values():
        for field in dataclasses.fields(kind):
            if "None" in str(field.type):
                assert field.default is None, (kind, field.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nnam = 'x'", "run.toml: expected a setting of .model., found 'nam'. Did you mean 'name'"),
        ("[data]\nepochs = 3", "found 'epochs'. Did you mean 'epochs' of .training."),
        ("[data]\nqqqq = 3", "found 'qqqq'. Settings of .data. are train, kind"),
        ("[trainig]\nepochs = 3", "found 'trainig'. Did you mean .training."),
        ("[data]\ntrain = 'x'", "expected model.name, found none. It is: torchvision:NAME"),
        ("model = 'x'", r"expected a section \[model\], found 'x'"),
        ("[model]\nname = ", "run.toml: expected TOML, found that"),
        (TEXT + "batch_size = '128 samples'", "Write the number alone, in samples"),
        (TEXT + "epochs = 4", "expected TOML, found that"),
        ("a = " + "[" * 100_000, "expected TOML, found that"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """Unknown keys name their nearest neighbour; a missing key says what it is."""
    with pytest.raises(InputError, match=message):
        read_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs=3", r"section.key=value, found 'epochs=3'. Did you mean training.epochs=3\?"),
        (".epochs=3", r"Did you mean training.epochs=3\?"),
        ("epochs", r"Did you mean training.epochs=VALUE\?"),
        ("training.epochs", "found 'training.epochs' without a value. Write training.epochs=VALUE, or leave it out"),
        ("training.epochs=", "found 'training.epochs=' without a value"),
        ("training.=3", r"section.key=value, found 'training.=3'. Settings of .training. are epochs, "),
        ("trainig", r"Did you mean .training.\?"),
        ("=3", "section.key=value, found '=3'. Sections are model, data"),
        ("training.epoch=3", r"expected a setting of .training., found 'epoch'. Did you mean 'epochs'\?"),
        ("training.epochs=true", "as a whole number in epochs of 1 or more, found true. Mend it"),
        ("training.epochs=0", "as a whole number in epochs of 1 or more, found 0. Passes"),
        ("training.warmup=5", "as a number in share of the steps of 0 or more and below 1, found 5. Share"),
        ("training.warmup=5%", "found '5%'. Write the share itself: 5 % is 0.05. Share"),
        ("data.seconds=1 s", "found '1 s'. Write the number alone, in s. Length"),
        ("data.augment=flip", "as a list of texts, found 'flip'. Write it in brackets, with commas between. How"),
        ("data.size=[1.5, true]", r"found \[1.5, true\]. Write it in brackets"),
        ("data.train=1999-05-27", "data.train as a text, found 1999-05-27. Mend"),
        ("training.epochs={a = 1}", "found a section with a. Mend"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, change: str, message: str) -> None:
    """Each must name section and key, and have a value that fits, which is told as it was written."""
    with pytest.raises(InputError, match=message):
        read_config(write(tmp_path), [change])


def test_no_file_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    """A missing path is told; a file of more than a mebibyte is not parsed."""
    with pytest.raises(InputError, match="found none at"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(InputError, match="at most 1,048,576 bytes"):
        read_config(write(tmp_path, "#" * 2**20 + "\n"))


def test_binary_is_refused(tmp_path: Path) -> None:
    """What is not UTF-8 is no TOML."""
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected TOML"):
        read_config(path)


def test_every_field_is_documented_and_the_page_is_up_to_date() -> None:
    """Each field has a sentence; docs/configuration.md is what `describe` gives."""
    for kind in sections().values():
        for field in dataclasses.fields(kind):
            assert rule_of(field).doc.endswith("."), field.name
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == describe(), (
        "run: python -m acclimate.server.config > docs/configuration.md"
    )
