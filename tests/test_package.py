"""The wheel and its command; the version in all its places; the files that `make test` runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import medhmp

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("medhmp", "jobs", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from a copy, as the build writes beside the sources."""
    source, dist = (tmp_path_factory.mktemp(name) for name in ("source", "dist"))
    for name in NAMES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, source)
    (made,) = dist.iterdir()
    return made


def modules(folder: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}


def test_the_wheel_holds_every_module_and_no_package_called_jobs(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    inside = {f"medhmp/{name}" for name in modules("jobs")} | modules("medhmp")
    data = {"medhmp/py.typed", "medhmp/tables/facts.yaml", "medhmp/tables/variables.yaml"}
    data |= {str(f.relative_to(ROOT)) for f in (ROOT / "medhmp/report/templates").iterdir()}
    assert names == inside | data
    assert wheel.name.startswith(f"medhmp-{medhmp.__version__}-")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel; its command is in ``bin/``."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", site, wheel)
    return site


def run(command: list[str], cwd: Path, path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_installed_command_tells_its_version_its_jobs_and_their_fields(installed, tmp_path):
    program = str(installed / "bin" / "medhmp")
    assert run([program, "--version"], tmp_path, installed).stdout == (
        f"medhmp {medhmp.__version__}\n"
    )
    jobs = run([program, "--help"], tmp_path, installed).stdout
    for path in ROOT.glob("jobs/[a-z]*.py"):
        first = path.read_text().removeprefix('"""').partition("\n")[0]
        assert re.search(rf"^  {path.stem} +{re.escape(first)}$", jobs, re.MULTILINE)
    shown = run([program, "tune", "smoke", "--help"], tmp_path, installed)
    assert shown.returncode == 0
    assert "usage: medhmp tune smoke " in shown.stdout
    assert "--tune.replicates INT" in shown.stdout
    for arguments, said in (
        (
            ["tune", "smoke", "--tune.replicate", "5"],
            "medhmp tune: .*--tune.replicates",
        ),
        (["tun"], "medhmp: 'tun' is not a job; give one of all, .*, tune"),
        ([], "medhmp: a job is missing; give one of all, "),
    ):
        refused = run([program, *arguments], tmp_path, installed)
        assert refused.returncode == 2
        assert re.match(said, refused.stderr)
        assert refused.stderr.count("\n") == 1


def test_both_forms_of_a_job_make_the_same(installed, tmp_path):
    arguments = ["synthesize", "smoke", "--quiet", "--tables.synthetic.patients", "5", "--out"]
    forms = {
        "wheel": ([str(installed / "bin" / "medhmp")], installed, tmp_path),
        "module": ([sys.executable, "-m", "medhmp"], ROOT, tmp_path),
        "checkout": ([sys.executable, "-m", f"jobs.{arguments[0]}"], ROOT, ROOT),
    }
    made = {}
    for name, (program, path, cwd) in forms.items():
        rest = arguments[1:] if name == "checkout" else arguments
        done = run([*program, *rest, str(tmp_path / name)], cwd, path)
        assert (done.returncode, done.stderr) == (0, "")
        made[name] = json.loads((tmp_path / name / "raw" / "complete.json").read_text())
        del made[name]["provenance"], made[name]["seal"]
    assert made["wheel"] == made["module"] == made["checkout"]


def test_every_place_tells_the_same_version():
    version = medhmp.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d\S*)\]", changes, re.MULTILINE)
    assert released[0] == version
    for path in (ROOT / "cluster").rglob("*"):
        if path.is_file():
            assert set(re.findall(r"/medhmp:(\d[\w.]*)", path.read_text())) <= {version}


def test_a_tag_of_this_commit_is_the_version():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "--list", "v*"]
    tags = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert tags in ([], [f"v{medhmp.__version__}"])


def test_make_test_runs_every_file_of_tests_once():
    asked = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    ran: list[Path] = []
    for arguments in re.findall(r"-m pytest ([^>&;]*)", asked):
        words = re.sub(r"--ignore (\S+)", "", arguments).split()
        ignored = {ROOT / name for name in re.findall(r"--ignore (\S+)", arguments)}
        for place in (ROOT / word for word in words):
            files = [place] if place.is_file() else place.rglob("test_*.py")
            ran += [file for file in files if file not in ignored]
    assert sorted(ran) == sorted((ROOT / "tests").rglob("test_*.py"))
