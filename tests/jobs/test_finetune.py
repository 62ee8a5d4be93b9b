"""One fit as a job: what it writes, and that its predictions are of the labelled rows."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from jobs.finetune import finetune
from medhmp.evaluate.discrimination import auroc
from medhmp.layout import PREDICTION_COLUMNS
from medhmp.legend import Task
from medhmp.run import Run
from medhmp.storage import COMPLETE

pytestmark = pytest.mark.ray


def fit_of(run: Run, task: Task, **changes: object) -> tuple[Run, Path]:
    """The run whose one fit is of ``task``, and the folder that it goes to."""
    run = replace(run, fit=replace(run.fit, task=task, **changes))
    chosen = run.fit
    place = f"finetune/{task}/{chosen.model}/{chosen.start}/seed-{chosen.seed}"
    return run, Path(run.out) / place


@pytest.mark.parametrize("task", ["mortality", "readmission", "heart_failure"])
def test_a_fit_writes_its_model_and_predictions_of_the_labelled_rows(
    pretrained: Run, task: Task
) -> None:
    run, folder = fit_of(pretrained, task, seed=3)
    finetune(run)
    written = {path.name for path in folder.iterdir()}
    outputs = {"model.safetensors", "run.json", "metrics.jsonl", "predictions.parquet"}
    assert written == outputs | {COMPLETE}
    assert json.loads((folder / "run.json").read_text())["fit"]["task"] == task
    assert load_file(folder / "model.safetensors")["head.weight"].shape == (1, run.model.width)

    assert pq.read_schema(folder / "predictions.parquet") == PREDICTION_COLUMNS
    predictions = pl.read_parquet(folder / "predictions.parquet")
    assert predictions["seed"].unique().to_list() == [3]
    labels = pl.read_parquet(f"{run.out}/shards/labels/{task}.parquet")
    held_out = labels.filter(pl.col("split") != "train")
    keys = ["subject_id", "row_id", "split", "label"]
    assert predictions.select(keys).sort(keys).equals(held_out.select(keys).sort(keys))

    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = min(metrics, key=lambda epoch: epoch["val_loss"])
    validation = predictions.filter(split="validation")
    area = auroc(validation["label"].to_numpy(), validation["score"].to_numpy())
    assert area == pytest.approx(best["val_auroc"], abs=1e-6)


def test_a_rerun_is_skipped_and_another_seed_is_another_output(
    cohort: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = fit_of(cohort, "mortality", start="none")
    finetune(run)
    before = (folder / COMPLETE).stat().st_mtime_ns
    finetune(replace(run, quiet=False))
    assert "whole already" in capsys.readouterr().out
    assert (folder / COMPLETE).stat().st_mtime_ns == before
    other, beside = fit_of(run, "mortality", start="none", seed=1)
    finetune(other)
    one, two = (load_file(place / "model.safetensors") for place in (folder, beside))
    assert any(not one[name].equal(two[name]) for name in one)


@pytest.mark.parametrize(
    ("start", "job"),
    [("stay", "pretrain_stay"), ("both", "pretrain_admission")],
)
def test_a_start_that_is_not_there_names_the_job_that_makes_it(
    cohort: Run,
    branch: Callable[..., Run],
    refused: Callable[..., str],
    arguments: list[str],
    start: str,
    job: str,
) -> None:
    run = branch(cohort, "shards")
    sentence = refused(finetune, *arguments, "--out", run.out, "--fit.start", start)
    assert f"run jobs.{job} first" in sentence


def test_trees_are_fitted_as_the_grid_fits_them(tuned: Run) -> None:
    run, folder = fit_of(tuned, "mortality", model="hist_gradient_boosting", start="none")
    finetune(run)
    written = {path.name for path in folder.iterdir()}
    assert written == {"model.skops", "run.json", "metrics.jsonl", "predictions.parquet", COMPLETE}
    (row,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    grid = Path(run.out) / "tune/mortality/hist_gradient_boosting/none"
    of_the_grid = pl.read_parquet(grid / "trials.parquet").row(0, named=True)
    assert {name: row[name] for name in ("val_loss", "val_auroc")}.items() <= of_the_grid.items()
    ours, theirs = (pl.read_parquet(f"{place}/predictions.parquet") for place in (folder, grid))
    assert ours.equals(theirs.filter(seed=0))
    model = (folder / "model.skops").read_bytes()
    assert model == (grid / f"trials/{of_the_grid['cell']}-seed-0.skops").read_bytes()


def test_a_start_of_a_model_that_takes_none_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    model = ("--fit.model", "hist_gradient_boosting")
    sentence = refused(finetune, "smoke", "--out", str(tmp_path), *model, needs_ray=False)
    assert "hist_gradient_boosting is not pretrained; give --fit.start none" in sentence
