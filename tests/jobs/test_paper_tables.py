"""The paper, table by table, on the session's run: killed, begun again, and read back."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from jobs.paper_tables import paper_tables
from medhmp import command
from medhmp.layout import EPOCH_COLUMNS
from medhmp.model.catalog import MODELS
from medhmp.paper.plan import FLOORS
from medhmp.run import Run
from medhmp.storage import COMPLETE, Folder, opened

pytestmark = pytest.mark.ray

ASKED = (
    *("--tune.tasks", "mortality", "heart_failure", "--paper.parts", "table_6", "table_7"),
    *("table_8", "figure_6", "--tune.starts", "none", "stay", "both"),
)


@pytest.fixture
def made(
    pretrained: Run,
    branch: Callable[..., Run],
    start_job: Callable[..., Any],
    arguments: list[str],
) -> Run:
    """A run of the job that was killed among its fits, and begun again."""
    out = branch(pretrained, "raw", "shards", "pretrain_stay", "pretrain_admission").out
    run = replace(command.parse([*arguments, *ASKED]), out=out)
    start_job("paper_tables", out, *ASKED).kill_once(lambda: len(records(run)) > 3)
    finished = records(run)
    paper_tables(run)
    assert finished.items() <= records(run).items()  # no finished fit has run again
    return run


def records(run: Run) -> dict[str, int]:
    """The time at which each cell's record was written."""
    every = Path(run.out).glob("**/trials/*.json")
    return {str(path): path.stat().st_mtime_ns for path in every}


def test_the_job_goes_on_where_it_was_killed_and_tells_what_was_made(made: Run) -> None:
    out, whole = Path(made.out), times(made)
    paper_tables(made)
    assert times(made) == whole  # all of it is whole already
    results = opened(Folder(f"{out}/paper"), "").read_json("results.json")
    assert list(results["parts"]) == ["table_6", "table_7", "figure_6"]
    lines = results["parts"]["table_6"]["lines"] + results["parts"]["table_7"]["lines"]
    assert_lines_are_of_the_predictions(out, lines)
    assert_ablations_are_of_their_losses(out)
    assert_epochs_are_of_the_chosen_fits(made, results["parts"]["figure_6"]["lines"])
    sizes = {of["what"]: (of["rows"], of["positives"]) for of in results["cohort"]}
    labels = pl.read_parquet(out / "shards/labels/mortality.parquet")["label"]
    assert sizes["mortality"] == (len(labels), labels.sum())
    page, text = ((out / "paper" / name).read_text() for name in ("index.html", "report.md"))
    for said in ("Table 7: terms of the loss", "What pretraining adds", "without the contrast"):
        assert said in page
        assert said in text
    assert "nothing is chosen by them" in text
    assert set(re.findall(r"figures/\S+\.svg", text)) == {
        f"figures/{path.name}" for path in (out / "paper/figures").iterdir()
    }


def test_models_that_read_notes_are_refused_before_the_text_is_deleted(
    featurized: Run, branch: Callable[..., Run], refused: Callable[..., str], arguments: list[str]
) -> None:
    run = branch(featurized, "raw", "shards")
    asked = ("--tune.tasks", "readmission", "--paper.parts", "table_2", "table_5")
    sentence = refused(paper_tables, *arguments, "--out", run.out, *asked)
    assert "table_2 have models that read the text of notes" in sentence
    assert (Path(run.out) / "shards/notes").exists()


def times(run: Run) -> dict[str, int]:
    """The time of every output's record."""
    return {str(path): path.stat().st_mtime_ns for path in Path(run.out).rglob(COMPLETE)}


def assert_lines_are_of_the_predictions(out: Path, lines: list[dict[str, Any]]) -> None:
    assert {line["variant"] for line in lines} == {None, "no_contrast", "no_codes"}
    floors = {line["model"] for line in lines if line["is_floor"]}
    assert floors == set(FLOORS) == {m for m in floors if not MODELS[m].is_network}
    auroc = {}
    for line in lines:
        if line["metric"] == "auroc":
            home = out / "variants" / line["variant"] if line["variant"] else out
            grid = home / "tune/mortality" / line["model"] / line["start"]
            test = pl.read_parquet(grid / "predictions.parquet").filter(split="test")
            own = [
                roc_auc_score(of["label"].to_numpy(), of["score"].to_numpy())
                for of in test.partition_by("seed", maintain_order=True)
            ]
            auroc[line["variant"], line["model"], line["start"]] = sum(own) / len(own)
            assert line["value"] == pytest.approx(sum(own) / len(own), abs=1e-6)
            assert line["replicates"] == len(own) == 2
    both = auroc[None, "medhmp", "both"]
    for line in lines:
        if line["difference"] and line["metric"] == "auroc":
            own = auroc[line["variant"], line["model"], line["start"]]
            assert line["against"] == {"variant": None, "model": "medhmp", "start": "both"}
            assert line["difference"]["value"] == pytest.approx(both - own, abs=1e-6)
    papers = {(of["variant"], of["start"]): of["paper"]["value"] for of in lines if of["paper"]}
    assert papers["no_contrast", "both"] == 0.4750  # AUPR, the last of the two metrics
    assert papers[None, "stay"] == 0.4266


def assert_ablations_are_of_their_losses(out: Path) -> None:
    """And stage one, which is the same, is the root's."""
    for name, term, weight in (("no_contrast", "masked_codes", 1.0), ("no_codes", "contrast", 0.1)):
        home = out / "variants" / name
        assert not (home / "pretrain_stay").exists()
        text = (home / "pretrain_admission/from_stay/metrics.jsonl").read_text()
        for row in map(json.loads, text.splitlines()):
            assert row["loss"] == pytest.approx(weight * row[term], rel=1e-5)


def assert_epochs_are_of_the_chosen_fits(run: Run, lines: list[dict[str, Any]]) -> None:
    for start in ("none", "both"):
        place = "heart_failure/medhmp/" + start
        epochs = pl.read_parquet(f"{run.out}/epochs/{place}/predictions.parquet")
        assert epochs.columns == EPOCH_COLUMNS.names
        assert epochs["epoch"].unique().sort().to_list() == list(range(run.finetune.epochs))
        chosen = pl.read_parquet(f"{run.out}/tune/{place}/predictions.parquet")
        for seed in (0, 1):
            kept = chosen.filter(split="test", seed=seed).sort("row_id")["score"]
            of_seed = epochs.filter(seed=seed).sort("row_id").partition_by("epoch")
            assert any(kept.equals(of["score"]) for of in of_seed)
        for line in lines:
            if (line["start"], line["epoch"], line["metric"]) == (start, 1, "f1"):
                first = epochs.filter(epoch=0).partition_by("seed")
                own = [f1_score(of["label"], of["score"] >= 0.5) for of in first]
                assert line["value"] == pytest.approx(sum(own) / len(own), abs=1e-6)
