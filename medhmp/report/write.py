"""The report as files, and its AUROCs as a table for the console."""

import json
from collections.abc import Iterator, Sequence

import rich.table

from medhmp.evaluate.predictions import Predictions
from medhmp.layout import MARKDOWN, METRICS, PAGE, RESULTS
from medhmp.report import figures, page
from medhmp.report.figures import Drawing
from medhmp.report.flow import flow
from medhmp.report.material import Material
from medhmp.report.names import task_name, title_of
from medhmp.report.results import Record
from medhmp.report.section import number
from medhmp.report.story import story
from medhmp.storage import Entry, Folder


def write(
    folder: Folder,
    material: Material,
    predictions: Sequence[Predictions],
    results: Record,
) -> list[Entry]:
    """Writes results.json, the figures, report.md and index.html."""
    text = story(results, material.shards.manifest)
    drawings = list(_draw(material, predictions, results))
    panels = [panel for drawing in drawings for panel in drawing.panels]
    return [
        folder.write_json(RESULTS, results),
        *(folder.write_bytes(panel.file, panel.svg.encode()) for panel in panels),
        folder.write_bytes(MARKDOWN, page.markdown(text, drawings).encode()),
        folder.write_bytes(PAGE, page.html(text, drawings).encode()),
    ]


def _draw(
    material: Material, predictions: Sequence[Predictions], results: Record
) -> Iterator[Drawing]:
    """Yields each figure that has numbers to show."""
    if rows := results["rows"]:
        yield Drawing("AUROC by task and start", figures.overview(rows))
    for task in dict.fromkeys(p.task for p in predictions):
        of_task = [p for p in predictions if p.task == task]
        of_rows = [row for row in rows if row["task"] == task]
        yield Drawing(task_name(task), figures.curves(of_task, of_rows))
    epochs = {
        place: [json.loads(line) for line in output.read_bytes(METRICS).splitlines()]
        for place, output in material.pretrainings.items()
    }
    if epochs:
        yield Drawing("Pretraining", figures.training(epochs))
    tasks = material.shards.manifest.tasks
    asked = {row["task"] for row in (*rows, *results["skipped"])}
    flows = [flow(task, tasks[task]) for task in tasks if task in asked and tasks[task].steps]
    if flows:
        yield Drawing("Cohort flow", flows)


def console_table(results: Record) -> rich.table.Table:
    """Mean AUROC of the replicates: a line per model and start, a column per task."""
    rows = results["rows"]
    auroc = {(title_of(r["model"], r["start"]), r["task"]): r["auroc"]["value"] for r in rows}
    best = {r["task"]: r["best_achievable"] for r in rows}
    table = rich.table.Table(title="Test AUROC, mean of the replicates", title_justify="left")
    table.add_column("")
    for task in best:
        table.add_column(task, justify="right")
    for title in dict.fromkeys(title for title, _ in auroc):
        table.add_row(title, *(number(auroc.get((title, task))) for task in best))
    if any(value is not None for value in best.values()):
        table.add_row("best achievable", *(number(value) for value in best.values()))
    return table
