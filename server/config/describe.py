"""All settings as a page of documentation."""

import dataclasses
from typing import Any

from .fields import bounds_words, rule_of, type_words, types_of
from .read import sections

_INTRO = """# Configuration

`acclimate pretrain CONFIG` reads a TOML file with the sections below but [compress], and `acclimate compress CONFIG`
one with all but [transfer], where `objective.name` is `"distillation"` unless it says `"supervised"`. An unknown key,
a value of another type, or one out of its bounds is refused before anything is loaded. `--set section.key=value`
changes one setting. Relative paths begin at the working directory.

```toml
[model]
name = "timm:mobilenetv3_small_100@DEFAULT"

[data]
train = "photos/train"          # one folder per class
validation = "photos/val"       # leave it out to keep a tenth of each class
size = [224, 224]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
augment = ["crop", "flip", "erase"]

[training]
epochs = 20
```

What is drawn for a sample depends on `training.seed`, the epoch and the sample alone: workers, processes and a resumed
run change nothing. Before training every file is read once: what cannot be read, classes without samples, samples of
other sizes, duplicates in both parts and groups in both parts are errors, told by file name.

| data | `train` is | label |
|---|---|---|
| images, WAV files | a folder with one folder per class | name of the folder; without folders unlabelled |
| arrays | an .npz file with `x` | `y`: names, or whole numbers, -1 for none |
| table | a .csv file | column `label`; an empty cell for none |
| listed files | a .csv file, with `path_column` set | likewise |
| series | an .npz file `(n, t, channels)`, or a .csv file with `window` set and a row per moment | likewise |
| shards | `.tar` files of WebDataset: an image, `wav` or `npy` each | `cls`, or a key of `json` |
| function | `module:function` that returns `(x, y)` or arrays by name | as for arrays |

This page is made from the declarations: `python -m acclimate.server.config > docs/configuration.md`.
"""


def describe() -> str:
    """Return a Markdown page with one table per section: name, type, default, unit, and what it does."""
    parts = [_INTRO]
    # The blocks of compression are no part of pretraining.
    from ..compress.settings import CompressConfig

    for name, kind in {**sections(), **sections(CompressConfig)}.items():
        parts.append(f"\n## [{name}]\n\n{(kind.__doc__ or '').strip().splitlines()[0]}\n\n")
        parts.append("| setting | type | default | unit | what it does |\n|---|---|---|---|---|\n")
        parts += [_row(field, types_of(kind)[field.name]) for field in dataclasses.fields(kind)]
    return "".join(parts)


def _row(field: "dataclasses.Field[Any]", kind: Any) -> str:
    rule = rule_of(field)
    bounds = bounds_words(rule)
    words = type_words(kind) + (f", {bounds}" if bounds else "")
    if rule.choices:
        words += ": " + ", ".join(f"`{choice}`" for choice in rule.choices)
    default = "required" if field.default is dataclasses.MISSING else _shown(field.default)
    cells = (f"`{field.name}`", words, default, rule.unit or "", rule.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(_bare, value))}]`"
    return f"`{_bare(value)}`"


def _bare(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
