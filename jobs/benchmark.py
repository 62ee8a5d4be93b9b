"""Measure speed and memory. The last line of each is one JSON object.

    python -m jobs.benchmark synthesize --patients 500 10000
    python -m jobs.benchmark featurize --fiddle 1000 10000 --stays 1000
    python -m jobs.benchmark soak-featurize --kills 20
    python -m jobs.benchmark soak-train --kills 30
    python -m jobs.benchmark soak-nodes
    python -m jobs.benchmark train --width 256 --batch 128

``synthesize``: rows per second and peak memory of the generator, by patients: ``rows_per_s_<n>``
and ``peak_gib_<n>``. ``featurize``: CPU, memory and events per second of the whole job, from CSV to
published shards, on FIDDLE's timing input and on dense synthetic tables; needs Linux.
``soak-featurize``: featurization killed at random moments, its bytes against an undisturbed run's.
``soak-train``: the same of pretraining, its weights and metrics; ``soak-nodes``: pretraining on a
simulated cluster that loses its nodes; both need Linux. ``train``: rows per
second of both stages of pretraining on random rows of the paper's sizes, ``stays_per_s`` and
``admissions_per_s``, medians of repeated steps on this machine's CPU or its first GPU. Reads
nothing; all but ``train`` write to temporary folders.
"""

import gzip
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import tyro

from jobs.benchmark_featurize import Featurize
from jobs.benchmark_lost import SoakTrain
from jobs.benchmark_nodes import SoakNodes
from jobs.benchmark_soak import Soak
from medhmp.legend import NOTE_WIDTH, Widths
from medhmp.run import Model, Synthetic
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.rows import Admissions, Stays
from medhmp.storage import Folder
from medhmp.tables.synthetic import synthesize
from medhmp.train.loop import to_device
from medhmp.train.objective import build_admission_pretraining, build_stay_pretraining

PAPER = Widths(hours=48, features=1318, demographics=73, diagnoses=7686, drugs=1701)


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


@dataclass(frozen=True)
class Train:
    """Steps of both pretraining stages on random rows of the paper's sizes."""

    width: int = 256  # R
    batch: int = 128  # stays per step; admissions take twice as many, one stay each
    active: int = 60  # features on in an hour
    steps: int = 8  # timed steps; the median counts
    threads: int = 2  # CPU threads

    def run(self) -> dict[str, float]:
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = Model(width=self.width)
        stays = _random_stays(self.batch, self.active)
        admissions = _random_admissions(2 * self.batch, self.active)
        return {
            "stays_per_s": self._rate(build_stay_pretraining(model, PAPER), stays, device),
            "admissions_per_s": self._rate(
                build_admission_pretraining(model, PAPER), admissions, device
            ),
        }

    def _rate(
        self, objective: torch.nn.Module, rows: Stays | Admissions, device: torch.device
    ) -> float:
        objective.to(device)
        optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4)
        batch = to_device(rows.batch(np.arange(len(rows))), device)

        def step() -> None:
            loss, _ = objective(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()

        step()
        return len(rows) / statistics.median(_seconds(step) for _ in range(self.steps))


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _random_csr(rows: int, length: int, width: int) -> Csr:
    values = np.random.default_rng(0).integers(0, width, rows * length)
    return Csr(from_lengths(np.full(rows, length)), values.astype(np.uint16))


def _random_stays(n: int, active: int) -> Stays:
    hours = _random_csr(n * PAPER.hours, active, PAPER.features)
    ids = np.arange(n)
    return Stays(ids, ids, hours, _random_csr(n, 10, PAPER.demographics))


def _random_admissions(n: int, active: int) -> Admissions:
    ids = np.arange(n)
    return Admissions(
        subject_id=ids,
        row_id=ids,
        icd=_random_csr(n, 12, PAPER.diagnoses),
        drug=_random_csr(n, 20, PAPER.drugs),
        note=np.random.default_rng(1).standard_normal((n, NOTE_WIDTH)).astype(np.float32),
        has_note=np.ones(n, np.bool_),
        stays=_random_stays(n, active),
        stay_rows=Csr(from_lengths(np.ones(n, np.int64)), ids),
        max_stays=3,
    )


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
