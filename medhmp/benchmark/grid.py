"""Fits per second of ``jobs.tune``, on the shards of the recipe smoke."""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medhmp.benchmark.meter import measure
from medhmp.layout import SHARDS, TRIAL_TABLE
from medhmp.legend import Task
from medhmp.model.catalog import OF_MEDHMP
from medhmp.recipes import PLANTED
from medhmp.storage import Folder

PREPARED: Final = ("synthesize", "featurize", "embed_notes")
"""Jobs that make the shards, where none are given."""
REPLICATES: Final = 5
"""Of the whole grid: five tasks, the paper's 18 cells, five replicates."""


@dataclass(frozen=True)
class Grid:
    """A slice of MedHMP's grid of the paper's batch sizes and rates, from random weights, and what
    it says of the whole one: five tasks, 18 cells, five replicates, 450 fits."""

    root: str | None = None  # of a run of the recipe smoke, whose shards are read; none: made here
    tasks: tuple[Task, ...] = PLANTED  # of the slice
    replicates: int = 1  # of the slice
    asha: bool = False  # stop fits that lag behind

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as place:
            if self.root:
                shutil.copytree(Path(self.root) / SHARDS, Path(place) / SHARDS)
            else:
                for job in PREPARED:
                    measure(_command(job, place))
            search = [f"medhmp.{name}={','.join(map(str, of))}" for name, of in OF_MEDHMP.items()]
            asked = [
                *("--tune.tasks", *self.tasks, "--tune.models", "medhmp", "--tune.starts", "none"),
                *("--tune.replicates", str(self.replicates), "--tune.search", *search),
                *(["--tune.asha"] if self.asha else []),
            ]
            cost = measure(_command("tune", place, *asked))
            tables = [
                Folder(str(path.parent)).read_parquet(TRIAL_TABLE, ["epochs"])
                for path in Path(place).glob(f"tune/*/*/*/{TRIAL_TABLE}")
            ]
        fits = sum(len(table) for table in tables)
        epochs = sum(sum(table["epochs"].to_pylist()) for table in tables)
        whole = REPLICATES / self.replicates * len(PLANTED) / len(self.tasks)
        print(
            f"{fits} fits, {epochs} epochs in {cost.seconds:.0f} s, {cost.cpu_seconds:.0f} CPU s; "
            f"the whole grid takes {whole * cost.seconds / 60:.1f} min",
            flush=True,
        )
        return {
            "fits": fits,
            "epochs": epochs,
            "seconds": cost.seconds,
            "cpu_s": cost.cpu_seconds,
            "s_per_fit": cost.seconds / fits,
            "cpu_s_per_fit": cost.cpu_seconds / fits,
            "peak_gib": cost.peak / 2**30,
            "whole_grid_min": whole * cost.seconds / 60,
        }


def _command(job: str, place: str, *more: str) -> list[str]:
    return [sys.executable, "-m", f"jobs.{job}", "smoke", "--quiet", "--out", place, *more]
