"""Tasks of a run's own through the jobs: labels in both forms give what the built-in task gives."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from jobs.featurize import featurize
from jobs.report import report
from jobs.tune import tune
from medhmp.run import Run
from medhmp.shards.manifest import open_shards

pytestmark = pytest.mark.ray

BEYOND = 3
"""Labels that no stay has."""


def write_labels(run: Run, folder: Path) -> tuple[str, ...]:
    """The built-in mortality task's labels by stay_id, as one CSV, and as MEDS has them, in a
    folder of Parquet; with labels beyond the data. ``cohort.tasks`` for both."""
    labels = pl.read_parquet(f"{run.out}/shards/labels/mortality.parquet")
    by_id = labels.select(pl.col("row_id").alias("stay_id"), "label").reverse()
    more = pl.DataFrame({"stay_id": [10**9 + n for n in range(BEYOND)], "label": [1] * BEYOND})
    pl.concat([by_id, more.cast(by_id.schema)]).write_csv(folder / "by_id.csv")
    by_time = labels.select(
        "subject_id",
        pl.col("prediction_time").cast(pl.Datetime("us")),
        boolean_value=pl.col("label") == 1,
    )
    late = by_time.head(BEYOND).with_columns(pl.col("prediction_time") + pl.duration(days=90_000))
    (folder / "meds" / "train").mkdir(parents=True)
    by_time.gather_every(2).write_parquet(folder / "meds" / "train" / "0.parquet")
    rest = by_time.gather_every(2, offset=1)
    pl.concat([rest, late]).write_parquet(folder / "meds" / "1.parquet")
    return (f"by_id=stay:{folder}/by_id.csv", f"by_time=stay:{folder}/meds")


def test_label_tables_of_both_kinds_are_the_built_in_task_through_every_job(
    cohort: Run, branch: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = branch(cohort, "raw", "shards", quiet=False)
    shards = open_shards(run).fingerprint
    tasks = write_labels(run, tmp_path)
    names = ("mortality", "by_id", "by_time")
    search = tuple(entry.replace("5e-3,", "") for entry in run.tune.search)  # one cell
    run = replace(
        run,
        cohort=replace(run.cohort, tasks=tasks),
        tune=replace(run.tune, tasks=names, starts=("none",), search=search),
    )
    run.check()
    featurize(run)
    said = capsys.readouterr().out
    opened = open_shards(run)
    assert opened.fingerprint == shards  # nothing was made anew
    counts = opened.manifest.tasks
    rows = sum(counts["mortality"].rows.values())
    found = dict(counts["by_id"].steps)
    assert found["rows of the label table"] == found["with a value in each column"] == rows + BEYOND
    assert found["whose stay_id is in the shards"] == found["the first of its stay"] == rows
    lost = dict(counts["by_time"].steps)
    assert lost["of patients with stays in the shards"] == rows + BEYOND
    assert lost["predicted during a stay, or its admission"] == rows
    assert f"    {rows:,} whose stay_id is in the shards" in said
    for name in names[1:]:
        assert counts[name].rows == counts["mortality"].rows
        own, built_in = (
            pl.from_arrow(table).sort("row_id")
            for table in (opened.labels(name), opened.labels("mortality"))
        )
        assert own.drop("over").equals(built_in)
        people = [pl.from_arrow(opened.attributes(task)) for task in (name, "mortality")]
        assert people[0].sort("row_id").equals(people[1].sort("row_id"))
    featurize(run)
    assert "labels of by_time: whole already" in capsys.readouterr().out

    tune(run)
    for model in run.tune.models:
        of = {
            name: pl.read_parquet(f"{run.out}/tune/{name}/{model}/none/predictions.parquet")
            for name in names
        }
        assert of["mortality"].height > 0
        assert of["by_id"].equals(of["mortality"])
        assert of["by_time"].equals(of["mortality"])
    report(replace(run, cohort=cohort.cohort))  # the shards know their tasks
    results = json.loads((Path(run.out) / "report" / "results.json").read_text())
    by_task = {(row["task"], row["model"]): row for row in results["rows"]}
    for model in run.tune.models:
        rows_of = [by_task[name, model] for name in names]
        assert {row["level"] for row in rows_of} == {"stay"}
        assert len({row["auroc"]["value"] for row in rows_of}) == 1
        assert rows_of[1]["subgroups"] == rows_of[0]["subgroups"]
    page = (Path(run.out) / "report" / "index.html").read_text()
    assert "by_time: who is in it" in page


def test_what_is_wrong_with_a_label_table_is_one_sentence(
    featurized: Run,
    branch: Callable[..., Run],
    arguments: list[str],
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    run = branch(featurized, "raw", "shards")
    table = tmp_path / "labels.csv"
    asked = [*arguments, "--out", run.out, "--cohort.tasks", f"own=stay:{table}"]
    assert "where there is no Parquet or CSV file" in refused(featurize, *asked)
    table.write_text("stay_id,label,source\n1,1,mimic9\n")
    assert "1 rows of a source that is none of synthetic" in refused(featurize, *asked)
    table.write_text("stay_id,label\n1,1\n")
    featurize(replace(run, cohort=replace(run.cohort, tasks=(f"own=stay:{table}",))))
    known = refused(tune, *asked[:-1], f"own=stay:{table}", "--tune.tasks", "other")
    assert "tune.tasks has the task 'other'" in known
    table.write_text("stay_id,label\n2,1\n")
    assert "its input labels has changed" in refused(featurize, *asked)
