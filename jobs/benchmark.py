"""Measure speed and memory. The last line of each is one JSON object.

    python -m jobs.benchmark synthesize --patients 500 10000
    python -m jobs.benchmark featurize --fiddle 1000 10000 --stays 1000
    python -m jobs.benchmark soak-featurize --kills 20
    python -m jobs.benchmark soak-train --kills 30
    python -m jobs.benchmark soak-nodes
    python -m jobs.benchmark train
    python -m jobs.benchmark train --device cuda --epochs --paper-batch

``synthesize``: rows per second and peak memory of the generator, by patients: ``rows_per_s_<n>``
and ``peak_gib_<n>``. ``featurize``: CPU, memory and events per second of the whole job, from CSV to
published shards, on FIDDLE's timing input and on dense synthetic tables; needs Linux.
``soak-featurize``: featurization killed at random moments, its bytes against an undisturbed run's.
``soak-train``: the same of pretraining, its weights and metrics; ``soak-nodes``: pretraining on a
simulated cluster that loses its nodes; both need Linux. ``train``: steps of both stages of
pretraining on random rows of the paper's sizes, in turn with the plain form and a matrix product;
the stream from shards; workers against one. All write to temporary folders alone.
"""

import gzip
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.benchmark_featurize import Featurize
from jobs.benchmark_lost import SoakTrain
from jobs.benchmark_nodes import SoakNodes
from jobs.benchmark_soak import Soak
from jobs.benchmark_train import Train
from medhmp.run import Synthetic
from medhmp.storage import Folder
from medhmp.tables.synthetic import synthesize


@dataclass(frozen=True)
class Generator:
    """Peak memory and rows/s of the synthetic cohort at two sizes."""

    patients: tuple[int, ...] = (500, 10_000)  # about two admissions each
    density: float = 1.0  # how many times as often items are read

    def run(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for patients in self.patients:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows, seconds, peak = pool.apply(_generate, (patients, self.density))
            speed = rows / seconds
            print(f"{patients:,} patients: {rows:,} rows, {speed:,.0f}/s, peak {peak:.3f} GiB")
            found |= {f"rows_per_s_{patients}": speed, f"peak_gib_{patients}": peak}
        return found


def _generate(patients: int, density: float) -> tuple[int, float, float]:
    """Rows, seconds and peak GiB of one generation, measured inside a process of its own."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        synthesize(Synthetic(patients=patients, density=density), Folder(place))
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return _count_rows(Folder(place)), seconds, peak


def _count_rows(folder: Folder) -> int:
    total = 0
    for name in folder.names():
        if name.endswith(".csv.gz"):
            with folder.open(name) as raw, gzip.open(raw) as text:
                total += sum(1 for _ in text) - 1
    return total


def main() -> None:
    """Parses what to measure, measures it, prints a JSON line."""
    choice = tyro.cli(
        Annotated[Generator, tyro.conf.subcommand("synthesize")]
        | Annotated[Featurize, tyro.conf.subcommand("featurize")]
        | Annotated[Soak, tyro.conf.subcommand("soak-featurize")]
        | Annotated[SoakTrain, tyro.conf.subcommand("soak-train")]
        | Annotated[SoakNodes, tyro.conf.subcommand("soak-nodes")]
        | Annotated[Train, tyro.conf.subcommand("train")],  # type: ignore[arg-type]
        description=__doc__,
    )
    print(json.dumps({name: round(value, 4) for name, value in choice.run().items()}))


if __name__ == "__main__":
    sys.exit(main())
