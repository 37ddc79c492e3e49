"""A model, or whatever is asked for, from a function in a module or a file."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...errors import AcclimateError, CutError, InputError

if TYPE_CHECKING:
    from torch import nn


def load_function(source: str) -> "nn.Module":
    """Call the function that a text names, and return the model.

    Args:
        source: ``package.module:function`` or ``file.py:function``.

    Returns:
        What the function returned.

    Raises:
        InputError: If there is no such function, if it cannot be called without arguments, or if it fails.
        CutError: If it returns no torch module.
    """
    # `call_function` serves TensorFlow's process, too, which has no torch.
    from torch import nn

    model = call_function(source, "to make a model", "torchvision:NAME, timm:NAME, hf:NAME or file.onnx")
    if not isinstance(model, nn.Module):
        raise CutError(f"expected {source!r} to return a torch module, found {type(model).__name__}. Return the model.")
    return model


def call_function(source: str, what: str, others: str = "") -> Any:
    """Call the function that a text names, and return what it returns.

    Args:
        source: ``package.module:function`` or ``file.py:function``.
        what: What it is called for, for messages: ``to make a model``.
        others: What may stand there instead, for messages.

    Raises:
        InputError: If there is no such function, if it cannot be called without arguments, or if it fails.
    """
    where, _, name = source.rpartition(":")
    if not where or not name.isidentifier():
        forms = "package.module:function or file.py:function" + (f", {others}" if others else "")
        raise InputError(f"expected {forms}, found {source!r}.")
    module = _run(lambda: _module(where), f"to import {where!r}")
    build = getattr(module, name, None)
    if not callable(build):
        raise InputError(f"expected a function {name!r} in {where!r}, found none. Check its name.")
    if wanted := _arguments(build):
        raise InputError(
            f"expected a function that is called without arguments, found that {source!r} wants {wanted}. Write one "
            f"that passes them on."
        )
    return _run(build, f"{source!r} {what}")


def _run(step: Callable[[], Any], what: str) -> Any:
    """Run code of the user, whose failures are told with their place.

    Raises:
        InputError: If it fails.
    """
    try:
        return step()
    except AcclimateError:
        raise
    except (ImportError, SyntaxError) as error:
        raise InputError(f"expected {what}, found that {error}. Check name, path and installation.") from error
    # A file that is a script as well may leave by sys.exit.
    except (Exception, SystemExit) as error:
        raise InputError(
            f"expected {what}, found {type(error).__name__} at {_place(error)}: {error!s:.300}. Mend it there."
        ) from error


def _place(error: BaseException) -> str:
    """Return file and line where an error comes from: the last of the user's own code, not of a package's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(("<", sys.base_prefix))]
    last = (own or frames)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else "an unknown place"


def _arguments(build: Callable[..., Any]) -> str:
    """Return which arguments a function cannot do without, with commas between."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return ""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ", ".join(p.name for p in parameters if p.default is p.empty and p.kind not in open_ended)


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
