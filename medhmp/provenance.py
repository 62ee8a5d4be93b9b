"""The origin of a result: the code, the libraries and the machine that made it.

It stands in every ``complete.json`` and ``run.json``. Nothing is decided by it: no hash and no
fingerprint takes it in.
"""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from medhmp.run import Run
from medhmp.version import __version__

LIBRARIES: Final = (
    "torch",
    "ray",
    "polars",
    "pyarrow",
    "scikit-learn",
    "transformers",
)
"""Distributions whose versions may change a result."""

GPUS: Final = Path("/proc/driver/nvidia/gpus")
"""The driver's folder for each GPU: models are read there without starting CUDA."""


def provenance() -> dict[str, Any]:
    """Name -> version, model or number, flat and fit for JSON; null for what cannot be told.

    ``commit`` and ``dirty`` are of the git checkout that the code is in; of an installed wheel,
    what its installer recorded, or the commit that the image was built with.
    """
    return {**_lasting(), "gpu": _gpu(), "threads": _threads()}


def run_json(run: Run) -> str:
    """``run.json``: the whole tree of a run, and where it was run."""
    return json.dumps({**asdict(run), "provenance": provenance()}, indent=2)


@functools.cache
def _lasting() -> dict[str, Any]:
    """The part that cannot change while this process lives; read once."""
    commit, dirty = _of_checkout() or (_recorded_commit(), None)
    return {
        "version": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "cpu": _cpu(),
    }


def _of_checkout() -> tuple[str, bool] | None:
    """(commit, whether tracked files differ from it); None outside a checkout or without git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*"]
    try:
        ended = subprocess.run(
            [*describe, "--dirty"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    commit, dirty, _ = ended.stdout.strip().partition("-dirty")
    return commit, bool(dirty)


def _recorded_commit() -> str | None:
    """The commit that pip noted when it installed from git, else MEDHMP_COMMIT of the image."""
    try:
        noted = importlib.metadata.distribution("medhmp").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        noted = None
    commit = json.loads(noted or "{}").get("vcs_info", {}).get("commit_id")
    return commit or os.environ.get("MEDHMP_COMMIT") or None


def _version(distribution: str) -> str | None:
    """The installed version, without importing the library."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    """The CPU's model, as Linux has it; elsewhere as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or None


def _gpu() -> str | None:
    """Models of this process's GPUs if it uses CUDA, else of all that the machine's driver lists:
    ``2 x NVIDIA A100``."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        models = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    else:
        models = _listed_gpus()
    return ", ".join(f"{n} x {model}" for model, n in Counter(models).items()) or None


def _listed_gpus() -> list[str]:
    try:
        told = [(folder / "information").read_text() for folder in sorted(GPUS.iterdir())]
    except OSError:
        return []
    lines = (line.partition(":") for text in told for line in text.splitlines())
    return [value.strip() for name, _, value in lines if name == "Model"]


def _threads() -> int | None:
    """Threads of PyTorch's operators in this process; null where it has not been imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()
