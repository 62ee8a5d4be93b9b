"""A trained model judged on rows that its run did not have: external validation.

Thresholds and maps of risk are those that the model's own validation rows decided. Of a source that
it was trained on, the patients of its test split are judged alone; of any other, all.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from medhmp.evaluate.predictions import Predictions, ScoredSplit, scored_split
from medhmp.frames import frame_of
from medhmp.pretrained.model import TrainedModel
from medhmp.pretrained.predict import ROWS
from medhmp.pretrained.rows import ELSEWHERE
from medhmp.report.material import Material
from medhmp.report.results import Record, results_of
from medhmp.report.write import write
from medhmp.run import Run, digest, fields_of
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Entry, Folder, Output, Stamp

JUDGED: Final = ("test", ELSEWHERE)
"""Groups of rows whose patients the model was not trained on, nor its settings chosen by."""


def judged_rows(predictions: Output) -> pl.DataFrame:
    """The rows of ``JUDGED`` groups by replicate, in ``layout.PREDICTION_COLUMNS``."""
    places = tuple(f"{ROWS}/{group}/" for group in JUDGED)
    names = [name for name in predictions.files if name.startswith(places)]
    tables = [predictions.read_parquet(name) for name in names]
    rows = frame_of(pa.concat_tables(tables)) if tables else pl.DataFrame()
    return rows.with_columns(split=pl.lit("test")) if len(rows) else rows


def hindrance(rows: pl.DataFrame) -> str:
    """Why rows cannot be judged; empty if they can."""
    if rows.is_empty():
        return "no row outside the training patients has a label"
    if rows["label"].n_unique() < 2:
        return f"all {rows['row_id'].n_unique():,} labelled rows are of one class"
    return ""


def stamp_of(run: Run, predictions: Output, shards: OpenShards) -> Stamp:
    """The stamp of the report: of the predictions, and of whom they are of."""
    inputs = {
        "predictions": digest([predictions.fingerprint, predictions.hash]),
        "shards": digest([shards.output.fingerprint, shards.output.hash]),
    }
    return Stamp(fields_of(run, "name", "report"), inputs)


def write_report(
    room: Folder, model: TrainedModel, shards: OpenShards, predictions: Output, rows: pl.DataFrame
) -> tuple[list[Entry], Record]:
    """Writes the report of a run for one model; returns its entries and ``results.json``."""
    material = Material(shards, {}, (), {}, None)
    scored = _predictions(model, rows, str(predictions.folder))
    run = model.run
    results = results_of(material, [scored], run.name, run.report, [scored.start])
    results["applied"] = applied(model, shards)
    results["provenance"] |= {"model": dict(model.folder.provenance)}
    return write(room, material, [scored], results), results


def applied(model: TrainedModel, shards: OpenShards) -> Mapping[str, Any]:
    """Whose model scored whose rows, for the report's first lines."""
    return {
        "version": model.config.version,
        "trained_on": sorted(model.config.sources),
        "scored": sorted(shards.manifest.counts),
    }


def _predictions(model: TrainedModel, rows: pl.DataFrame, place: str) -> Predictions:
    config = model.config
    assert config.selection
    assert config.start
    replicates = len(config.weights)
    nobody = ScoredSplit(*(np.zeros(0, np.int64),) * 3, np.zeros((replicates, 0)))
    selection = config.selection
    chosen = selection.chosen
    return Predictions(
        model.task,
        config.model,
        config.start,
        list(range(replicates)),
        validation=nobody,
        test=scored_split(rows, "test", replicates, place),
        chosen=None if chosen is None else dict(chosen),
        validation_loss=selection.validation_loss,
        base_rate_loss=selection.base_rate_loss,
        pretrainings=selection.pretrainings,
        fields=config.fields,
        decided=config.operating,
    )
