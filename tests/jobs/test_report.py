"""The report of a small tree of outputs whose AUROCs are known before it is scored."""

import contextlib
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from jobs.report import report
from medhmp.evaluate.discrimination import METRICS
from medhmp.layout import (
    ATTRIBUTE_COLUMNS,
    PREDICTION_COLUMNS,
    STARTED_FROM,
    TRIAL_COLUMNS,
    attributes_of,
)
from medhmp.legend import LEVELS
from medhmp.model.catalog import MODELS, ModelEntry
from medhmp.provenance import provenance
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Report, Run
from medhmp.shards.manifest import TaskCounts, content_of
from medhmp.storage import Folder, Output, Stamp, opened, publish
from tests.manifests import manifest

STARTS = ("none", "stay", "admission", "both", "shuffled")
SHIFT = {"none": 0.8, "stay": 0.9, "admission": 1.2, "both": 1.6, "shuffled": 0.8}
"""Distance between the classes' normal scores; AUROC = Phi(shift / sqrt 2)."""
PREVALENCE = 0.2
BEST = {"batch_size": 32, "mean_val_loss": 0.4, "mean_base_loss": 0.5}
SKIPPED = {
    "task": "shock",
    "reason": "a split has no positive or no negative row",
    "counts": {"train": {"rows": 50, "positive": 2}, "test": {"rows": 9, "positive": 0}},
}


def cohort(task: str, split: str, n: int) -> dict[str, np.ndarray]:
    """Rows of one split, about five per four patients; ``noise`` is what the classes differ in."""
    rng = np.random.default_rng([list(LEVELS).index(task), split == "test"])
    subject = rng.integers(n * 4 // 5, size=n) + (100_000 if split == "test" else 0)
    row = np.arange(n) + (50_000 if split == "test" else 0)
    return {
        "subject": subject,
        "row": row,
        "label": rng.random(n) < PREVALENCE,
        "noise": rng.normal(size=n),
    }


def posterior(x: np.ndarray, shift: float) -> np.ndarray:
    """P(positive | x) where x is N(shift, 1) for positives and N(0, 1) for negatives."""
    odds = np.exp(shift * x - shift**2 / 2) * PREVALENCE / (1 - PREVALENCE)
    return odds / (1 + odds)


def truth(task: str, n: int) -> pa.Table:
    """The true probability of each test row: classes 2.2 apart."""
    rows = cohort(task, "test", n)
    probability = posterior(rows["noise"] + 2.2 * rows["label"], 2.2)
    return pa.table({"task": [task] * n, "row_id": rows["row"], "probability": probability})


def predictions(task: str, start: str, seeds: int, n: int) -> pa.Table:
    """Calibrated scores of both splits by every seed. Nine tenths of their noise are all seeds'."""
    tables = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, *start.encode(), *task.encode()])
        for split in ("validation", "test"):
            rows = cohort(task, split, n)
            noise = np.sqrt(0.9) * rows["noise"] + np.sqrt(0.1) * rng.normal(size=n)
            columns = {
                "subject_id": rows["subject"],
                "row_id": rows["row"],
                "split": np.full(n, split),
                "seed": np.full(n, seed),
                "label": rows["label"].astype(np.int8),
                "score": posterior(noise + SHIFT[start] * rows["label"], SHIFT[start]),
            }
            tables.append(pa.table(columns).cast(PREDICTION_COLUMNS))
    return pa.concat_tables(tables)


def write_grid(
    out: Folder, shards: str, task: str, model: str, start: str, table: pa.Table
) -> None:
    """One grid's output as jobs.tune leaves it."""
    folder = out / "tune" / task / model / start
    rate = 0.0 if model == "hist_gradient_boosting" else 5e-3
    trials = [
        {"cell": f"lr-{lr:g}", "batch_size": 32, "lr": lr, "seed": 0, "val_loss": 0.4,
         "base_loss": 0.5, "val_auroc": 0.7, "epochs": 9, "status": "finished"}
        for lr in (1e-3, rate)
    ]  # fmt: skip
    entries = [
        folder.write_json("best.json", BEST | {"learning_rate": rate}),
        folder.write_parquet("trials.parquet", pa.Table.from_pylist(trials, TRIAL_COLUMNS)),
        folder.write_parquet("predictions.parquet", table),
    ]
    inputs = {"shards": shards}
    if start != "none":
        inputs["start"] = hashlib.sha256(STARTED_FROM[start].encode()).hexdigest()
    fields = {"tune.replicates": len(table["seed"].unique()), "finetune.labels": 77}
    publish(folder, Stamp(fields, inputs), entries)


