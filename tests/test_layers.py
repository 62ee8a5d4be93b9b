"""Contracts on imports: a violation of each kind, seeded in a copy, fails. No model is named."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medhmp.model.catalog import MODELS

ROOT = Path(__file__).resolve().parent.parent

UPWARD = "Nothing imports upward"
JOBS = "Jobs are above the package"
SOURCES = "No source imports another"
PURE = "Models are pure PyTorch"
CIRCLES = "No circles"


def lint(folder: Path) -> dict[str, str]:
    """Contract -> KEPT or BROKEN."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    assert done.returncode == ("BROKEN" in found.values())
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("medhmp", "jobs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_hold(copy):
    kept = dict.fromkeys((UPWARD, JOBS, SOURCES, PURE, CIRCLES), "KEPT")
    assert lint(copy) == kept


@pytest.mark.parametrize(
    ("seeds", "broken"),
    [
        ({"medhmp/tables/mimic/mimic3.py": "import medhmp.tables.eicu.reader"}, SOURCES),
        ({"medhmp/tables/fiddle.py": "import medhmp.tables.sources"}, SOURCES),
        ({"medhmp/shards/csr.py": "import medhmp.train.loop"}, UPWARD),
        ({"medhmp/storage.py": "def f(): import medhmp.shards.manifest"}, UPWARD),
        ({"medhmp/unplaced.py": ""}, UPWARD),
        ({"medhmp/storage.py": "import jobs.tune"}, JOBS),
        ({"medhmp/model/blocks.py": "import ray"}, PURE),
        (
            {
                "medhmp/evaluate/one.py": "import medhmp.evaluate.other",
                "medhmp/evaluate/other.py": "import medhmp.evaluate.one",
            },
            CIRCLES,
        ),
    ],
)
def test_a_violation_is_seen(copy, seeds, broken):
    for name, line in seeds.items():
        path = copy / name
        path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    assert lint(copy)[broken] == "BROKEN"


def test_training_and_jobs_name_no_model():
    for path in (*(ROOT / "medhmp" / "train").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        said = {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert not said & MODELS.keys(), path
        imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not [name for name in imported if ".baselines" in name], path
