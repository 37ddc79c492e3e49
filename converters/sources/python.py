"""A model from a function in a module or a file."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from ...errors import CutError, InputError


def load_function(source: str) -> nn.Module:
    """Call the function that a text names, and return the model.

    Args:
        source: ``package.module:function`` or ``file.py:function``.

    Returns:
        What the function returned.

    Raises:
        InputError: If there is no such function.
        CutError: If it returns no torch module.
    """
    where, _, name = source.rpartition(":")
    if not where or not name.isidentifier():
        raise InputError(
            f"expected package.module:function or file.py:function, torchvision:NAME, timm:NAME, hf:NAME or file.onnx, "
            f"found {source!r}."
        )
    try:
        module = _module(where)
    except (ImportError, SyntaxError) as error:
        raise InputError(
            f"expected to import {where!r}, found that {error}. Check name, path and installation."
        ) from error
    build = getattr(module, name, None)
    if not callable(build):
        raise InputError(f"expected a function {name!r} in {where!r}, found none. Check its name.")
    model = build()
    if not isinstance(model, nn.Module):
        raise CutError(f"expected {source!r} to return a torch module, found {type(model).__name__}. Return the model.")
    return model


def _module(where: str) -> ModuleType:
    if not where.endswith(".py"):
        sys.path.insert(0, "")
        return importlib.import_module(where)
    path = Path(where)
    if not path.is_file():
        raise InputError(f"expected a Python file, found nothing at {path}. Check the path.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"expected a Python file, found {path}. Check the path.")
    module = importlib.util.module_from_spec(spec)
    # What lies beside the file can be imported from it, as when it is run.
    sys.path.insert(0, str(path.parent.absolute()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
