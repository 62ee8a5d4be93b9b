"""The outputs that a report is made from, all of the same shards."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from medhmp.arrays import Ints
from medhmp.evaluate import predictions
from medhmp.evaluate.predictions import GridKey
from medhmp.frames import frame_of
from medhmp.layout import RAW, SHARDS, TRUTH, TUNE, grid_of, own_task_of, seeded, unseeded
from medhmp.legend import Task
from medhmp.refusal import Refusal
from medhmp.report.names import PRETRAININGS
from medhmp.run import digest
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Folder, Output


@dataclass(frozen=True)
class Material:
    """Everything that a report is made from."""

    shards: OpenShards
    grids: Mapping[GridKey, Output]
    skipped: Sequence[Mapping[str, Any]]  # the record of each task that was not trained
    pretrainings: Mapping[str, Output]  # by folder
    raw: Output | None  # the synthetic cohort, if the shards were made from it

    @property
    def outputs(self) -> dict[str, Output]:
        """Every output by its place below the root."""
        synthetic = {RAW: self.raw} if self.raw else {}
        grids = {grid_of(*key): grid for key, grid in self.grids.items()}
        own = {f"{SHARDS}/{own_task_of(task)}": o for task, o in self.shards.own.items()}
        return {**synthetic, SHARDS: self.shards.output, **own, **self.pretrainings, **grids}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests for the report's stamp: of each output's content, and of how it was made."""
        prints = {place: digest([o.fingerprint, o.hash]) for place, o in self.outputs.items()}
        return {**prints, "skipped": digest(self.skipped)}

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the run that made the shards and the first pretrainings, as their records say.

        The others differ from these in their seed.
        """
        first = [o.fields for place, o in self.pretrainings.items() if not unseeded(place)[1]]
        every = [self.shards.output.fields, *first]
        return {name: value for fields in every for name, value in fields.items()}

    @property
    def provenance(self) -> dict[str, Mapping[str, Any]]:
        """Versions and machine behind each output whose record tells them, by place."""
        said = {place: getattr(o, "provenance", None) for place, o in self.outputs.items()}
        return {place: origin for place, origin in said.items() if origin}

    def people(self, task: Task, rows: Ints) -> pl.DataFrame | None:
        """The attributes of these rows of a task, in their order; None without a table of them."""
        of_task = self.shards.attributes(task)
        if of_task is None:
            return None
        return pl.DataFrame({"row_id": rows}).join(
            frame_of(of_task), on="row_id", how="left", maintain_order="left"
        )

    def truth(self) -> pl.DataFrame | None:
        """The synthetic cohort's true probabilities, None for real data."""
        return frame_of(self.raw.read_parquet(TRUTH)) if self.raw else None


def find_results(home: Folder) -> tuple[list[GridKey], list[Task]]:
    """Grids that have predictions, and tasks not trained. Refuses a run with neither."""
    names = home.names()
    grids, skipped = predictions.find_grids(names), predictions.find_skipped(names)
    if not grids and not skipped:
        raise Refusal(f"{home}/{TUNE} has no predictions; run jobs.tune first")
    return grids, skipped


def gather(
    out: Folder,
    home: Folder,
    grids: Collection[GridKey],
    skipped: Collection[Task],
    shards: OpenShards,
) -> Material:
    """Opens these results in ``home`` (of a variant, else ``out``) and what they were made from.

    Refuses results of other shards. Pretrainings and a synthetic cohort of other shards are left
    out.
    """
    records = predictions.read_skipped(home, skipped, shards.fingerprint)
    pretrainings = {**pretrainings_of(out, shards), **pretrainings_of(home, shards)}
    raw = Output.of(out / RAW)
    if raw and raw.fingerprint not in shards.output.inputs.values():
        raw = None
    labels = {task: own.fingerprint for task, own in shards.own.items()}
    opened = predictions.open_grids(home, grids, shards.fingerprint, pretrainings, labels)
    return Material(shards, opened, records, pretrainings, raw)


def pretrainings_of(out: Folder, shards: OpenShards) -> dict[str, Output]:
    """Every pretraining below ``out`` of these shards, by its place."""
    return {
        place: output
        for place, output in _pretrainings(out).items()
        if output.inputs.get("shards") == shards.fingerprint
    }


def _pretrainings(out: Folder) -> dict[str, Output]:
    """Every pretraining below ``out`` by its place, up to the first number without any."""
    found: dict[str, Output] = {}
    for number in itertools.count():
        places = [seeded(place, number) for place in PRETRAININGS]
        of_number = {place: output for place in places if (output := Output.of(out / place))}
        found |= of_number
        if number and not of_number:
            break
    return found
