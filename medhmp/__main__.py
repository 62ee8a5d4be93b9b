"""The command ``medhmp``: the jobs where the package is installed.

    medhmp JOB RECIPE [--out URI] [--section.field value ...]

In a checkout the same jobs are ``python -m jobs.JOB``.
"""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import NoReturn

from medhmp.version import __version__


def main() -> NoReturn:
    """Runs the job that the first argument names, and exits as it does."""
    jobs, given = _jobs(), sys.argv[1] if len(sys.argv) > 1 else None
    if given == "--version":
        print(f"medhmp {__version__}")
        sys.exit(0)
    if given in ("-h", "--help"):
        print(f"{(__doc__ or '').strip()}\n\njobs:\n{_list(jobs)}\n")
        print("reads and writes of a job: medhmp JOB --help; its fields: medhmp JOB RECIPE --help")
        sys.exit(0)
    if given not in jobs:
        said = f"'{given}' is not a job" if given else "a job is missing"
        print(f"medhmp: {said}; give one of {', '.join(jobs)}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:2] = [f"medhmp {given}"]
    importlib.import_module(jobs[given]).main()
    sys.exit(0)


def _jobs() -> dict[str, str]:
    """Job -> its module: ``medhmp.jobs.<job>`` of an installed wheel, or a checkout's
    ``jobs.<job>``."""
    package = "medhmp.jobs" if importlib.util.find_spec("medhmp.jobs") else "jobs"
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    files = [file for place in places or () for file in Path(place).glob("[a-z]*.py")]
    return {file.stem: f"{package}.{file.stem}" for file in sorted(files)}


def _list(jobs: dict[str, str]) -> str:
    """A line for each job: its name, and the first line of its docstring, read without importing
    it."""
    lines = []
    for name, module in jobs.items():
        spec = importlib.util.find_spec(module)
        source = Path(spec.origin).read_text() if spec and spec.origin else ""
        doc = ast.get_docstring(ast.parse(source)) or ""
        lines.append(f"  {name:<20}{doc.partition(chr(10))[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
