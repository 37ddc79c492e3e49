"""The package as it is laid out: public names, imports, folders and the arrow between them."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIDES = {"": "core", ".edge": "edge", ".converters": "converters", ".server": "server", ".cli": "cli"}
HEAVY = [
    *("torch", "tensorflow", "onnx", "jax", "sklearn", "scipy", "matplotlib", "PIL", "pandas", "mlxtend"),
    *("onnxruntime", "ai_edge_litert", "tflite_runtime", "typer", "rich", "hypothesis"),
    "cryptography",
]
# The checkout has these; an installed wheel under test has not.
in_checkout = pytest.mark.skipif(not (ROOT / "core").is_dir(), reason="not in a checkout")


def modules() -> list[Path]:
    """Return every module of the package, as a path from the root of the checkout."""
    return [path.relative_to(ROOT) for side in SIDES.values() for path in sorted((ROOT / side).rglob("*.py"))]


@pytest.mark.parametrize("name", ["acclimate", "acclimate.edge"])
def test_public_names_are_sorted_and_there(name: str) -> None:
    """`__all__` is sorted, holds each name once, and each can be imported."""
    module = import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__))
    for public in module.__all__:
        assert getattr(module, public).__doc__


@pytest.mark.parametrize("name", ["acclimate", "acclimate.edge", "acclimate.edge.runtime.runtime", "acclimate.bundle"])
def test_importing_the_device_side_is_light(name: str) -> None:
    """A fresh process that imports it has loaded no framework, no runtime and nothing of the command line."""
    code = f"import sys, json, {name}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert name in loaded
    assert {module.partition(".")[0] for module in loaded} & set(HEAVY) == set()
    assert done.stderr == ""


@in_checkout
def test_the_checkers_see_the_same_modules() -> None:
    """`.typing/acclimate` links to each module of `core` and to each side, and to nothing else."""
    links = {path.name: path for path in (ROOT / ".typing" / "acclimate").iterdir()}
    wanted = {path.name: path for path in (ROOT / "core").iterdir() if path.suffix == ".py" or path.name == "py.typed"}
    wanted |= {side: ROOT / side for side in SIDES.values() if side != "core"}
    assert {name: path.resolve() for name, path in links.items()} == {n: p.resolve() for n, p in wanted.items()}
    assert all(path.is_symlink() and not path.readlink().is_absolute() for path in links.values())


@in_checkout
def test_every_folder_with_modules_is_in_the_wheel() -> None:
    """`packages` in pyproject.toml is kept by hand; an editable install would hide a missing one."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["package-dir"] == {f"acclimate{name}": side for name, side in SIDES.items()}
    found = set()
    for name, side in SIDES.items():
        for path in (ROOT / side).rglob("*.py"):
            below = path.parent.relative_to(ROOT / side).parts
            found.add(".".join((f"acclimate{name}", *below)))
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"
    assert sorted(setuptools["packages"]) == sorted(found)


@in_checkout
def test_imports_inside_the_package_are_relative() -> None:
    """`import edge` would make a second copy of every class, and `import acclimate` hides the direction."""
    forbidden = {"acclimate", *SIDES.values()}
    for path in modules():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & forbidden, f"{path}: {names}"


@in_checkout
def test_the_device_side_names_no_heavy_package() -> None:
    """Not even inside a function: core and edge import numpy, safetensors, one runtime, and what signs at most."""
    allowed = {"numpy", "safetensors", "onnxruntime", "ai_edge_litert", "tflite_runtime", "cryptography"}
    allowed |= sys.stdlib_module_names
    for path in modules():
        if path.parts[0] in ("core", "edge"):
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                assert {name.partition(".")[0] for name in names} <= allowed, f"{path}: {names}"


@in_checkout
def test_the_sides_import_one_way() -> None:
    """import-linter's contracts hold for every module: core <- edge <- converters <- server <- cli."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    # It looks for subpackages below the package's own folder, where only the links for checkers put them.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (analyzed,) = re.findall(r"Analyzed (\d+) files", done.stdout)
    assert int(analyzed) >= len(modules())
    assert ", 0 broken" in done.stdout


@in_checkout
def test_the_linter_knows_every_module_of_core() -> None:
    """The lowest layer is kept by hand; a module that it leaves out could import a side unseen."""
    (layers, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = {f"acclimate.{path.stem}" for path in (ROOT / "core").glob("*.py")} - {"acclimate.__init__"}
    assert set(layers["layers"][-1].split(" : ")) == found
