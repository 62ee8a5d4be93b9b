"""The grid on real Ray Tune: what it writes, chooses, resumes, skips and leaves out."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import ray
from mlflow import MlflowClient
from safetensors.torch import load_file

from jobs.tune import tune
from medhmp.evaluate.discrimination import auroc
from medhmp.layout import MANIFEST, PREDICTION_COLUMNS, STARTED_FROM, TRIAL_COLUMNS
from medhmp.legend import LEVELS, SPLITS, Task
from medhmp.progress import Progress
from medhmp.recipes import PLANTED
from medhmp.run import Run
from medhmp.shards.labelled import read_task
from medhmp.shards.manifest import open_shards
from medhmp.storage import COMPLETE, Folder, Output, Stamp, publish
from medhmp.train.finetune import grid as grid_module
from medhmp.train.finetune.estimators import FitSettings
from medhmp.train.finetune.experiment import InTurn, TrialLines
from medhmp.train.finetune.inputs import FitInputs
from medhmp.train.finetune.search import CellFit, Grid, grids_of
from medhmp.train.finetune.trials import Shared, run_trial

pytestmark = pytest.mark.ray

GRIDS = [
    (task, start)
    for task in PLANTED
    for start in ("none", "stay", "admission", "both")
    if (task, start) != ("heart_failure", "stay")
]


def grid_of(run: Run, task: Task, start: str, model: str = "medhmp") -> Path:
    return Path(run.out) / "tune" / task / model / start


def test_every_task_and_start_is_whole_and_of_the_schemas(tuned: Run) -> None:
    found = {
        (path.parent.parent.parent.name, path.parent.name)
        for path in Path(tuned.out).glob(f"tune/*/medhmp/*/{COMPLETE}")
    }
    assert found == set(GRIDS)  # a patient task has no start "stay": stage one gives it nothing
    for path in Path(tuned.out).glob("tune/*/*/*"):
        assert pq.read_schema(path / "trials.parquet") == TRIAL_COLUMNS
        assert pq.read_schema(path / "predictions.parquet") == PREDICTION_COLUMNS
        best = json.loads((path / "best.json").read_text())
        cell = f"batch-{best['batch_size']}-lr-{best['learning_rate']:g}"
        suffix = "safetensors"
        if best["batch_size"] is None:
            cell = "lr-{learning_rate:g}-max_leaf_nodes-{max_leaf_nodes:g}-max_features-"
            cell = (cell + "{max_features:g}-components-{components:g}").format(**best)
            suffix = "skops"
        seeds = range(tuned.tune.replicates)
        kept = {f"{cell}-seed-{seed}.{suffix}" for seed in seeds}
        files = {file.name for file in path.glob("trials/*-seed-*")}
        records = {name for name in files if name.endswith(".json")}
        assert files - records == kept  # models of the chosen cell alone
        assert len(records) == len(best["cells"]) * len(seeds)


@pytest.mark.parametrize(("task", "start"), [("mortality", "both"), ("heart_failure", "none")])
def test_the_cell_of_lowest_mean_validation_loss_is_chosen(
    tuned: Run, task: Task, start: str
) -> None:
    folder = grid_of(tuned, task, start)
    trials = pl.read_parquet(folder / "trials.parquet")
    assert trials.height == 2 * tuned.tune.replicates
    assert trials["status"].unique().to_list() == ["finished"]
    mean = trials.group_by("batch_size", "lr").agg(pl.col("val_loss").mean()).sort("val_loss")
    best = json.loads((folder / "best.json").read_text())
    assert (best["batch_size"], best["learning_rate"]) == mean.row(0)[:2]
    assert best["mean_val_loss"] == pytest.approx(mean["val_loss"][0])
    losses = sorted(cell["mean_val_loss"] for cell in best["cells"])
    assert losses == pytest.approx(mean["val_loss"].to_list())


@pytest.mark.parametrize(("task", "start"), [("mortality", "both"), ("heart_failure", "none")])
def test_only_the_chosen_cell_scores_each_row_once_per_seed(
    tuned: Run, task: Task, start: str
) -> None:
    folder = grid_of(tuned, task, start)
    predictions = pl.read_parquet(folder / "predictions.parquet")
    labels = pl.read_parquet(f"{tuned.out}/shards/labels/{task}.parquet")
    held_out = labels.filter(pl.col("split") != "train")
    keys = ["subject_id", "row_id", "split", "label"]
    for seed in range(tuned.tune.replicates):
        own = predictions.filter(pl.col("seed") == seed)
        assert own.select(keys).sort(keys).equals(held_out.select(keys).sort(keys))
    assert predictions.height == tuned.tune.replicates * held_out.height
    assert predictions["score"].is_between(0, 1).all()
    best = json.loads((folder / "best.json").read_text())
    trials = pl.read_parquet(folder / "trials.parquet").filter(
        (pl.col("lr") == best["learning_rate"]) & (pl.col("batch_size") == best["batch_size"])
    )
    for row in trials.iter_rows(named=True):
        validation = predictions.filter(split="validation", seed=row["seed"])
        p = validation["score"].cast(pl.Float64).clip(1e-7, 1 - 1e-7).to_numpy()
        y = validation["label"].to_numpy()
        loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        assert loss == pytest.approx(row["val_loss"], abs=1e-5)
        assert auroc(y, p) == pytest.approx(row["val_auroc"], abs=1e-6)


@pytest.mark.parametrize(("task", "start"), GRIDS)
def test_best_json_lists_the_tensors_that_arrived(tuned: Run, task: Task, start: str) -> None:
    arrived = json.loads((grid_of(tuned, task, start) / "best.json").read_text())["arrived"]
    if start == "none":
        assert arrived == []
        return
    source = load_file(f"{tuned.out}/{STARTED_FROM[start]}/model.safetensors")
    prefix = "stay." if start == "stay" else "admission.stay."
    stay = {name.removeprefix(prefix) for name in source if name.startswith(prefix)}
    assert len(stay) > 5
    expected = {
        "stay": {f"stay.{name}" for name in stay},
        "admission": {f"admission.stay.{name}" for name in stay}
        if start == "stay"
        else {name for name in source if name.startswith("admission.")},
        "patient": {
            name.removeprefix("admission.") for name in source if "admission.diagnoses." in name
        },
    }[LEVELS[task]]
    assert set(arrived) == expected
    assert len(arrived) == len(expected)


def only_grid(run: Run) -> tuple[Grid, Shared]:
    """The one grid of the run, and what its trials read."""
    shards = open_shards(run)
    (grid,) = grids_of(run, "mortality", FitInputs(run, shards))
    rows = read_task(shards, "mortality", run.cohort, run.model)
    settings = FitSettings(run.model, run.finetune, shards.widths)
    given = {"mortality": ray.put(rows)}
    return grid, Shared(given, settings, {("none", 0, False): None}, (grid,))


def fits_of(grid: Grid) -> list[CellFit]:
    return [fit for cell in grid.cells for fit in cell.fits]


def rates_of(run: Run) -> tuple[float, ...]:
    return run.tune.searched("medhmp", "none")["learning_rate"]


def searching(*rates: float) -> tuple[str, ...]:
    return ("medhmp.batch_size=32", f"medhmp.learning_rate={','.join(map(str, rates))}")


def one_grid(run: Run, **changes: Any) -> Run:
    """The run narrowed to one grid of two cells: one task on stays, random start."""
    narrow = {"tasks": ("mortality",), "models": ("medhmp",), "starts": ("none",), **changes}
    return replace(run, tune=replace(run.tune, **narrow))


@pytest.mark.parametrize("done", [1, 4])
def test_a_grid_begun_again_goes_on_with_the_fits_that_are_missing(
    tuned: Run, branch: Callable[..., Run], done: int
) -> None:
    """With all four done, what is missing is the choice and the scores."""
    run = branch(one_grid(tuned), "shards")
    grid, shared = only_grid(run)
    fits = fits_of(grid)
    for fit in fits[:done]:
        run_trial(fit.config, shared)
    trials = grid_of(run, "mortality", "none") / "trials"
    before = {path: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert len(before) == done
    tune(run)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(p.name for p in trials.glob("*.json")) == sorted(fit.record for fit in fits)
    undisturbed = grid_of(tuned, "mortality", "none")
    for name in ("trials.parquet", "predictions.parquet"):
        assert pl.read_parquet(trials.parent / name).equals(pl.read_parquet(undisturbed / name))


def test_one_more_rate_keeps_the_cells_and_chooses_among_all(
    tuned: Run, branch: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate teaches nothing, so that the choice and its predictions are what they were."""
    run = branch(one_grid(tuned), "shards", "tune/mortality/medhmp/none", overwrite=True)
    folder = grid_of(run, "mortality", "none")
    before = {path: path.read_bytes() for path in folder.glob("trials/*.json")}
    fitted: list[str] = []
    results: list[Any] = []
    fit = grid_module.run_experiment

    def fit_and_note(fits: list[CellFit], *rest: Any) -> None:
        fitted.extend(fit.name for fit in fits)
        results.append(fit(fits, *rest))

    monkeypatch.setattr(grid_module, "run_experiment", fit_and_note)
    tune(one_grid(run, search=searching(*rates_of(run), 1e-12)))
    assert fitted == ["batch-32-lr-1e-12-seed-0", "batch-32-lr-1e-12-seed-1"]
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(folder.glob("trials/*.json"))) == len(before) + 2
    assert set(pl.read_parquet(folder / "trials.parquet")["lr"]) > {1e-12}
    undisturbed = grid_of(tuned, "mortality", "none") / "predictions.parquet"
    assert pl.read_parquet(folder / "predictions.parquet").equals(pl.read_parquet(undisturbed))


