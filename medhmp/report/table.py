"""The rows of ``results.json``: each task, model and start with its figures and their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from medhmp.evaluate.calibration import calibration
from medhmp.evaluate.discrimination import METRICS, auroc, best_f1_threshold, scores_of
from medhmp.evaluate.intervals import Contest, bootstrap, gain
from medhmp.evaluate.predictions import TASKS, Predictions
from medhmp.legend import LEVELS, Start
from medhmp.refusal import Refusal
from medhmp.report.published import published
from medhmp.run import Report, Run, fields_of, tree_of

FEW_EVENTS = 100
"""Rows with fewer test events are flagged: the standard error of an AUROC is then 0.02 or more."""

Row = dict[str, Any]


def row_of(
    predictions: Predictions,
    settings: Report,
    best_achievable: float | None,
    matched: bool = False,
) -> Row:
    """One row of ``results.json``; each metric is {mean, sd, value, low, high, se}.

    mean and sd are over the seeds' own scores (sd null with one seed); value, low, high and se are
    of the seed-averaged score. Thresholds of the tuned metrics come from validation rows.
    ``matched`` says whether the task's controls were matched to its cases.
    """
    test, validation = predictions.test, predictions.validation
    tuned = best_f1_threshold(validation.label, validation.average)
    value = scores_of(test.label, test.average, tuned)
    limits, redrawn = bootstrap(
        test.subject, test.label, test.average, tuned, settings.draws, settings.seed
    )
    seeds = [
        scores_of(test.label, score, best_f1_threshold(validation.label, seen))
        for score, seen in zip(test.scores, validation.scores, strict=True)
    ]
    metrics = {
        name: _spread([s[name] for s in seeds]) | {"value": value[name]} | asdict(limits[name])
        for name in METRICS
    }
    return {
        "task": predictions.task,
        "level": LEVELS[predictions.task],
        "model": predictions.model,
        "start": predictions.start,
        "seeds": len(predictions.seeds),
        "n": len(test.label),
        "patients": len(np.unique(test.subject)),
        "events": int(test.label.sum()),
        **metrics,
        "best_achievable": best_achievable,
        "paper": published(predictions.task, predictions.model, predictions.start, matched),
        "matched": matched,
        "same_as": None,
        "few_events": int(test.label.sum()) < FEW_EVENTS,
        "calibration": calibration(test.label, test.average).to_json(),
        "redrawn": redrawn,
        "chosen": predictions.chosen,
        "fields": tree_of(predictions.fields),
    }


def _spread(values: Sequence[float]) -> Row:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd}


def with_stay_start(rows: list[Row], starts: Sequence[str]) -> list[Row]:
    """Adds the *stay* start of patient tasks, where it was asked for.

    Stage one has no tensor that a patient task uses, so that start is *none* and was not trained
    again: the row repeats the figures of *none* and says so in ``same_as``.
    """
    if "stay" not in starts:
        return rows
    full: list[Row] = []
    for row in rows:
        full.append(row)
        if (row["level"], row["model"], row["start"]) == ("patient", "medhmp", "none"):
            paper = published(row["task"], "medhmp", "stay")
            full.append(row | {"start": "stay", "same_as": "none", "paper": paper})
    return full


def best_achievable(truth: pl.DataFrame, predictions: Predictions) -> float | None:
    """AUROC of the synthetic cohort's true probability on the same test rows.

    ``truth`` has the columns task, row_id and probability. None of a task that it does not have:
    the cohort's codes happen to give that one labels.
    """
    wanted = pl.DataFrame({"row_id": predictions.test.row})
    of_task = truth.filter(pl.col("task") == predictions.task).select("row_id", "probability")
    if of_task.is_empty():
        return None
    score = wanted.join(of_task, on="row_id", how="left", maintain_order="left")["probability"]
    if score.null_count():
        raise Refusal(
            f"raw/truth.parquet lacks {score.null_count()} test rows of {predictions.task}; "
            "run jobs.synthesize and what follows it again with --overwrite"
        )
    return auroc(predictions.test.label, score.to_numpy())


def gain_over_none(found: Sequence[Predictions], start: Start, settings: Report) -> Row:
    """Paired gain in AUROC of medhmp's ``start`` over *none*, over the tasks that have both."""
    mine = {(p.task, p.start): p.test for p in found if p.model == "medhmp"}
    tasks = [t for t in TASKS if (t, start) in mine and (t, "none") in mine]
    if not tasks:
        return {"value": None, "low": None, "high": None, "se": None, "redrawn": 0, "tasks": []}
    contests = [
        Contest(base.subject, base.label, list(better.scores), list(base.scores))
        for better, base in ((mine[t, start], mine[t, "none"]) for t in tasks)
    ]
    return {**asdict(gain(contests, settings.draws, settings.seed)), "tasks": tasks}


def learned(rows: Sequence[Row]) -> Row:
    """Share of the reachable AUROC that was reached, mean over tasks.

    (AUROC - 0.5) / (best achievable - 0.5), with the mean AUROC over seeds. ``value`` is of
    medhmp's start *both*; ``beside`` has every model and start. All null or empty without a known
    truth.
    """
    shares: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["best_achievable"] is not None and row["same_as"] is None:
            share = (row["auroc"]["mean"] - 0.5) / (row["best_achievable"] - 0.5)
            shares.setdefault(f"{row['model']}/{row['start']}", {})[row["task"]] = share
    beside = {
        name: {"value": float(np.mean(list(of_tasks.values()))), "tasks": list(of_tasks)}
        for name, of_tasks in shares.items()
    }
    return {**beside.get("medhmp/both", {"value": None, "tasks": []}), "beside": beside}


def results(
    run: Run,
    found: Sequence[Predictions],
    skipped: Sequence[Mapping[str, Any]],
    truth: pl.DataFrame | None,
    made: Mapping[str, Any],
) -> Row:
    """``results.json``: the run, rows in the order of ``found``, tasks not trained, gains, share
    learned.

    ``truth`` is the synthetic cohort's, None for real data. ``made`` has the fields that the shards
    and the pretrainings were made with, as their own records say; each row has its grid's.
    """
    rows, with_controls = [], made.get("cohort.matched", ())
    for predictions in found:
        best = None if truth is None else best_achievable(truth, predictions)
        rows.append(row_of(predictions, run.report, best, predictions.task in with_controls))
    return {
        "run": tree_of({**made, **fields_of(run, "name", "report")}),
        "rows": with_stay_start(rows, run.tune.starts),
        "skipped": list(skipped),
        "gain": gain_over_none(found, "both", run.report),
        "control": gain_over_none(found, "shuffled", run.report),
        "learned": learned(rows),
    }
