"""The content of ``results.json``: a row per task, model and start, differences, and origins."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats
from medhmp.evaluate.discrimination import METRICS
from medhmp.evaluate.intervals import (
    BOUNDS,
    Contender,
    Drawn,
    Estimate,
    combined,
    difference,
    draw_figures,
    holm,
    mean,
)
from medhmp.evaluate.measures import measures
from medhmp.evaluate.predictions import Predictions
from medhmp.layout import RAW, REPORT, TRUTH
from medhmp.legend import Level, Start, Task
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
HEADLINE_EVENTS: Final = 50
"""A task with fewer test events stays out of what a headline says of all tasks."""
COMPARED: Final = ("auroc", "average_precision")
"""Metrics whose differences between models are told."""
PRETRAINED: Final[tuple[Start, ...]] = ("both", "admission", "stay", "none")
"""Starts of MedHMP that its other rows are compared with: the first that a task has."""
BEST: Final = "best"
"""The model whose scores are the synthetic cohort's true probabilities."""

Record = dict[str, Any]
"""An object of ``results.json``."""
Row = tuple[Task, str, str]
"""The task, model and start of a row."""
Figures = Mapping[Row, Mapping[str, Drawn]]
"""The metrics of each row, and of the true probabilities where they are known."""


def results_of(
    material: Material,
    predictions: Sequence[Predictions],
    name: str,
    settings: Report,
    starts: Collection[Start],
) -> Record:
    """``results.json``: rows in the order of ``predictions``, differences between them, tasks not
    trained, gains, share learned, origins.

    ``name`` is the run's, ``starts`` those it asked for. ``run`` has the fields that the shards and
    the pretrainings were made with, as their own records say; each row has its grid's.
    """
    made, truth = material.fields, material.truth()
    with_controls, database = made.get("cohort.matched", ()), database_of(material.shards.manifest)
    contenders = contenders_of(predictions, truth)
    figures, redrawn = draw_figures(contenders, settings.draws, settings.seed)
    rows = []
    for one in predictions:
        people = material.people(one.task, one.test.row)
        matched = one.task in with_controls
        level = material.shards.level(one.task)
        rows.append(row_of(one, level, figures, redrawn, people, database, matched))
    headline = {
        "gain": gain(rows, figures, "both", over_none(rows)),
        "gain_over_floor": gain(rows, figures, "both", over_floor(rows)),
        "control": gain(rows, figures, "shuffled", over_none(rows)),
    }
    return {
        "run": {**tree_of(made), "name": name, "report": asdict(settings)},
        "rows": with_stay_start(rows, starts, database),
        "differences": differences(rows, figures),
        "skipped": list(material.skipped),
        **with_holm(headline),
        "learned": learned(rows, figures),
        "provenance": {REPORT: provenance(), **material.provenance},
    }


def contenders_of(
    predictions: Sequence[Predictions], truth: pl.DataFrame | None
) -> dict[Row, Contender]:
    """What is scored together: the predictions and, of a synthetic cohort, the truth."""
    found: dict[Row, Contender] = {}
    for p in predictions:
        test, tuned = p.test, np.array(p.operating.tuned)
        found[_key(p)] = Contender(test.subject, test.label, test.scores, tuned)
        if truth is not None and (p.task, BEST, BEST) not in found:
            score = true_probabilities(truth, p)
            if score is not None:
                best = Contender(test.subject, test.label, score[None], np.array([0.5]))
                found[p.task, BEST, BEST] = best
    return found


def _key(predictions: Predictions) -> Row:
    return predictions.task, predictions.model, predictions.start


def row_of(
    predictions: Predictions,
    level: Level,
    figures: Figures,
    redrawn: int,
    people: pl.DataFrame | None = None,
    database: str | None = None,
    matched: bool = False,
) -> Record:
    """One row of ``results.json``; each metric is {mean, sd, value, low, high, se, chance, why}.

    value and mean are the mean of the replicates' own figures, sd is over them (null with one), and
    low and high are null where there is no interval, for the reason ``why``. Thresholds of the
    tuned metrics come from validation rows. ``people`` has the attributes of the test rows,
    ``database`` names the paper's figures that stand beside, ``matched`` says whether the task's
    controls were matched to its cases.
    """
    test = predictions.test
    own = figures[_key(predictions)]
    best = figures.get((predictions.task, BEST, BEST))
    fields = tree_of(predictions.fields)
    return {
        "task": predictions.task,
        "level": level,
        "model": predictions.model,
        "start": predictions.start,
        "replicates": len(predictions.seeds),
        "drawn": drawn_anew(predictions, fields),
        "n": len(test.label),
        "patients": len(np.unique(test.subject)),
        "events": int(test.label.sum()),
        **{name: _metric(own[name].estimate(*BOUNDS[name])) for name in METRICS},
        "validation_loss": predictions.validation_loss,
        "base_rate_loss": predictions.base_rate_loss,
        "best_achievable": None if best is None else float(best["auroc"].own[0]),
        "paper": published(
            predictions.task, predictions.model, predictions.start, database, matched
        ),
        "matched": matched,
        "same_as": None,
        "few_events": int(test.label.sum()) < FEW_EVENTS,
        **measures(predictions, people),
        "redrawn": redrawn,
        "chosen": predictions.chosen,
        "fields": fields,
    }


def _metric(estimate: Estimate) -> Record:
    """A figure by itself: that it is not zero is no question."""
    found = estimate.to_json()
    del found["p"]
    return {"mean": estimate.value, **found}


