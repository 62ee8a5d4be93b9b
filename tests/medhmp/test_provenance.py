"""medhmp.provenance: versions, the commit of a checkout, and that nothing heavy is imported."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import medhmp
from medhmp import provenance as module
from medhmp.provenance import provenance, run_json
from medhmp.run import Run


@pytest.fixture(autouse=True)
def afresh():
    module._lasting.cache_clear()
    yield
    module._lasting.cache_clear()


def test_versions_are_the_installed_ones():
    found = provenance()
    assert found["version"] == medhmp.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("torch", "ray", "polars", "pyarrow", "scikit-learn", "transformers"):
        assert found[name] == metadata.version(name)
    assert json.loads(json.dumps(found)) == found


def test_no_library_is_imported_to_tell_them():
    heavy = ["torch", "ray", "polars", "pyarrow", "sklearn", "transformers"]
    told = f"""
import sys, json
from medhmp.provenance import provenance
found = provenance()
print(json.dumps([[m for m in {heavy} if m in sys.modules], found["threads"], found["cpu"]]))
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    imported, threads, cpu = json.loads(done.stdout)
    assert imported == []
    assert threads is None
    assert cpu


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout that the package seems to be in, with one commit and a tag."""
    (tmp_path / "medhmp").mkdir()
    code = tmp_path / "medhmp" / "__init__.py"
    code.write_text("")
    monkeypatch.setattr(module, "__file__", str(code))
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v9")
    return tmp_path


def test_the_commit_of_a_checkout_and_whether_it_has_changed(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    found = provenance()
    assert (found["commit"], found["dirty"]) == (commit, False)
    (checkout / "medhmp" / "__init__.py").write_text("changed")
    module._lasting.cache_clear()
    found = provenance()
    assert (found["commit"], found["dirty"]) == (commit, True)


def test_outside_a_checkout_the_commit_is_what_was_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "medhmp" / "provenance.py"))
    monkeypatch.setenv("MEDHMP_COMMIT", "abc")
    assert (provenance()["commit"], provenance()["dirty"]) == ("abc", None)
    module._lasting.cache_clear()
    monkeypatch.delenv("MEDHMP_COMMIT")
    assert provenance()["commit"] is None


def test_gpus_are_told_by_the_driver_s_files(tmp_path, monkeypatch):
    for number, name in enumerate(("NVIDIA A100", "NVIDIA H100", "NVIDIA A100")):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {name}\nIRQ:   35\n")
    monkeypatch.setattr(module, "GPUS", tmp_path)
    assert provenance()["gpu"] == "2 x NVIDIA A100, 1 x NVIDIA H100"
    monkeypatch.setattr(module, "GPUS", tmp_path / "none")
    assert provenance()["gpu"] is None


def test_run_json_is_the_whole_run_and_where_it_was_run():
    run = Run(name="here")
    tree = json.loads(run_json(run))
    assert tree.pop("provenance") == provenance()
    assert tree == json.loads(run.to_json())
