"""The keys of a batch are spelled in one file, whoever makes, cuts or reads a batch."""

import ast
from pathlib import Path

import medhmp
from medhmp.batch import CODES, DEMOGRAPHICS, HAS_NOTE, HOURS, STAY_SLOT, VISIT_OFFSETS

OF_MATRICES = {name for keys in (HOURS, DEMOGRAPHICS, *CODES) for name in vars(keys).values()}
KEYS = OF_MATRICES | {STAY_SLOT, HAS_NOTE, VISIT_OFFSETS}
"""Names that nothing but a batch and the shards have."""


def strings(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def test_each_key_is_spelled_once():
    (root,) = medhmp.__path__
    spelled = {path.name: strings(path) & KEYS for path in Path(root).rglob("*.py")}
    assert {name: found for name, found in spelled.items() if found} == {"batch.py": KEYS}
