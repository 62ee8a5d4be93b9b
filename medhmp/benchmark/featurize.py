"""Featurization as a user runs it, measured from CSV to published shards."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medhmp.benchmark import inputs
from medhmp.benchmark.meter import Cost, measure
from medhmp.storage import Folder

FIDDLE: Final = """
    --cohort.hours 48 --features.dt 1 --features.theta-1 0.001 --features.theta-2 0.001
    --features.theta-2-static 0.001 --features.theta-freq 1 --features.statistics min max mean
"""
"""FIDDLE's own settings for its timing input; discretized, as by default."""

ENVIRONMENT: Final = {**os.environ, "RAY_ADDRESS": "local"}
"""Makes the job start a Ray of its own, whatever cluster is near."""

IDLE: Final = """
import time
from medhmp.ray_session import start_ray
start_ray(quiet=True)
time.sleep({seconds})
"""

GIB: Final = 2**30


@dataclass(frozen=True)
class Featurize:
    """The job on FIDDLE's timing input and on synthetic MIMIC-III tables, each in several sizes.

    ``cpu_s``, ``peak_gib`` and ``events_per_s`` are those of FIDDLE's largest size;
    ``cpu_ms_per_id`` is the slope between its smallest and its largest. Peaks leave out the memory
    of an idle Ray.
    """

    fiddle: tuple[int, ...] = (1000, 10_000)  # IDs of FIDDLE's timing input; none: leave it out
    stays: tuple[int, ...] = (1000,)  # of the synthetic tables; none: leave them out
    density: float = 4.6  # of the synthetic tables; 4.6 makes some 5,000 typed events of a stay
    idle: float = 8.0  # seconds for which an idle Ray is watched
    numbers: bool = False  # with features.numbers

    def run(self) -> dict[str, float]:
        nothing = IDLE.format(seconds=self.idle)
        idle = measure([sys.executable, "-c", nothing], ENVIRONMENT).peak
        print(f"an idle Ray: {idle / GIB:.3f} GiB", flush=True)
        found = {"idle_gib": idle / GIB}
        more = "--features.numbers" if self.numbers else ""
        for ids in sorted(self.fiddle):
            run = _run(ids, "fiddle", inputs.write_fiddle, FIDDLE + more)
            found |= run.figures("fiddle", ids, idle)
        for stays in sorted(self.stays):
            run = _run(stays, "mimic3", self._write_mimic3, more)
            found |= run.figures("mimic3", stays, idle)
        return found | summary(sorted(self.fiddle), found)

    def _write_mimic3(self, folder: Folder, stays: int) -> None:
        inputs.write_mimic3(folder, stays, self.density)
        facts = inputs.facts(folder)
        print(
            f"MIMIC-III tables of density {self.density}: {facts.rows:,} rows of "
            f"{facts.items} items, {facts.inside:.0%} inside the first {inputs.HOURS} hours"
        )


@dataclass(frozen=True)
class _Made:
    """One run of the job."""

    cost: Cost
    manifest: dict[str, Any]  # of its shards
    told: dict[str, Any]  # its featurize.json
    written: int  # bytes of its shards

    def figures(self, source: str, size: int, idle: int) -> dict[str, float]:
        """Prints the figures and returns them, each named by source and size."""
        counts = self.manifest["counts"][source]
        events, peak = counts["events"], self.cost.peak - idle
        cpu = self.cost.cpu_seconds
        print(
            f"{source}, {size:,}: {events:,} events of {counts['stays']:,} stays in "
            f"{self.cost.seconds:.1f} s ({events / self.cost.seconds:,.0f}/s), CPU {cpu:.1f} s, "
            f"peak {peak / GIB:.3f} GiB, {self.written / 2**20:.1f} MiB out, "
            f"{len(self.manifest['features']):,} columns of X; "
            f"{self.cost.processes} processes, sampled in {self.cost.sampling:.1f} CPU s"
        )
        self._tell_stages()
        found = {
            "events": events,
            "stays": counts["stays"],
            "wall_s": self.cost.seconds,
            "events_per_s": events / self.cost.seconds,
            "cpu_s": cpu,
            "cpu_ms_each": 1000 * cpu / counts["stays"],
            "peak_gib": peak / GIB,
            "mib_out": self.written / 2**20,
            "columns": len(self.manifest["features"]),
        }
        return {f"{name}_{source}_{size}": value for name, value in found.items()}

    def _tell_stages(self) -> None:
        """Prints wall and CPU seconds of each stage, and of the rest: start, end, scheduling."""
        stages = self.told["stages"]
        rest = {
            "seconds": self.cost.seconds - sum(of["seconds"] for of in stages.values()),
            "cpu_seconds": self.cost.cpu_seconds - sum(of["cpu_seconds"] for of in stages.values()),
        }
        for name, of in (stages | {"the rest": rest}).items():
            spent = f"{of['seconds']:6.1f} s  CPU {of['cpu_seconds']:6.1f} s"
            print(f"  {name:<8}  {spent}", flush=True)


def _run(size: int, reader: str, write: Callable[[Folder, int], None], more: str) -> _Made:
    """Makes the input and runs the job on it in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        raw, out = Folder(place) / "raw", Folder(place) / "out"
        write(raw, size)
        job = [sys.executable, "-m", "jobs.featurize", "paper", "--quiet", "--out", str(out)]
        tables = ["--tables.sources", f"{reader}={raw}"]
        cost = measure([*job, *tables, *more.split()], ENVIRONMENT)
        shards = out / "shards"
        manifest, told = (shards.read_json(f"{name}.json") for name in ("manifest", "featurize"))
        return _Made(cost, manifest, told, sum(shards.size(name) or 0 for name in shards.names()))


def summary(sizes: Sequence[int], found: dict[str, float]) -> dict[str, float]:
    """The figures of FIDDLE's largest size, and the slope of CPU seconds from the smallest."""
    if not sizes:
        return {}
    least, most = sizes[0], sizes[-1]
    told = {name: found[f"{name}_fiddle_{most}"] for name in ("cpu_s", "peak_gib", "events_per_s")}
    if least < most:
        more = found[f"cpu_s_fiddle_{most}"] - found[f"cpu_s_fiddle_{least}"]
        told["cpu_ms_per_id"] = 1000 * more / (most - least)
    return told
