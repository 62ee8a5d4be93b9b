"""What a model may import: PyTorch and the legend, never the data or Ray."""

import ast
from pathlib import Path

from medhmp import model


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_models_know_no_data_and_no_ray():
    (root,) = model.__path__
    for path in Path(root).rglob("*.py"):
        for name in imported(path):
            assert not name.startswith(("ray", "medhmp.shards", "medhmp.train")), (path, name)
