"""Trained models leave the run and score rows as it did: folders, cards, from_pretrained, jobs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nbformat
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from meds_evaluation.schema import PredictionSchema
from nbclient import NotebookClient

import medhmp
from jobs.embed import embed
from jobs.export import export
from jobs.predict import begin, predict
from jobs.predict import main as predict_main
from jobs.synthesize import synthesize
from medhmp.layout import MEDS_PREDICTION_COLUMNS
from medhmp.model.catalog import MODELS
from medhmp.pretrained import predict as predicted
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import COMPLETE, Folder, Stamp, opened, publish
from tests.conftest import ROOT

pytestmark = pytest.mark.ray

CHOSEN = [
    (task, model, start)
    for task in ("mortality", "readmission", "heart_failure")
    for model, start in (("medhmp", "both"), ("hist_gradient_boosting", "none"))
]

WITHOUT_RAY = """
import sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ImportError(name)

sys.meta_path.insert(0, NoRay())
import medhmp

model, tables, out = sys.argv[1:]
medhmp.from_pretrained(model).predict(tables={"synthetic": tables}).write_parquet(out)
"""


def own_scores(run: Run, task: str, model: str, start: str) -> pl.DataFrame:
    """The mean score of each validation and test row, as the run itself made them."""
    made = pl.read_parquet(f"{run.out}/tune/{task}/{model}/{start}/predictions.parquet")
    mean = pl.col("score").cast(pl.Float64).mean()
    return made.group_by("row_id", group="split").agg(mean).sort("row_id")


def applied(run: Run, model: str, out: Path) -> Run:
    """The run with which a job applies a model of another run."""
    return replace(begin(f"{run.out}/models/{model}"), out=str(out), report=run.report)


def row_of(out: Path, task: str) -> dict[str, Any]:
    """The report's row of MedHMP's full start on a task."""
    results = json.loads((out / "report/results.json").read_text())
    wanted = (task, "medhmp", "both")
    (row,) = (r for r in results["rows"] if (r["task"], r["model"], r["start"]) == wanted)
    assert isinstance(row, dict)
    return row


def held_out(scored: pl.DataFrame) -> pl.DataFrame:
    rows = scored.filter(pl.col("group").is_in(["validation", "test"]))
    return rows.select("row_id", "group", "score").sort("row_id")


@pytest.mark.parametrize(("task", "model", "start"), CHOSEN)
def test_a_model_folder_scores_as_its_run_did_to_the_last_bit(
    exported: Run, task: str, model: str, start: str
) -> None:
    loaded = medhmp.from_pretrained(f"{exported.out}/models/{task}/{model}/{start}")
    scored = loaded.predict(f"{exported.out}/shards")
    assert held_out(scored).equals(own_scores(exported, task, model, start))
    labels = pl.read_parquet(f"{exported.out}/shards/labels/{task}.parquet")
    keys = ["subject_id", "row_id", "label", "prediction_time"]
    assert scored.select(keys).sort("row_id").equals(labels.select(keys).sort("row_id"))


def test_folders_hold_all_that_they_say_and_no_place_of_the_run(exported: Run) -> None:
    models = Path(exported.out) / "models"
    folders = {str(path.parent.relative_to(models)) for path in models.rglob(COMPLETE)}
    grids = Path(exported.out) / "tune"
    chosen = {str(path.parent.relative_to(grids)) for path in grids.rglob("best.json")}
    stages = {"pretrain_stay", "pretrain_admission/from_stay", "pretrain_admission/from_scratch"}
    assert folders == chosen | stages
    for name in folders:
        folder, first = models / name, name.split("/")
        files = {path.name for path in folder.iterdir()}
        config = json.loads((folder / "config.json").read_text())
        assert files == {"config.json", "manifest.json", "README.md", COMPLETE, *config["weights"]}
        network = name in stages or MODELS[first[1]].is_network
        assert config["weights"][0] == ("model.safetensors" if network else "model.skops")
        assert len(config["weights"]) == (1 if name in stages else exported.tune.replicates)
        for file in files - set(config["weights"]):
            assert exported.out not in (folder / file).read_text()


def test_a_card_has_mitchell_s_sections_and_the_report_s_figures(exported: Run) -> None:
    card = Path(exported.out, "models/mortality/medhmp/both/README.md").read_text()
    sections = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert sections == [
        *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data"),
        *("Training data", "Quantitative analyses", "Ethical considerations"),
        "Caveats and recommendations",
    ]
    row = row_of(Path(exported.out), "mortality")
    assert f"| AUROC | {row['auroc']['value']:.3f}" in card
    assert f"{row['n']:,} test rows" in card
    assert "The best model on counted features, Gradient boosting, has an AUROC of" in card
    assert "Not for clinical use" in " ".join(card.split())


def test_raw_tables_score_as_their_shards_did_and_end_in_the_run_s_own_report(
    exported: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(f"{exported.out}/raw", tmp_path / "raw")
    run = applied(exported, "mortality/medhmp/both", tmp_path)
    predict(run)
    made = tmp_path / "predictions"
    rows = pl.read_parquet(made / "rows" / "test")
    own = pl.read_parquet(f"{exported.out}/tune/mortality/medhmp/both/predictions.parquet")
    keys = ["row_id", "seed"]
    assert rows.sort(keys).equals(own.filter(split="test").sort(keys))
    for group in ("train", "validation", "test"):
        meds = PredictionSchema.align(pl.read_parquet(made / group).to_arrow())
        assert meds.column_names == MEDS_PREDICTION_COLUMNS.names

    summary = json.loads((made / "predictions.json").read_text())
    labels = pl.read_parquet(f"{exported.out}/shards/labels/mortality.parquet")
    assert summary["rows"] == dict(labels["split"].value_counts().iter_rows())
    steps = json.loads(Path(exported.out, "shards/manifest.json").read_text())["tasks"]
    stays = steps["mortality"]["steps"][0][1]
    assert sum(summary["left_out"].values()) == stays - labels.height

    ours, theirs = (row_of(Path(out), "mortality") for out in (tmp_path, exported.out))
    alike = ("n", "events", "score_auroc", "calibration", "thresholds", "recalibrated")
    assert {k: ours[k] for k in alike} == {k: theirs[k] for k in alike}
    assert ours["subgroups"] == theirs["subgroups"]
    for metric in ("auroc", "aupr", "f1_tuned"):  # intervals are of draws that other rows share
        assert [ours[metric][of] for of in ("value", "sd")] == [
            theirs[metric][of] for of in ("value", "sd")
        ]
    predict(replace(run, quiet=False))
    assert "predictions: whole already" in capsys.readouterr().out


def test_another_hospital_s_tables_end_in_external_validation_that_meds_reads_alike(
    exported: Run, tmp_path: Path
) -> None:
    run = applied(exported, "readmission/medhmp/both", tmp_path)
    cohort = replace(run.tables.synthetic, seed=7)
    run = replace(run, tables=replace(run.tables, synthetic=cohort))
    synthesize(run)
    predict(run)
    rows = pl.read_parquet(tmp_path / "predictions/rows/labelled")
    labels = pl.read_parquet(tmp_path / "shards/labels/readmission.parquet")
    assert set(rows["row_id"]) == set(labels["row_id"])
    assert not (tmp_path / "shards/notes").exists()
    folders = {path.name for path in (tmp_path / "predictions").iterdir() if path.is_dir()}
    assert folders == {"labelled", "rows"}
    assert "External validation: rows of synthetic" in (tmp_path / "report/report.md").read_text()

    said, command = tmp_path / "meds.json", Path(sys.executable).with_name("meds-evaluation-cli")
    places = (f"predictions_path={tmp_path}/predictions/labelled", f"output_file={said}")
    subprocess.run([command, *places], check=True, cwd=tmp_path, capture_output=True)
    theirs = json.loads(said.read_text())["samples_equally_weighted"]["roc_auc_score"]
    assert row_of(tmp_path, "readmission")["score_auroc"]["value"] == pytest.approx(
        theirs, abs=1e-9
    )


def test_it_scores_raw_tables_in_a_process_without_ray(exported: Run, tmp_path: Path) -> None:
    model, out = f"{exported.out}/models/mortality/medhmp/both", tmp_path / "scored.parquet"
    command = [sys.executable, "-c", WITHOUT_RAY, model, f"{exported.out}/raw", str(out)]
    subprocess.run(command, check=True, cwd=ROOT)
    own = own_scores(exported, "mortality", "medhmp", "both")
    assert held_out(pl.read_parquet(out)).equals(own)


@pytest.fixture
def copied(exported: Run, tmp_path: Path) -> Path:
    """A copy of a model folder, to be spoilt."""
    source = Path(exported.out) / "models/mortality/hist_gradient_boosting/none"
    return Path(shutil.copytree(source, tmp_path / "model"))


def test_a_folder_that_is_not_whole_is_refused(copied: Path) -> None:
    (copied / "model.skops").write_bytes(b"x" * (copied / "model.skops").stat().st_size)
    with pytest.raises(Refusal, match=r"model\.skops is missing or not what was written"):
        _ = medhmp.from_pretrained(str(copied)).estimators
    (copied / COMPLETE).unlink()
    with pytest.raises(Refusal, match=r"is missing or not whole; run jobs\.export first"):
        medhmp.from_pretrained(str(copied))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "is in another format of version 0.1.0 and this is version"),
        ({"model": "oracle"}, "holds the model 'oracle' of version 0.1.0, which version"),
        (
            {"fields": {"features.later": 1}},
            "by version 0.1.0 with the field 'features.later'",
        ),
    ],
)
def test_a_model_of_another_version_is_refused_by_name(
    copied: Path, changes: dict[str, Any], sentence: str
) -> None:
    folder = Folder(str(copied))
    record = opened(folder, "export")
    config = folder.write_json("config.json", folder.read_json("config.json") | changes)
    files = {**record.files, config.name: config}
    publish(folder, Stamp(record.fields, record.inputs), list(files.values()))
    with pytest.raises(Refusal, match=sentence):
        medhmp.from_pretrained(str(copied))


def test_a_command_without_a_model_or_without_rows_is_refused(
    exported: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = f"{exported.out}/models/mortality/medhmp/both"
    for arguments, sentence in (
        (["--out", str(tmp_path)], "a model is missing; give its folder"),
        ([str(tmp_path), "--out", str(tmp_path)], "is missing or not whole; run jobs.export first"),
        ([model, "--out", str(tmp_path)], "there is nothing to read; give raw tables with"),
        ([model, "--apply.rows", "100"], "apply.rows is 100; give a multiple of 256"),
    ):
        monkeypatch.setattr(sys, "argv", ["jobs/predict.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            predict_main()
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err


def test_what_is_no_model_of_rows_is_refused(exported: Run) -> None:
    with pytest.raises(Refusal, match="holds no trained model; give a folder below models/"):
        medhmp.from_pretrained(f"{exported.out}/shards")
    pretraining = medhmp.from_pretrained(f"{exported.out}/models/pretrain_stay")
    with pytest.raises(Refusal, match="is the pretraining pretrain_stay, which predicts nothing"):
        pretraining.predict(f"{exported.out}/shards")


def test_a_report_that_is_older_than_a_grid_is_refused(
    exported: Run, branch: Callable[..., Run]
) -> None:
    parts = ("shards", "pretrain_stay", "pretrain_admission", "report")
    place = "tune/mortality/hist_gradient_boosting/none"
    run = branch(exported, *parts, place)
    record = json.loads(Path(run.out, "report", COMPLETE).read_text())
    record["inputs"][place] = "0" * 64
    record.pop("seal")
    Folder(f"{run.out}/report").write_record(COMPLETE, record)
    with pytest.raises(Refusal, match=r"does not have the figures of .* run jobs\.report again"):
        export(run)


def test_a_killed_job_in_a_bucket_ends_with_the_same_bytes(
    exported: Run, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on disk does that lost its power at the end: no part of it is written again."""
    model, shards = f"{s3}/model", f"{s3}/shards"
    for place, uri in (("models/arf/medhmp/both", model), ("shards", shards)):
        for path in Path(exported.out, place).rglob("*"):
            if path.is_file() and "note" not in path.parts[-2]:
                name = str(path.relative_to(Path(exported.out, place)))
                Folder(uri).write_bytes(name, path.read_bytes())
    arguments = ["--apply.shards", shards, "--apply.rows", "256"]
    command = [sys.executable, "-m", "jobs.predict", model, *arguments, "--out", f"{s3}/out"]
    out = Folder(f"{s3}/out/predictions")
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    while not out.exists(".work/build.json"):
        assert job.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert not out.exists(COMPLETE)

    run = begin(model)
    run = replace(run, apply=replace(run.apply, shards=shards, rows=256), report=exported.report)
    predict(replace(run, out=f"{s3}/out"))
    here = replace(run, out=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(predicted, "finished", Mock(side_effect=OSError("no power")))
        with pytest.raises(OSError, match="no power"):
            predict(here)
    parts = list((tmp_path / "predictions").rglob("part-*.parquet"))
    written = [path.stat().st_mtime_ns for path in parts]
    predict(here)
    assert [path.stat().st_mtime_ns for path in parts] == written
    undisturbed = Folder(str(tmp_path / "predictions"))
    entries = opened(undisturbed, "predict").files
    assert opened(out, "predict").files == entries
    assert {name.split("/")[0] for name in entries} == {
        *("train", "validation", "test", "rows", "predictions.json"),
    }
    assert Folder(f"{s3}/out/report").exists("index.html")


def test_rows_of_tables_without_labels_are_scored_too(exported: Run, tmp_path: Path) -> None:
    """As of patients who are still in the unit: at the time that a label would have."""
    shards = tmp_path / "shards"
    shutil.copytree(f"{exported.out}/shards", shards)
    record, place = opened(Folder(str(shards)), "featurize"), "labels/arf.parquet"
    empty = Folder(str(shards)).write_parquet(place, pq.read_table(shards / place).slice(0, 0))
    files = {**record.files, place: empty}
    publish(record.folder, Stamp(record.fields, record.inputs), list(files.values()))
    model = medhmp.from_pretrained(f"{exported.out}/models/arf/medhmp/both")
    scored = model.predict(str(shards))
    assert scored["group"].unique().to_list() == ["unlabelled"]
    stays = pl.concat([pl.read_parquet(path) for path in (shards / "stays").iterdir()])
    assert set(scored["row_id"]) == set(stays["stay_id"])
    known = model.predict(f"{exported.out}/shards").join(scored, on="row_id", suffix="_unknown")
    assert known.height == pl.read_parquet(f"{exported.out}/shards/{place}").height
    assert known["prediction_time"].equals(known["prediction_time_unknown"])
    assert (known["score"] - known["score_unknown"]).abs().max() < 1e-5


def test_vectors_are_the_network_s_own_and_each_has_its_name(exported: Run, tmp_path: Path) -> None:
    shards, models = f"{exported.out}/shards", f"{exported.out}/models"
    run = begin(f"{models}/pretrain_admission/from_stay")
    embed(replace(run, out=str(tmp_path), apply=replace(run.apply, shards=shards)))
    made = tmp_path / "embeddings"
    kinds = {path.stem for path in made.iterdir()} - {"complete"}
    assert kinds == {"stays", "admissions", "visits", "diagnoses", "drugs"}
    model = medhmp.from_pretrained(f"{models}/pretrain_admission/from_stay")
    here = model.embed(shards)
    for kind in kinds:
        files = sorted((made / kind).iterdir()) if (made / kind).is_dir() else []
        frames = [pl.read_parquet(path) for path in files or [made / f"{kind}.parquet"]]
        assert pl.concat(frames).equals(here[kind])
        assert len(here[kind]["vector"][0]) == exported.model.width
    manifest = json.loads(Path(shards, "manifest.json").read_text())
    for kind in ("diagnoses", "drugs"):
        assert here[kind]["code"].to_list() == manifest[kind]
    for kind, key in (("stays", "stay_id"), ("admissions", "hadm_id")):
        rows = pl.concat([pl.read_parquet(p, columns=[key]) for p in Path(shards, kind).iterdir()])
        assert set(here[kind][key]) == set(rows[key])

    one = here["visits"].row(0, named=True)
    admissions = pl.concat([pl.read_parquet(p) for p in Path(shards, "admissions").iterdir()])
    codes = admissions.filter(hadm_id=one["hadm_id"])["icd_ids"][0].to_list()
    mlp: Any = model.network.get_submodule("admission.diagnoses")
    with torch.inference_mode():
        alone = mlp(torch.tensor(codes), torch.tensor([0, len(codes)]))
    assert np.allclose(one["vector"], alone[0].numpy(), atol=1e-6)

    trees = medhmp.from_pretrained(f"{models}/arf/hist_gradient_boosting/none")
    with pytest.raises(Refusal, match="is hist_gradient_boosting, which is no network"):
        trees.embed(shards)


def test_the_notebook_runs(exported: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDHMP_RUN", exported.out)
    notebook = nbformat.read(ROOT / "examples/use_a_model.ipynb", as_version=4)
    place = {"metadata": {"path": str(ROOT / "examples")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    drawn = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(drawn) == 2
