"""The content of ``results.json``: a row per task, model and start, gains, and origins."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.evaluate.discrimination import METRICS, auroc, best_f1_threshold, scores_of
from medhmp.evaluate.intervals import Contest, bootstrap, gain
from medhmp.evaluate.measures import measures
from medhmp.evaluate.predictions import Predictions
from medhmp.layout import RAW, REPORT, TRUTH
from medhmp.legend import LEVELS, Start
from medhmp.model.catalog import MODELS
from medhmp.provenance import provenance
from medhmp.refusal import Refusal
from medhmp.report.material import Material
from medhmp.report.paper import database_of, published
from medhmp.run import Report, tree_of

MEDHMP: Final = "medhmp"
"""The model whose gain from pretraining is told."""
FEW_EVENTS: Final = 100
"""Rows with fewer test events are flagged: the standard error of an AUROC is then 0.02 or more."""

Record = dict[str, Any]
"""An object of ``results.json``."""


def results_of(
    material: Material,
    predictions: Sequence[Predictions],
    name: str,
    settings: Report,
    starts: Collection[Start],
) -> Record:
    """``results.json``: rows in the order of ``predictions``, tasks not trained, gains, share
    learned, origins.

    ``name`` is the run's, ``starts`` those it asked for. ``run`` has the fields that the shards and
    the pretrainings were made with, as their own records say; each row has its grid's.
    """
    made, truth = material.fields, material.truth()
    with_controls, database = made.get("cohort.matched", ()), database_of(material.shards.manifest)
    rows = []
    for one in predictions:
        best = None if truth is None else best_achievable(truth, one)
        people = material.people(one.task, one.test.row)
        rows.append(row_of(one, settings, best, people, database, one.task in with_controls))
    return {
        "run": {**tree_of(made), "name": name, "report": asdict(settings)},
        "rows": with_stay_start(rows, starts, database),
        "skipped": list(material.skipped),
        "gain": gain_over_none(predictions, "both", settings),
        "control": gain_over_none(predictions, "shuffled", settings),
        "learned": learned(rows),
        "provenance": {REPORT: provenance(), **material.provenance},
    }


def row_of(
    predictions: Predictions,
    settings: Report,
    best_achievable: float | None,
    people: pl.DataFrame | None = None,
    database: str | None = None,
    matched: bool = False,
) -> Record:
    """One row of ``results.json``; each metric is {mean, sd, value, low, high, se}.

    value, low, high and se are of the seed-averaged score: the figure that headlines, figures and
    the console show. mean and sd are over the seeds' own scores (sd null with one seed). Thresholds
    of the tuned metrics come from validation rows. ``people`` has the attributes of the test rows,
    ``database`` names the paper's figures that stand beside, ``matched`` says whether the task's
    controls were matched to its cases.
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
        "paper": published(
            predictions.task, predictions.model, predictions.start, database, matched
        ),
        "matched": matched,
        "same_as": None,
        "few_events": int(test.label.sum()) < FEW_EVENTS,
        **measures(predictions, people),
        "redrawn": redrawn,
        "chosen": predictions.chosen,
        "fields": tree_of(predictions.fields),
    }


def _spread(values: Sequence[float]) -> Record:
    """Mean and SD over seeds."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd}


def with_stay_start(
    rows: list[Record], starts: Collection[Start], database: str | None
) -> list[Record]:
    """Adds the *stay* start of patient tasks, where it was asked for.

    Stage one has no tensor that a patient task uses, so that start is *none* and was not trained
    again: the row repeats the figures of *none* and says so in ``same_as``.
    """
    if "stay" not in starts:
        return rows
    full: list[Record] = []
    for row in rows:
        full.append(row)
        takes_starts = MODELS[row["model"]].takes_starts
        if takes_starts and (row["level"], row["start"]) == ("patient", "none"):
            paper = published(row["task"], row["model"], "stay", database)
            full.append(row | {"start": "stay", "same_as": "none", "paper": paper})
    return full


def best_achievable(truth: pl.DataFrame, predictions: Predictions) -> float | None:
    """AUROC of the synthetic cohort's true probability on the same test rows.

    ``truth`` has the columns task, row_id and probability. None for a task that it lacks.
    """
    wanted = pl.DataFrame({"row_id": predictions.test.row})
    of_task = truth.filter(pl.col("task") == predictions.task).select("row_id", "probability")
    if of_task.is_empty():
        return None
    score = wanted.join(of_task, on="row_id", how="left", maintain_order="left")["probability"]
    if score.null_count():
        raise Refusal(
            f"{RAW}/{TRUTH} lacks {score.null_count()} test rows of {predictions.task}; "
            "run jobs.synthesize and what follows it again with --overwrite"
        )
    return auroc(predictions.test.label, score.to_numpy())


def gain_over_none(predictions: Sequence[Predictions], start: Start, settings: Report) -> Record:
    """Paired gain in AUROC of MedHMP's ``start`` over *none*, over the tasks that have both.

    Both AUROCs are of the seed-averaged score: ``value`` is the mean difference between the rows'
    own ``auroc.value``.
    """
    tests = {(p.task, p.start): p.test for p in predictions if p.model == MEDHMP}
    tasks = [t for t in LEVELS if (t, start) in tests and (t, "none") in tests]
    if not tasks:
        return {"value": None, "low": None, "high": None, "se": None, "redrawn": 0, "tasks": []}
    contests = [
        Contest(base.subject, base.label, better.average, base.average)
        for better, base in ((tests[t, start], tests[t, "none"]) for t in tasks)
    ]
    return {**asdict(gain(contests, settings.draws, settings.seed)), "tasks": tasks}


def learned(rows: Sequence[Record]) -> Record:
    """Share of the reachable AUROC that was reached, mean over tasks.

    (AUROC - 0.5) / (best achievable - 0.5), with the AUROC of the seed-averaged score. ``value`` is
    of MedHMP's start *both*; ``beside`` has every model and start. All null or empty without a
    known truth.
    """
    shares: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["best_achievable"] is not None and row["same_as"] is None:
            share = (row["auroc"]["value"] - 0.5) / (row["best_achievable"] - 0.5)
            shares.setdefault(f"{row['model']}/{row['start']}", {})[row["task"]] = share
    beside = {
        name: {"value": float(np.mean(list(of_tasks.values()))), "tasks": list(of_tasks)}
        for name, of_tasks in shares.items()
    }
    return {**beside.get(f"{MEDHMP}/both", {"value": None, "tasks": []}), "beside": beside}
