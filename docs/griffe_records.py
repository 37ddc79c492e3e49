"""Tells griffe, which reads the sources for the reference, that `record` makes dataclasses."""

import ast
from typing import Any

import griffe


class Records(griffe.Extension):
    """Gives a class under `@record()` the decorator that griffe knows."""

    def on_class_node(self, *, node: ast.AST | griffe.ObjectNode, **_: Any) -> None:
        """Change the source tree before griffe visits the class."""
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "record":
                    decorator.func = ast.Attribute(ast.Name("dataclasses"), "dataclass")
