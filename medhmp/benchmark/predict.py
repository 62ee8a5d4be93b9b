"""Prediction as a user runs it, measured from raw tables and from shards."""

import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from medhmp.benchmark import inputs
from medhmp.benchmark.featurize import ENVIRONMENT, GIB
from medhmp.benchmark.meter import Cost, measure
from medhmp.layout import APPLIED, SHARDS, model_of
from medhmp.pretrained.predict import TIMES
from medhmp.storage import Folder

TRAINED: Final = """
    smoke --quiet --tables.synthetic.patients 400 --tune.tasks mortality --tune.models medhmp
    --tune.starts none --tune.replicates 1 --finetune.epochs 1 --model.width 256
    --pretrain-stay.epochs 1 --pretrain-admission.epochs 1 --report.draws 20
    --tune.search medhmp.batch_size=64 medhmp.learning_rate=1e-3
"""
"""A run whose one model has the paper's width; what it has learnt does not matter here."""


@dataclass(frozen=True)
class Predict:
    """``jobs.predict`` of mortality on synthetic MIMIC-III tables, each size twice: raw, then the
    shards that were made of it.

    ``raw_stays_per_s`` counts all stays of the tables, ``shards_stays_per_s`` the stays that are
    scored; both leave out the seconds in which Ray starts, which ``*_wall_s`` have. Peaks are of
    the largest size and of the smallest, of all processes and Ray together.
    """

    stays: tuple[int, ...] = (1000, 10_000)
    density: float = 1.0  # of the synthetic tables

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as place:
            run, found = Folder(place) / "run", dict[str, float]()
            _job("all", *TRAINED.split(), "--out", str(run))
            model = run / model_of("mortality", "medhmp", "none")
            for stays in sorted(self.stays):
                found |= self._of_size(model, Folder(place) / str(stays), stays)
        largest = max(self.stays)
        told = ("raw_stays_per_s", "shards_stays_per_s")
        return found | {name: found[f"{name}_{largest}"] for name in told}

    def _of_size(self, model: Folder, place: Folder, stays: int) -> dict[str, float]:
        tables, raw, scored = place / "tables", place / "raw", place / "scored"
        inputs.write_mimic3(tables, stays, self.density)
        from_raw = _job(
            "predict", str(model), "--quiet", "--tables.sources", f"mimic3={tables}",
            "--out", str(raw),
        )  # fmt: skip
        from_shards = _job(
            "predict", str(model), "--quiet", "--apply.shards", f"{raw / SHARDS}",
            "--out", str(scored),
        )  # fmt: skip
        made = (raw / SHARDS).read_json("featurize.json")["seconds"]
        every = (raw / SHARDS).read_json("manifest.json")["counts"]["mimic3"]["stays"]
        times = {name: (of / APPLIED).read_json(TIMES) for name, of in
                 (("raw", raw), ("shards", scored))}  # fmt: skip
        found = {
            "stays": every,
            "raw_stays_per_s": every / (made + times["raw"]["seconds"]),
            "shards_stays_per_s": times["shards"]["rows"] / times["shards"]["seconds"],
            "raw_wall_s": from_raw.seconds,
            "shards_wall_s": from_shards.seconds,
            "raw_peak_gib": from_raw.peak / GIB,
            "shards_peak_gib": from_shards.peak / GIB,
        }
        said = "  ".join(f"{name} {value:,.2f}" for name, value in found.items())
        print(said, flush=True)
        return {f"{name}_{stays}": float(value) for name, value in found.items()}


def _job(name: str, *arguments: str) -> Cost:
    return measure([sys.executable, "-m", f"jobs.{name}", *arguments], ENVIRONMENT)