def write_pretraining(
    out: Folder, shards: str, place: str, stage: str, terms: dict[str, float]
) -> None:
    lines = [
        {"stage": stage, "epoch": e, **{k: v / (e + 1) for k, v in terms.items()}, "seconds": 1.0}
        for e in range(6)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    folder = out / place
    entries = [
        folder.write_bytes("metrics.jsonl", text.encode()),
        folder.write_bytes("model.safetensors", place.encode()),
    ]
    publish(folder, Stamp({f"{stage}.epochs": 6}, {"shards": shards}), entries)


def write_raw(out: Folder, tasks: tuple[str, ...], n: int) -> str:
    """The truth of these tasks as jobs.synthesize leaves it; its fingerprint."""
    raw = out / "raw"
    known = pa.concat_tables([truth(task, n) for task in tasks])
    publish(raw, Stamp({}, {}), [raw.write_parquet("truth.parquet", known)])
    return opened(raw, "synthesize").fingerprint


def people(task: str, n: int) -> pa.Table:
    """Attributes of the test rows: half of them women, nothing else recorded."""
    rows = cohort(task, "test", n)["row"]
    columns = {"row_id": rows, "source": ["synthetic"] * n, "sex": np.where(rows % 2, "F", "M")}
    empty = {name: [None] * n for name in ATTRIBUTE_COLUMNS.names if name not in columns}
    return pa.table({**columns, **empty}).select(ATTRIBUTE_COLUMNS.names).cast(ATTRIBUTE_COLUMNS)


def write_shards(
    out: Folder, name: str, source: str, tasks: tuple[str, ...] = (), n: int = 0
) -> str:
    """A manifest with the counts that the report prints, and the attributes of these tasks' rows.

    Made from the source of this name and fingerprint; returns the fingerprint of the shards.
    """
    splits = {"train": 600, "validation": 100, "test": 300}
    counts = TaskCounts([("stays", 1500), ("adult", 1000)], splits, dict.fromkeys(splits, 7))
    written = manifest(
        counts={name: {"patients": 100, "stays of <MetaVision>": 77}},
        left_out={name: {"no stay": 12}},
        tasks=dict.fromkeys(("mortality", *tasks), counts),
    )
    shards = out / "shards"
    entries = [shards.write_json("manifest.json", written.to_json())]
    entries += [shards.write_parquet(attributes_of(task), people(task, n)) for task in tasks]
    publish(shards, Stamp(content_of(smoke(), (name,)), {name: source}), entries)
    return opened(shards, "featurize").fingerprint


def write_skipped(out: Folder, shards: str) -> None:
    (out / "tune/shock").write_record("skipped.json", {**SKIPPED, "shards": shards})


def write_tree(
    root: Path,
    tasks: tuple[str, ...],
    n: int = 300,
    seeds: int = 2,
    known: tuple[str, ...] | None = None,
) -> Run:
    """Everything that a report reads, below ``root``; returns the run that reads it.

    ``known`` are the tasks of which there is a truth; None: all.
    """
    out = Folder(str(root))
    raw = write_raw(out, tasks if known is None else known, n)
    shards = write_shards(out, "synthetic", raw, tasks, n)
    for task in tasks:
        for start in STARTS:
            if not (LEVELS[task] == "patient" and start == "stay"):
                table = predictions(task, start, seeds, n)
                write_grid(out, shards, task, "medhmp", start, table)
        trees = predictions(task, "admission", seeds, n)
        write_grid(out, shards, task, "hist_gradient_boosting", "none", trees)
    write_skipped(out, shards)
    write_pretraining(out, shards, "pretrain_stay", "pretrain_stay", {"loss": 9.0})
    for begun, mcp in (("from_stay", 0.5), ("from_scratch", 0.7)):
        terms = {"loss": mcp + 0.6, "mcp": mcp, "contrast": 6.0}
        place = f"pretrain_admission/{begun}"
        write_pretraining(out, shards, place, "pretrain_admission", terms)
    run = replace(smoke(), out=str(root), quiet=True, report=Report(draws=200))
    return replace(run, tune=replace(run.tune, starts=STARTS))


TASKS = ("mortality", "heart_failure")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = write_tree(tmp_path_factory.mktemp("out"), TASKS)
    report(run)
    return run


@pytest.fixture(scope="module")
def results(run: Run) -> dict[str, Any]:
    return json.loads((Path(run.out) / "report/results.json").read_text())


def row_of(results: dict[str, Any], task: str, start: str) -> dict[str, Any]:
    rows = results["rows"]
    (row,) = [r for r in rows if (r["task"], r["model"], r["start"]) == (task, "medhmp", start)]
    return row


def page_of(run: Run) -> str:
    return (Path(run.out) / "report/index.html").read_text()


def test_rows_are_in_order_and_have_every_field(results: dict[str, Any]) -> None:
    keys = [(r["task"], r["model"], r["start"]) for r in results["rows"]]
    medhmp = [(t, "medhmp", s) for t in TASKS for s in STARTS]
    trees = [(t, "hist_gradient_boosting", "none") for t in TASKS]
    assert keys == [*medhmp[:5], trees[0], *medhmp[5:], trees[1]]
    plain = {
        "task",
        "level",
        "model",
        "start",
        "replicates",
        "n",
        "events",
        "best_achievable",
        "paper",
    }
    for row in results["rows"]:
        assert plain | {"paper"} | set(METRICS) <= set(row)
        for metric in METRICS:
            figure = row[metric]
            assert set(figure) == {"mean", "sd", "value", "low", "high", "se", "chance", "why"}
            assert figure["low"] <= figure["value"] == figure["mean"] <= figure["high"]
            assert figure["chance"] == ["test patients", "replicates"]
        assert (row["validation_loss"], row["base_rate_loss"]) == (0.4, 0.5)
        assert row["drawn"][0] == "labelled rows"
        assert "pretraining" not in row["drawn"]  # there is one


def test_scores_are_those_of_the_predictions(results: dict[str, Any]) -> None:
    table = pl.from_arrow(predictions("mortality", "both", 2, 300))
    test = table.filter(pl.col("split") == "test")
    by_seed = [roc_auc_score(t["label"], t["score"]) for _, t in test.group_by("seed")]
    row = row_of(results, "mortality", "both")
    assert row["n"] == 300
    assert row["events"] == test.filter(seed=0)["label"].sum()
    assert row["auroc"]["mean"] == pytest.approx(np.mean(by_seed), abs=1e-7)
    assert row["auroc"]["sd"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-7)
    assert row["auroc"]["low"] < row["auroc"]["value"] < row["auroc"]["high"]
    assert row["few_events"] == (row["events"] < 100)
    assert row["paper"] is None  # these patients are not the paper's


def test_auroc_is_what_the_scores_were_built_with(results: dict[str, Any]) -> None:
    """Phi(1.6 / sqrt 2) = 0.871 for each seed, within four standard errors."""
    auroc = row_of(results, "mortality", "both")["auroc"]
    assert abs(auroc["mean"] - 0.871) < 4 * auroc["se"]


def test_best_achievable_is_the_auroc_of_the_truth(results: dict[str, Any]) -> None:
    label = cohort("mortality", "test", 300)["label"]
    expected = roc_auc_score(label, truth("mortality", 300)["probability"].to_numpy())
    assert row_of(results, "mortality", "none")["best_achievable"] == pytest.approx(expected)


def test_rows_have_what_is_measured_beside_discrimination(results: dict[str, Any]) -> None:
    row = row_of(results, "mortality", "both")
    assert {g["group"] for g in row["subgroups"]} == {"F", "M"}
    assert sum(g["n"] for g in row["subgroups"]) == row["n"]
    assert set(row["recalibrated"]) == {"logistic", "isotonic"}
    raw, mapped = row["calibration"], row["recalibrated"]["logistic"]["calibration"]
    assert raw["intervals"]["slope"]["low"] < raw["slope"] < raw["intervals"]["slope"]["high"]
    assert mapped["slope"] != raw["slope"]
    same = row["recalibrated"]["logistic"]["auroc"]["value"]
    assert row["score_auroc"]["value"] == pytest.approx(same)  # a rising map keeps ranks
    assert len(row["net_benefit"]["value"]) == len(row["net_benefit"]["threshold"]) == 50
    assert row["thresholds"][0]["threshold"] == 0.5


def test_stay_start_of_a_patient_task_repeats_none(results: dict[str, Any]) -> None:
    stay, none = (row_of(results, "heart_failure", start) for start in ("stay", "none"))
    assert stay["same_as"] == "none"
    assert stay["auroc"] == none["auroc"]
    assert row_of(results, "mortality", "stay")["same_as"] is None


def values_of(results: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Mean AUROC of medhmp's replicates by task and start."""
    return {(t, s): row_of(results, t, s)["auroc"]["value"] for t in TASKS for s in STARTS}


def test_gain_control_and_learned(results: dict[str, Any]) -> None:
    values = values_of(results)
    expected = np.mean([values[t, "both"] - values[t, "none"] for t in TASKS])
    gain = results["gain"]
    assert gain["value"] == pytest.approx(expected, abs=1e-9)
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert gain["tasks"] == list(TASKS)
    control = np.mean([values[t, "shuffled"] - values[t, "none"] for t in TASKS])
    assert results["control"]["value"] == pytest.approx(control, abs=1e-9)
    best = {t: row_of(results, t, "both")["best_achievable"] for t in TASKS}
    share = np.mean([(values[t, "both"] - 0.5) / (best[t] - 0.5) for t in TASKS])
    assert results["learned"]["value"] == pytest.approx(share)
    assert set(results["learned"]["beside"]) >= {"medhmp/none", "hist_gradient_boosting/none"}


def test_console_headline_and_learned_are_of_one_figure(
    run: Run, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    report(replace(run, quiet=False))
    lines = [re.split(r"\s*│\s*", line) for line in capsys.readouterr().out.splitlines()]
    shown = {cells[1]: [float(cell) for cell in cells[2:-1]] for cells in lines if len(cells) > 1}
    values = values_of(results)
    for start in STARTS:
        assert shown[f"MedHMP, {start}"] == [round(values[task, start], 3) for task in TASKS]
    gain = np.mean([values[task, "both"] - values[task, "none"] for task in TASKS])
    best = shown["best achievable"]
    pairs = zip(shown["MedHMP, both"], best, strict=True)
    share = np.mean([(both - 0.5) / (most - 0.5) for both, most in pairs])
    assert results["learned"]["value"] == pytest.approx(share, abs=0.002)
    headline = dict(re.findall(r'class="card"><b>(.*?)</b>(.*?)[;:]', page_of(run)))
    assert headline[f"{gain:+.3f}"].startswith("AUROC gained by pretraining")
    assert headline[f"{results['learned']['value']:.0%}"].startswith("of what can be learned")


def test_the_page_shows_the_figure_with_its_interval_and_its_sd(
    run: Run, results: dict[str, Any]
) -> None:
    page, auroc = page_of(run), row_of(results, "mortality", "both")["auroc"]
    table = page.partition('<section id="discrimination"')[2].partition("</table>")[0]
    columns = re.findall(r'<th scope="col">(.*?)</th>', table)
    cells = re.search(r'<tr><th scope="row">MedHMP, both</th>(.*?)</tr>', table)
    assert cells is not None
    by_column = dict(zip(columns[1:5], re.findall(r"<td>(.*?)</td>", cells[1]), strict=False))
    assert by_column["AUROC (95 %)"].startswith(f"{auroc['value']:.3f} (")
    assert by_column["SD over replicates"] == f"{auroc['sd']:.3f}"
    assert (
        "Intervals hold the chance of the test patients and of the replicates, each of which drew "
        "anew: labelled rows, order of the rows, initial weights, random choices of the fit. "
        "Pretraining was made once, and its chance is in no interval."
    ) in page


def test_differences_are_of_the_most_pretrained_row_and_holm_corrected(
    results: dict[str, Any],
) -> None:
    values = values_of(results)
    for task in TASKS:
        table = [d for d in results["differences"] if (d["task"], d["metric"]) == (task, "auroc")]
        assert {d["a"]["start"] for d in table} == {"both"}
        others = {(d["b"]["model"], d["b"]["start"]) for d in table}
        assert len(others) == len(table) == (5 if task == "mortality" else 4)
        for line in table:
            assert line["low"] < line["value"] < line["high"]
            assert line["p"] <= line["p_holm"] <= min(1, len(table) * line["p"]) + 1e-12
            if line["b"]["model"] == "medhmp":
                expected = values[task, "both"] - values[task, line["b"]["start"]]
                assert line["value"] == pytest.approx(expected, abs=1e-9)
    floor = results["gain_over_floor"]
    assert floor["over"] == dict.fromkeys(TASKS, "hist_gradient_boosting")
    assert floor["chance"] == ["test patients", "replicates"]
    assert floor["p"] <= floor["p_holm"]


def test_a_task_with_few_events_stays_out_of_the_headline(tmp_path: Path) -> None:
    """Of 80 rows a fifth are events; with so few patients of a class there is no interval."""
    run = write_tree(tmp_path, ("mortality",), n=30, seeds=2)
    report(run)
    results = json.loads((tmp_path / "report/results.json").read_text())
    row = row_of(results, "mortality", "both")
    assert row["events"] < 10
    assert (row["auroc"]["low"], row["auroc"]["se"]) == (None, None)
    for key in ("gain", "gain_over_floor", "control"):
        assert results[key]["value"] is None
        assert results[key]["left_out"] == [{"task": "mortality", "events": row["events"]}]
    assert results["learned"]["value"] is None
    assert f"{row['auroc']['value']:.3f} (no interval)" in page_of(run)
    assert "there are" in page_of(run)
    assert 'class="card"' not in page_of(run)


def test_a_loss_above_the_base_rate_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BEST, "mean_val_loss", 0.6)
    run = write_tree(tmp_path, ("mortality",), n=80, seeds=1)
    report(run)
    assert "above the base rate" in page_of(run)
    assert "Intervals hold the chance of the test patients alone" in page_of(run)


def test_a_model_of_the_catalog_needs_no_other_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ModelEntry(title="Nearest neighbor", color="#123456", builders={})
    monkeypatch.setitem(cast(dict[str, ModelEntry], MODELS), "nearest", entry)
    run, out = write_tree(tmp_path, ("mortality",), n=80, seeds=1), Folder(str(tmp_path))
    shards = opened(out / "shards", "featurize").fingerprint
    write_grid(out, shards, "mortality", "nearest", "none", predictions("mortality", "none", 1, 80))
    report(run)
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert results["rows"][-1]["model"] == "nearest"
    assert '<th scope="row">Nearest neighbor</th>' in page_of(run)
    for name in ("overview-mortality", "mortality-roc", "mortality-net-benefit"):
        figure = (tmp_path / f"report/figures/{name}.svg").read_text()
        assert "Nearest neighbor" in figure
        assert "#123456" in figure


def test_results_and_page_say_where_they_come_from(run: Run, results: dict[str, Any]) -> None:
    assert results["provenance"]["report"] == provenance()
    assert {"rows", "provenance"} < set(results)
    text = (Path(run.out) / "report/report.md").read_text()
    for said in (page_of(run), text):
        assert provenance()["python"] in said.rpartition("Where this comes from")[2]


def test_skipped_tasks_and_chosen_cells(results: dict[str, Any]) -> None:
    assert results["skipped"] == [SKIPPED]
    chosen = row_of(results, "mortality", "both")["chosen"]
    assert chosen == {
        "batch_size": 32,
        "learning_rate": 5e-3,
        "rates": [1e-3, 5e-3],
        "at_edge": True,
    }
    trees = [r for r in results["rows"] if r["model"] == "hist_gradient_boosting"]
    assert [t["chosen"] for t in trees] == [None, None]


def test_results_are_strict_json(run: Run) -> None:
    text = (Path(run.out) / "report/results.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


def test_page_holds_everything_itself(run: Run) -> None:
    page = page_of(run)
    # Two panels of AUROC, five a task, one of stage one and three of stage two, a flow a task.
    assert len(re.findall("<svg", page)) == 2 + 2 * 5 + 1 + 3 + 2
    assert not re.findall(r'(?:src|href)="(?!#|data:,")', page)
    for text in (
        "Not for clinical use",
        "contested label",
        "synthetic",
        "best achievable AUROC",
        "MedHMP, stay (= none)",
        "a split has no positive or no negative row",
        "synthetic: stays of &lt;MetaVision&gt;",
        '<th scope="row">adult</th><td>1,000</td>',
        "500 left out by the rule",
        "Yours to say.",
        "synthetic: no stay",
        "fewer than 100 events",
    ):
        assert text in page, text


def test_figures_are_well_formed_and_linked(run: Run) -> None:
    folder = Path(run.out) / "report"
    linked = re.findall(r"!\[.*?\]\((.*?)\)", (folder / "report.md").read_text())
    written = sorted(str(f.relative_to(folder)) for f in folder.glob("figures/*.svg"))
    assert sorted(linked) == written
    kinds = ("calibration", "net-benefit", "precision-recall", "risks", "roc")
    assert {f"figures/{task}-{kind}.svg" for task in TASKS for kind in kinds} < set(written)
    assert "figures/flow-mortality.svg" in written
    for name in written:
        svg = ElementTree.fromstring((folder / name).read_text())
        assert svg.tag.endswith("svg")
        assert [child.tag.rpartition("}")[2] for child in svg][:2] == ["title", "desc"]


def test_copd_is_not_trinetx_s_and_has_no_truth(tmp_path: Path) -> None:
    tasks = ("mortality", "copd")
    run = write_tree(tmp_path, tasks, n=80, seeds=1, known=("mortality",))
    report(run)
    results = json.loads((tmp_path / "report/results.json").read_text())
    row = row_of(results, "copd", "both")
    assert (row["best_achievable"], row["matched"]) == (None, True)
    assert row["paper"] is None
    assert not row_of(results, "mortality", "both")["matched"]
    page = (tmp_path / "report/index.html").read_text()
    assert "COPD (not TriNetX), matched controls: " in page
    assert "TriNetX, which is not open" in page
    assert "COPD (not TriNetX)" in (tmp_path / "report/index.html").read_text()


def test_a_second_report_is_skipped_and_equal_inputs_give_equal_bytes(
    run: Run, tmp_path: Path
) -> None:
    again = write_tree(tmp_path, TASKS)
    report(again)
    first, second = Path(run.out) / "report", tmp_path / "report"
    for name in ("index.html", "report.md", "results.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    written = (second / "complete.json").stat().st_mtime_ns
    report(again)
    assert (second / "complete.json").stat().st_mtime_ns == written


def test_other_draws_are_refused_without_overwrite(tmp_path: Path) -> None:
    run = write_tree(tmp_path, ("mortality",), n=80, seeds=1)
    report(run)
    other = replace(run, report=Report(draws=100))
    with pytest.raises(Refusal, match=r"report\.draws was 200, is 100"):
        report(other)
    report(replace(other, overwrite=True))
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert results["run"]["report"] == {"draws": 100, "seed": 0}
    assert row_of(results, "mortality", "both")["auroc"]["sd"] is None


def test_real_data_without_truth_or_trained_tasks(tmp_path: Path) -> None:
    shards = write_shards(Folder(str(tmp_path)), "mimic3", "00")
    write_skipped(Folder(str(tmp_path)), shards)
    report(replace(smoke(), out=str(tmp_path), quiet=True))
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert results["rows"] == []
    assert results["gain"]["value"] is None
    assert results["learned"]["value"] is None
    page = (tmp_path / "report/index.html").read_text()
    assert "train: rows 50" in page
    assert "patients are synthetic" not in page


def test_results_say_what_made_them_and_not_what_the_report_was_called_with(
    run: Run, results: dict[str, Any]
) -> None:
    said, whole = results["run"], json.loads(run.to_json())
    assert (said["name"], said["report"]) == ("smoke", whole["report"])
    assert said["splits"] == whole["splits"]
    assert said["pretrain_stay"] == said["pretrain_admission"] == {"epochs": 6}
    for row in results["rows"]:
        assert row["fields"] == {"tune": {"replicates": 2}, "finetune": {"labels": 77}}
    assert run.out not in json.dumps(results)


def test_predictions_begun_from_weights_since_redone_are_refused(tmp_path: Path) -> None:
    run, out = write_tree(tmp_path, ("mortality",), n=80, seeds=1), Folder(str(tmp_path))
    stage = Output.of(out / "pretrain_stay")
    assert stage is not None
    redone = stage.folder.write_bytes("model.safetensors", b"redone")
    publish(stage.folder, Stamp(stage.fields, stage.inputs), [redone])
    with pytest.raises(Refusal, match=r"medhmp/stay began from other weights than .*pretrain_stay"):
        report(run)


def test_a_task_skipped_in_other_shards_is_refused(tmp_path: Path) -> None:
    run = write_tree(tmp_path, ("mortality",), n=80, seeds=1)
    write_skipped(Folder(str(tmp_path)), "old")
    with pytest.raises(Refusal, match=r"skipped\.json is of other shards than this run's"):
        report(run)


def test_shards_of_other_fields_are_refused(run: Run) -> None:
    other = replace(run, cohort=replace(run.cohort, hours=24))
    with pytest.raises(Refusal, match=r"cohort\.hours 48 and this run has 24; give"):
        report(other)


def test_predictions_made_from_other_shards_are_refused(tmp_path: Path) -> None:
    run, out = write_tree(tmp_path, ("mortality",), n=80, seeds=1), Folder(str(tmp_path))
    write_grid(out, "old", "arf", "medhmp", "none", predictions("arf", "none", 1, 80))
    with pytest.raises(Refusal) as refused:
        report(run)
    assert str(refused.value) == (
        f"{tmp_path}/tune/arf/medhmp/none was made from other shards than this run's; "
        "run jobs.tune again with --overwrite, or delete that folder"
    )
    assert not (tmp_path / "report").exists()


def test_damaged_predictions_are_refused(tmp_path: Path) -> None:
    run = write_tree(tmp_path, ("mortality",), n=80, seeds=1)
    grid = Folder(str(tmp_path)) / "tune/mortality/medhmp/both"
    grid.write_parquet("predictions.parquet", predictions("mortality", "none", 1, 80))
    for _ in range(2):
        with pytest.raises(Refusal, match=r"is damaged: predictions.parquet is missing or not"):
            report(run)
        with contextlib.suppress(FileNotFoundError):
            grid.delete("predictions.parquet")  # else it would vanish from the report


def test_a_task_that_is_skipped_now_has_no_rows(tmp_path: Path) -> None:
    """Not even those that an earlier run, of any shards, has left."""
    run, out = write_tree(tmp_path, ("mortality",), n=80, seeds=1), Folder(str(tmp_path))
    write_grid(out, "old", "shock", "medhmp", "none", predictions("shock", "none", 1, 80))
    report(run)
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert {row["task"] for row in results["rows"]} == {"mortality"}
    assert results["skipped"] == [SKIPPED]


def test_only_the_truth_and_the_curves_of_the_shards_are_used(tmp_path: Path) -> None:
    run, out = write_tree(tmp_path, ("mortality",), n=80, seeds=1), Folder(str(tmp_path))
    write_raw(out, ("mortality",), 90)
    for place in ("pretrain_stay", "pretrain_admission/from_stay"):
        write_pretraining(out, "old", place, place.partition("/")[0], {"loss": 1.0})
    report(run)
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert all(row["best_achievable"] is None for row in results["rows"])
    assert results["learned"]["value"] is None
    name = "pretraining-pretrain_admission-mcp"
    figure = (tmp_path / f"report/figures/{name}.svg").read_text()
    assert "begun from random" in figure
    assert "begun from stage one" not in figure
    record = json.loads((tmp_path / "report/complete.json").read_text())
    assert not {"raw", "pretrain_stay"} & set(record["inputs"])


def test_synthetic_patients_are_called_so_without_their_truth(tmp_path: Path) -> None:
    write_skipped(Folder(str(tmp_path)), write_shards(Folder(str(tmp_path)), "synthetic", "00"))
    report(replace(smoke(), out=str(tmp_path), quiet=True))
    assert "patients are synthetic" in (tmp_path / "report/index.html").read_text()


def test_nothing_to_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"has no predictions; run jobs\.tune first"):
        report(replace(smoke(), out=str(tmp_path), quiet=True))
    assert not (tmp_path / "report").exists()


def test_an_unfinished_grid_is_refused(tmp_path: Path) -> None:
    run = write_tree(tmp_path, ("mortality",), n=80, seeds=1)
    (tmp_path / "tune/mortality/medhmp/both/complete.json").unlink()
    with pytest.raises(Refusal, match=r"both is missing or not whole; run jobs\.tune first"):
        report(run)
    assert not (tmp_path / "report").exists()


def test_the_terminal_shows_the_table(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(replace(run, quiet=False))
    shown = capsys.readouterr().out
    assert "mortality" in shown
    assert "MedHMP, both" in shown
    assert "index.html" in shown
