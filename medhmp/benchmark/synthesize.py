"""The synthetic cohort: speed of its generator, and memory by the number of patients."""

import gzip
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass

from medhmp.run import Synthetic
from medhmp.storage import Folder
from medhmp.synthetic import synthesize


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
    """Rows, seconds and peak GiB of one generation; runs in a process of its own."""
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
