"""The rows of shards scored by Ray tasks, part by part, and published.

    predictions/<group>/part-*.parquet   a row of the MEDS prediction schema each
    predictions/rows/<group>/part-*.parquet   the same rows: our identifier, label, and the score of
                                              every replicate (layout.PREDICTION_COLUMNS)

A group is a split of the tables that the model was trained on, "labelled" of others, "unlabelled"
of those whose source has no labels. MEDS allows no other column, so identifiers are in files of
their own.
"""

import functools
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pyarrow as pa

from medhmp.arrays import Floats32
from medhmp.evaluate.operating import BEST_F1
from medhmp.layout import MEDS_PREDICTION_COLUMNS, PREDICTION_COLUMNS
from medhmp.pretrained.applied import finished, journal_of, loaded
from medhmp.pretrained.model import TrainedModel
from medhmp.pretrained.rows import Part, known_sources, parts_of, read_part
from medhmp.progress import Progress
from medhmp.run import Run, fields_of
from medhmp.shards.build.pool import Pool
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Entry, Folder, Output, Stamp

ROWS: Final = "rows"
SUMMARY: Final = "predictions.json"
NO_TIME: Final = "without an end, and so without a time to predict at"
TIMES: Final = "times.json"
"""Rows and seconds of the run that made them: no content, and so not in the record."""


def stamp_of(model: TrainedModel, shards: OpenShards) -> Stamp:
    """The stamp of predictions: of the model and of the rows that it scores."""
    fields = fields_of(model.run, "apply.rows")
    return Stamp(fields, {"model": model.folder.fingerprint, "shards": shards.fingerprint})


def write_predictions(
    model: TrainedModel, shards: OpenShards, room: Folder, stamp: Stamp, progress: Progress
) -> None:
    """Scores all rows of shards and publishes them in ``room``. Ray must be initialized.

    Killed and begun again, it goes on with the parts that are missing.
    """
    begun = time.perf_counter()
    journal = journal_of(room, stamp, progress)
    known = known_sources(shards, model.config.sources)
    parts, untimed = parts_of(shards, model.task, known, model.run)
    pool = Pool(progress.is_watched, gpus=1)
    one = functools.partial(_write_part, model.folder.folder.uri, model.run, shards, room)
    rows = [part.labels.num_rows for part in parts]
    found = journal.each("parts", pool, one, [(part,) for part in parts], "scoring, parts", rows)
    seconds = round(time.perf_counter() - begun, 2)
    made = {"rows": sum(rows), "seconds": seconds, "peak_worker_bytes": pool.peak}
    room.write_json(TIMES, made)
    summary = _summary(model, shards, known, parts, untimed)
    entries = [Entry(**entry) for entries in found for entry in entries]
    finished(room, stamp, [*entries, room.write_json(SUMMARY, summary)], journal)


def tell(predictions: Output, progress: Progress) -> None:
    """Says how many rows were scored, and who was left out and why."""
    summary = predictions.read_json(SUMMARY)
    rows = summary["rows"]
    scored = ", ".join(f"{n:,} {group}" for group, n in rows.items()) or "no"
    progress.say(f"predict {summary['task']}: {scored} rows, {predictions.folder}")
    for reason, n in summary["left_out"].items():
        progress.say(f"  left out {n:,}: {reason}")
    if summary["unavailable"]:
        progress.say(f"  {summary['unavailable']}")


def _write_part(
    uri: str, run: Run, shards: OpenShards, room: Folder, part: Part
) -> list[dict[str, Any]]:
    """Scores one part; returns the entries of its two files."""
    model = loaded(uri, run)
    scores = model.scores(read_part(shards, model.task, run, model.notes, part))
    written = [
        room.write_parquet(part.name, _as_meds(model, part.labels, scores)),
        room.write_parquet(f"{ROWS}/{part.name}", _as_rows(part, scores)),
    ]
    return [asdict(entry) for entry in written]


def _as_meds(model: TrainedModel, labels: pa.Table, scores: Floats32) -> pa.Table:
    assert model.config.operating
    risk = scores.astype(np.float64).mean(axis=0)
    columns = {
        "subject_id": labels["subject_id"],
        "prediction_time": labels["prediction_time"],
        "boolean_value": labels["label"].cast(pa.bool_()),
        "predicted_boolean_value": risk >= model.config.operating.thresholds[BEST_F1],
        "predicted_boolean_probability": risk,
    }
    table = pa.table(columns).cast(MEDS_PREDICTION_COLUMNS, safe=False)
    return table.drop_columns("boolean_value") if labels["label"].null_count else table


def _as_rows(part: Part, scores: Floats32) -> pa.Table:
    labels, n = part.labels, part.labels.num_rows
    tables = []
    for seed, score in enumerate(scores):
        columns = {
            "subject_id": labels["subject_id"],
            "row_id": labels["row_id"],
            "split": np.full(n, part.group),
            "seed": np.full(n, seed),
            "label": labels["label"],
            "score": score,
        }
        tables.append(pa.table(columns).cast(PREDICTION_COLUMNS))
    return pa.concat_tables(tables)


def _summary(
    model: TrainedModel, shards: OpenShards, known: set[str], parts: Sequence[Part], untimed: int
) -> dict[str, Any]:
    """What was scored, and who was not and why, as counts."""
    groups: dict[str, int] = {}
    for part in parts:
        groups[part.group] = groups.get(part.group, 0) + part.labels.num_rows
    of_task = shards.manifest.tasks[model.task]
    return {
        "task": model.task,
        "model": model.config.model,
        "start": model.config.start,
        "version": model.config.version,
        "rows": groups,
        "left_out": left_out(of_task.steps) | ({NO_TIME: untimed} if untimed else {}),
        "unavailable": of_task.without_rows,
        "trained_on": sorted(known),
    }


def left_out(steps: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Rule of a task's cohort -> the rows that do not meet it, and so are not predicted."""
    counts = {}
    for (_, before), (rule, after) in itertools.pairwise(steps):
        if before > after:
            counts[f"not {rule}"] = before - after
    return counts
