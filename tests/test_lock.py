"""What is installed: ``pyproject.toml``, ``uv.lock`` and ``requirements/`` agree, and licences."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = {entry["name"]: entry for entry in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
EXTRAS = PROJECT["project"]["optional-dependencies"]
ASKED = {
    "run": PROJECT["project"]["dependencies"],
    "dev": [line for name, extra in EXTRAS.items() if name != "tracking" for line in extra],
    "tracking": EXTRAS["tracking"],
    "build": PROJECT["dependency-groups"]["build"],
}


def entries(part: str) -> dict[str, str]:
    """Name of each package in a file of ``requirements/``, and its lines."""
    text = (ROOT / "requirements" / f"{part}.txt").read_text()
    found = [entry for entry in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if entry[0] != "#"]
    return {Requirement(entry.partition(" \\")[0]).name: entry for entry in found}


PARTS = {part: entries(part) for part in ("build", "run", "torch", "dev", "tracking")}
LOCKED = {name: entry for part in PARTS.values() for name, entry in part.items()}


def key(line: str) -> tuple[str, frozenset[str], str]:
    requirement = Requirement(line)
    return requirement.name, frozenset(requirement.extras), str(requirement.specifier)


def test_the_lock_was_made_of_the_project_s_dependencies() -> None:
    """Else ``.ci/lock`` was not run after a change of ``pyproject.toml``."""
    own = LOCK["medhmp"]
    locked = own["metadata"]["requires-dist"] + own["metadata"]["requires-dev"]["build"]
    found = {(e["name"], frozenset(e.get("extras", ())), e.get("specifier", "")) for e in locked}
    asked = {key(line) for lines in ASKED.values() for line in lines}
    assert {(name, extras, frozenset(spec.split(","))) for name, extras, spec in found} == {
        (name, extras, frozenset(spec.split(","))) for name, extras, spec in asked
    }
    assert set(own["metadata"]["provides-extras"]) == set(EXTRAS)


def test_each_package_is_in_one_file_with_the_hashes_of_the_lock() -> None:
    assert sum(len(part) for part in PARTS.values()) == len(LOCKED)
    assert LOCKED.keys() == LOCK.keys() - {"medhmp"}
    for name, lines in LOCKED.items():
        files = [
            *LOCK[name]["wheels"],
            *([LOCK[name]["sdist"]] if "sdist" in LOCK[name] else []),
        ]
        assert set(re.findall(r"--hash=(\S+)", lines)) == {file["hash"] for file in files}
        assert Requirement(lines.partition(" \\")[0]).specifier == f"=={LOCK[name]['version']}"


DEV = ("build", "run", "torch", "dev")


def test_what_the_project_asks_for_is_where_its_install_looks() -> None:
    seen = {"run": ("build", "run", "torch"), "dev": DEV, "tracking": PARTS, "build": ("build",)}
    for part, lines in ASKED.items():
        there = {name for of in seen[part] for name in PARTS[of]} | {"medhmp"}
        assert {Requirement(line).name for line in lines} <= there


def brought(lines: list[str]) -> Iterator[tuple[str, Requirement]]:
    """Every requirement of the packages installed here, from these on: who asks, and what for."""
    open_, done = [("medhmp", Requirement(line)) for line in lines], set()
    while open_:
        asker, requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        if name == "medhmp" or (name, *requirement.extras) in done:
            continue
        done.add((name, *requirement.extras))
        yield asker, requirement
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            wanted = ({"extra": extra} for extra in (requirement.extras or {""}))
            if needed.marker is None or any(needed.marker.evaluate(extra) for extra in wanted):
                open_.append((name, needed))


def test_what_packages_need_in_turn_is_locked_at_a_version_they_take() -> None:
    """But for trackers: W&B is not installed for the tests."""
    needs = list(
        brought([line for part, lines in ASKED.items() if part != "tracking" for line in lines])
    )
    assert len(needs) > 100
    for asker, requirement in needs:
        version = LOCK[canonicalize_name(requirement.name)]["version"]
        assert requirement.specifier.contains(version, prereleases=True), (asker, requirement)


def test_what_another_index_replaces_is_torch_and_its_gpu_libraries() -> None:
    assert "torch" in PARTS["torch"]
    others = [lines for name, lines in PARTS["torch"].items() if name != "torch"]
    assert all("sys_platform == 'linux'" in lines for lines in others)
    unread = set(PROJECT["tool"]["pip-licenses"]["ignore-packages"])
    assert PARTS["torch"].keys() - unread == {"torch", "triton"}


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("License-Expression: MIT", True),
        ("License-Expression: AGPL-3.0-only", False),
        ("License-Expression: MIT AND GPL-3.0-only", False),
        ("Summary: says nothing", False),
    ],
)
def test_a_licence_that_no_one_has_read_ends_make_check(
    said: str, allowed: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "seeded-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: seeded\nVersion: 1.0\n{said}\n")
    lists = "import sys, piplicenses; sys.path.insert(0, sys.argv.pop(1)); piplicenses.main()"
    check = subprocess.run(
        [sys.executable, "-c", lists, str(tmp_path), "--packages", "seeded"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == int(not allowed), check.stderr
    assert allowed or "seeded:1.0" in check.stderr


def test_constraints_pin_each_package_at_the_version_of_the_lock() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.partition("==")[0]: line for line in lines if not line.startswith("#")}
    assert pins.keys() == LOCKED.keys()
    for name, line in pins.items():
        assert Requirement(line).specifier == f"=={LOCK[name]['version']}"
