"""Rooms of models: what they may import, and who may name them."""

import ast
from pathlib import Path

import jobs
from medhmp import model, train
from medhmp.model.catalog import MODELS


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


def test_training_and_jobs_name_no_model():
    for room in (*train.__path__, *jobs.__path__):
        for path in Path(room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert not said & MODELS.keys(), path
            assert not [name for name in imported(path) if ".baselines" in (name or "")], path
