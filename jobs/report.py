"""Score the test rows of every chosen cell, once, and write the report.

    python -m jobs.report smoke --out runs/demo --report.draws 2000

Reads ``tune/``, the manifest in ``shards/``, the pretraining stages' ``metrics.jsonl`` and, of a
synthetic cohort, ``raw/truth.parquet``. Writes ``report/``: index.html (one file, opens from disk),
report.md, results.json, figures/.
"""

import json
from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from medhmp import command
from medhmp.evaluate import figures, page, predictions, sections, story, table
from medhmp.evaluate.predictions import Predictions
from medhmp.refusal import Refusal
from medhmp.run import Run, digest, fields_of
from medhmp.shards.manifest import read_manifest
from medhmp.storage import COMPLETE, Entry, Folder, Stamp, fingerprint, is_done, publish


def report(run: Run) -> None:
    """Writes ``report/`` under ``run.out``, or finds it whole; prints the AUROC of every row."""
    out = Folder(run.out)
    folder, names = out / "report", out.names()
    skipped = [out.read_json(name) for name in predictions.skipped(names)]
    stamp = Stamp(fields_of(run, "name", "report", "tune.starts"), _inputs(out, names, skipped))
    if not is_done(folder, stamp, run.overwrite):
        found = predictions.read_all(out, names)
        if not found and not skipped:
            raise Refusal(f"{out}/tune has no predictions; run jobs.tune first")
        results = table.results(run, found, skipped, _truth(out, names))
        publish(folder, stamp, _write(run, names, found, results))
    if not run.quiet:
        Console().print(_terminal(folder.read_json("results.json")))
    command.say(run, f"report: {folder}/index.html")


def _inputs(out: Folder, names: Sequence[str], skipped: Sequence[Any]) -> dict[str, str]:
    """Fingerprints of everything that the report is made from."""
    inputs = {
        place: fingerprint(out / place, "tune")
        for place in (predictions.place(*key) for key in predictions.found(names))
    }
    for place in ("raw", "shards", *figures.PRETRAININGS):
        if f"{place}/{COMPLETE}" in names:
            inputs[place] = fingerprint(out / place, "all")
    return {**inputs, "skipped": digest(skipped)}


def _truth(out: Folder, names: Sequence[str]) -> pl.DataFrame | None:
    """The synthetic cohort's true probabilities, None for real data."""
    if "raw/truth.parquet" not in names:
        return None
    truth = pl.from_arrow(out.read_parquet("raw/truth.parquet"))
    assert isinstance(truth, pl.DataFrame)
    return truth


def _write(
    run: Run, names: Sequence[str], found: Sequence[Predictions], results: dict[str, Any]
) -> list[Entry]:
    """Writes the four outputs and describes them."""
    out = Folder(run.out)
    folder = out / "report"
    text = story.story(results, read_manifest(run))
    drawn = _draw(out, names, found, results)
    inline = {heading: svg for heading, _, svg in drawn}
    linked = {heading: file for heading, file, _ in drawn}
    return [
        folder.write_json("results.json", results),
        *(folder.write_bytes(file, svg.encode()) for _, file, svg in drawn),
        folder.write_bytes("report.md", page.markdown(text, linked).encode()),
        folder.write_bytes("index.html", page.html(text, inline).encode()),
    ]


def _draw(
    out: Folder, names: Sequence[str], found: Sequence[Predictions], results: dict[str, Any]
) -> list[tuple[str, str, str]]:
    """(heading, file, SVG) of each figure that there are numbers for."""
    drawn = []
    if results["rows"]:
        heading = "AUROC by task and start"
        drawn.append((heading, "figures/overview.svg", figures.overview(results["rows"])))
    for task, name in figures.TASK_NAMES.items():
        if of_task := [p for p in found if p.task == task]:
            drawn.append((name, f"figures/{task}.svg", figures.curves(of_task)))
    files = {place: f"{place}/metrics.jsonl" for place in figures.PRETRAININGS}
    runs = {
        place: [json.loads(line) for line in out.read_bytes(file).splitlines()]
        for place, file in files.items()
        if file in names
    }
    if runs:
        drawn.append(("Pretraining", "figures/pretraining.svg", figures.training(runs)))
    return drawn


def _terminal(results: dict[str, Any]) -> Table:
    """AUROC of the seed-averaged scores, a line per model and start, a column per task."""
    rows = results["rows"]
    auroc = {(sections.label(r), r["task"]): r["auroc"]["value"] for r in rows}
    best = {r["task"]: r["best_achievable"] for r in rows}
    grid = Table(title="Test AUROC", title_justify="left")
    grid.add_column("")
    for task in best:
        grid.add_column(task, justify="right")
    for name in dict.fromkeys(name for name, _ in auroc):
        grid.add_row(name, *(sections.number(auroc.get((name, task))) for task in best))
    if any(value is not None for value in best.values()):
        grid.add_row("best achievable", *(sections.number(value) for value in best.values()))
    return grid


if __name__ == "__main__":
    command.main(__doc__, report, needs_ray=False)