def test_a_narrower_search_fits_its_choice_again_if_the_weights_are_gone(
    tuned: Run, branch: Callable[..., Run]
) -> None:
    run = branch(one_grid(tuned), "shards", "tune/mortality/medhmp/none", overwrite=True)
    folder = grid_of(run, "mortality", "none")
    best = json.loads((folder / "best.json").read_text())["learning_rate"]
    (other,) = set(rates_of(run)) - {best}
    tune(one_grid(run, search=searching(other)))
    assert json.loads((folder / "best.json").read_text())["learning_rate"] == other
    assert len(list(folder.glob("trials/*.safetensors"))) == run.tune.replicates
    was = pl.read_parquet(grid_of(tuned, "mortality", "none") / "trials.parquet").filter(lr=other)
    assert pl.read_parquet(folder / "trials.parquet").equals(was)


def test_a_fit_of_another_run_that_was_cut_off_is_not_taken_for_this_runs(
    tuned: Run, branch: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights have the same names; the record, written after them, must not outlive them."""
    run = branch(one_grid(tuned), "shards")

    def fit_first(of: Run) -> None:
        grid, shared = only_grid(of)
        run_trial(fits_of(grid)[0].config, shared)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    fit_first(run)
    trials = grid_of(run, "mortality", "none") / "trials"
    assert len(list(trials.glob("*.json"))) == 1
    monkeypatch.setattr(Folder, "write_record", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fit_first(replace(run, finetune=replace(run.finetune, epochs=1)))
    assert list(trials.glob("*.json")) == []


def test_a_finished_run_opens_the_shards_once(tuned: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a file opens it, or asks for its size, through its folder."""
    opens: list[str] = []
    whole = Folder.open

    def open_and_note(self: Folder, name: str) -> Any:
        opens.append((self / name).uri.removeprefix(f"{tuned.out}/"))
        return whole(self, name)

    monkeypatch.setattr(Folder, "open", open_and_note)
    tune(tuned)
    read_once = ("shards/complete.json", "shards/manifest.json", "pretrain_stay/complete.json")
    counts = {name: opens.count(name) for name in read_once}
    assert counts == dict.fromkeys(read_once, 1)
    assert opens.count("shards/note_embeddings/complete.json") == 1
    assert len([name for name in opens if name.endswith("/best.json")]) > len(GRIDS)  # of all


def test_in_a_log_a_line_is_said_while_no_fit_ends_and_what_the_first_waits_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("medhmp.progress.time.monotonic", lambda: now[0])
    nothing = InTurn([], lambda grid: [])
    lines = TrialLines(nothing, {"CPU": 1, "GPU": 0.25}, Progress(quiet=False).pace())
    for _ in range(7):
        lines.on_step_end(0, [])
        now[0] += 10
    printed = capsys.readouterr().out
    assert printed.count("tune 0/0 fits  ") == 2
    assert printed.count("so far, waiting for 1 CPU and 0.25 GPU of the cluster") == 2


def test_fits_are_told_tracked_and_named_by_what_they_are(
    cohort: Run,
    branch: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """ASHA stops fits of rates that teach nothing; beyond the highest one more is searched, which
    diverges, is recorded and not chosen."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlflow"))
    nothing = (1e-33, 1e-34, 1e-35)
    run = one_grid(cohort, search=searching(5e-3, *nothing), replicates=1, asha=True, extend=1)
    run = branch(run, "shards", quiet=False, tracker="mlflow")
    run = replace(run, finetune=replace(run.finetune, epochs=4, patience=2))
    monkeypatch.setattr(Progress, "is_watched", property(lambda self: not self.quiet))
    results: list[Any] = []
    fit = grid_module.run_experiment
    monkeypatch.setattr(grid_module, "run_experiment", lambda *given: results.append(fit(*given)))
    tune(run)
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if re.match(r"tune \d+/\d+ fits ", line)]
    assert len(lines) == 5
    assert all(re.search(r" mortality medhmp none 32 .*  \d+ s left$", line) for line in lines)
    assert lines[-1].startswith("tune 5/5 fits  ")
    (bad,) = [line for line in lines if " 2.5e+28 " in line]
    assert "  diverged  " in bad
    assert any("searching 2.5e+28, too" in line for line in printed)

    folder = grid_of(run, "mortality", "none")
    trials = pl.read_parquet(folder / "trials.parquet")
    status = dict(trials.select("lr", "status").iter_rows())
    assert (status[2.5e28], status[5e-3]) == ("diverged", "finished")
    assert "stopped" in {status[rate] for rate in nothing} <= {"stopped", "finished"}
    assert json.loads((folder / "best.json").read_text())["learning_rate"] == 5e-3
    stopped = trials.filter(status="stopped")
    assert any(f"ASHA stopped {stopped.height} of 5 fits" in line for line in printed)
    assert stopped["epochs"].to_list() == [2] * stopped.height
    assert trials.filter(status="diverged")["val_loss"].to_list() == [None]

    table = results[0].get_dataframe()
    named = table[["config/task", "config/model", "config/start", "config/replicate"]]
    assert set(named.itertuples(index=False, name=None)) == {("mortality", "medhmp", "none", 0)}
    assert set(table["config/learning_rate"]) == set(status)

    client = MlflowClient(str(tmp_path / "mlflow"))
    place = client.get_experiment_by_name(run.name).experiment_id
    tracked = {float(of.data.params["learning_rate"]): of for of in client.search_runs([place])}
    assert tracked.keys() == status.keys()
    for row in trials.iter_rows(named=True):
        told = tracked[row["lr"]].data
        assert told.params | {"task": "mortality", "batch_size": "32"} == told.params
        if row["status"] != "diverged":
            losses = [
                of.value
                for of in client.get_metric_history(tracked[row["lr"]].info.run_id, "val_loss")
            ]
            assert len(losses) >= row["epochs"]
            assert min(losses) == pytest.approx(row["val_loss"])


def publish_again(run: Run, *changed: str) -> None:
    """Vouches for files of the shards that a test has changed."""
    shards = Output.of(Folder(run.out) / "shards")
    assert shards is not None
    files = {**shards.files, **{name: shards.folder.entry(name) for name in changed}}
    publish(shards.folder, Stamp(shards.fields, shards.inputs), list(files.values()))


def test_a_task_without_test_positives_is_reported_not_trained(
    cohort: Run, branch: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = branch(one_grid(cohort), "shards", quiet=False)
    path = Path(run.out) / "shards/labels/mortality.parquet"
    none_in_test = pl.when(split="test").then(0).otherwise("label").cast(pl.Int8).alias("label")
    pl.read_parquet(path).with_columns(none_in_test).write_parquet(path)
    publish_again(run, "labels/mortality.parquet")
    tune(run)
    assert [p.name for p in Path(run.out).glob("tune/mortality/*")] == ["skipped.json"]
    record = json.loads((Path(run.out) / "tune" / "mortality" / "skipped.json").read_text())
    assert (record["task"], record["counts"]["test"]["positive"]) == ("mortality", 0)
    assert "mortality" in capsys.readouterr().out


def test_a_task_without_a_case_is_reported_not_trained(
    cohort: Run, branch: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """As featurize leaves a table where no one has the disease."""
    run = branch(cohort, "shards", quiet=False)
    labels, manifest = (
        Path(run.out) / f"shards/{of}" for of in ("labels/amnesia.parquet", MANIFEST)
    )
    pl.read_parquet(labels).clear().write_parquet(labels)
    told = json.loads(manifest.read_text())
    none = dict.fromkeys(SPLITS, 0)
    emptied = "no rows: the step 'cases' left none of 34"
    told["tasks"]["amnesia"] |= {"rows": none, "positives": none, "emptied": emptied}
    manifest.write_text(json.dumps(told))
    publish_again(run, "labels/amnesia.parquet", MANIFEST)
    tune(replace(run, tune=replace(run.tune, tasks=("amnesia",))))
    record = json.loads((Path(run.out) / "tune" / "amnesia" / "skipped.json").read_text())
    assert record["reason"] == emptied
    assert {split: of["rows"] for split, of in record["counts"].items()} == {
        "train": 0,
        "validation": 0,
        "test": 0,
    }
    printed = capsys.readouterr().out
    assert "tune amnesia: skipped" in printed
    assert "0 grids run" in printed