def drawn_anew(predictions: Predictions, fields: Mapping[str, Any]) -> list[str]:
    """What a replicate of these fits drew for itself, in words."""
    found = []
    if fields.get("finetune", {}).get("labels") is not None:
        found.append("labelled rows")
    if MODELS[predictions.model].has_network:
        found += ["order of the rows", "initial weights"]
    if not MODELS[predictions.model].is_network:
        found.append("random choices of the fit")
    if predictions.pretrainings > 1:
        found.append("pretraining")
    return found


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


def true_probabilities(truth: pl.DataFrame, predictions: Predictions) -> Floats | None:
    """The synthetic cohort's true probability of each test row, (n).

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
    return score.to_numpy().astype(np.float64)


def differences(rows: Sequence[Record], figures: Figures) -> list[Record]:
    """Within each task: MedHMP's most pretrained row less every other row, paired.

    p_holm is corrected within the table of one task and metric. A task without MedHMP compares its
    first row.
    """
    found: list[Record] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        by_start = {row["start"]: row for row in of_task if row["model"] == MEDHMP}
        first = next((by_start[s] for s in PRETRAINED if s in by_start), of_task[0])
        others = [row for row in of_task if row is not first]
        for metric in COMPARED:
            table = [_difference(first, other, metric, figures) for other in others]
            corrected = holm([line["p"] for line in table])
            found += [{**line, "p_holm": p} for line, p in zip(table, corrected, strict=True)]
    return found


def _difference(a: Record, b: Record, metric: str, figures: Figures) -> Record:
    estimate = difference(figures[_row(a)][metric], figures[_row(b)][metric]).estimate()
    return {
        "task": a["task"],
        "level": a["level"],
        "metric": metric,
        "a": {"model": a["model"], "start": a["start"]},
        "b": {"model": b["model"], "start": b["start"]},
        **estimate.to_json(),
    }


def _row(row: Record) -> Row:
    return row["task"], row["model"], row["start"]


def over_none(rows: Sequence[Record]) -> dict[Task, Record]:
    """Of each task MedHMP's row without pretraining."""
    return {r["task"]: r for r in rows if (r["model"], r["start"]) == (MEDHMP, "none")}


def over_floor(rows: Sequence[Record]) -> dict[Task, Record]:
    """Of each task the best model that is no network: that of the lowest validation loss."""
    found: dict[Task, Record] = {}
    for row in rows:
        best = found.get(row["task"])
        if MODELS[row["model"]].is_floor and (
            best is None or row["validation_loss"] < best["validation_loss"]
        ):
            found[row["task"]] = row
    return found


def gain(
    rows: Sequence[Record], figures: Figures, start: Start, bases: Mapping[Task, Record]
) -> Record:
    """Gain in AUROC of MedHMP's ``start`` over a base of each task: the mean of paired differences.

    Tasks with few test events are left out, and named. All null without a task.
    """
    ours = {r["task"]: r for r in rows if (r["model"], r["start"]) == (MEDHMP, start)}
    both = [task for task in ours if task in bases]
    left_out = [
        {"task": task, "events": ours[task]["events"]}
        for task in both
        if ours[task]["events"] < HEADLINE_EVENTS
    ]
    tasks = [task for task in both if ours[task]["events"] >= HEADLINE_EVENTS]
    told = {
        "tasks": tasks,
        "over": {task: bases[task]["model"] for task in tasks},
        "left_out": left_out,
    }
    if not tasks:
        why = f"no task has both, and {HEADLINE_EVENTS} test events"
        return {**_nothing(why), **told}
    paired = [
        difference(figures[_row(ours[t])]["auroc"], figures[_row(bases[t])]["auroc"]) for t in tasks
    ]
    return {**mean(paired).estimate().to_json(), **told}


def _nothing(why: str) -> Record:
    """A gain or a share without a task."""
    empty: Record = dict.fromkeys(("value", "sd", "se", "low", "high", "p"))
    return {**empty, "chance": [], "why": why}


def with_holm(gains: Mapping[str, Record]) -> dict[str, Record]:
    """The gains of the headline, with p_holm: they are one table."""
    corrected = holm([gain["p"] for gain in gains.values()])
    return {
        name: {**gain, "p_holm": p}
        for (name, gain), p in zip(gains.items(), corrected, strict=True)
    }


def learned(rows: Sequence[Record], figures: Figures) -> Record:
    """Share of the reachable AUROC that was reached, mean over tasks.

    (AUROC - 0.5) / (best achievable - 0.5), on the same patients in every draw. ``value`` and its
    interval are of MedHMP's start *both*; ``beside`` has every model and start. Tasks with few test
    events are left out. All null or empty without a known truth.
    """
    shares: dict[str, dict[str, Drawn]] = {}
    for row in rows:
        best = figures.get((row["task"], BEST, BEST))
        if best is not None and row["events"] >= HEADLINE_EVENTS:
            share = combined(_share, figures[_row(row)]["auroc"], best["auroc"])
            shares.setdefault(f"{row['model']}/{row['start']}", {})[row["task"]] = share
    beside = {
        name: {**mean(list(of_tasks.values())).estimate().to_json(), "tasks": list(of_tasks)}
        for name, of_tasks in shares.items()
    }
    nothing = {**_nothing("no task has a known truth"), "tasks": []}
    return {**beside.get(f"{MEDHMP}/both", nothing), "beside": beside}


def _share(auroc: Floats, best: Floats) -> Floats:
    return np.asarray((auroc - 0.5) / (best - 0.5))
