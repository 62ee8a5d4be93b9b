"""The report as files, and its AUROCs as a table for the console."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import rich.table

from medhmp.evaluate.predictions import Predictions
from medhmp.layout import MARKDOWN, METRICS, PAGE, RESULTS, figure_of
from medhmp.report import figures, page
from medhmp.report.material import Material
from medhmp.report.names import TASK_NAMES, title_of
from medhmp.report.results import Record
from medhmp.report.sections import number
from medhmp.report.story import story
from medhmp.storage import Entry, Folder


@dataclass(frozen=True)
class Drawing:
    """A figure with its heading and its file in the report's folder."""

    heading: str
    file: str
    svg: str


def write(
    folder: Folder,
    material: Material,
    predictions: Sequence[Predictions],
    results: Record,
) -> list[Entry]:
    """Writes results.json, the figures, report.md and index.html."""
    text = story(results, material.shards.manifest)
    drawings = list(_draw(material, predictions, results))
    inline = {drawing.heading: drawing.svg for drawing in drawings}
    linked = {drawing.heading: drawing.file for drawing in drawings}
    return [
        folder.write_json(RESULTS, results),
        *(folder.write_bytes(drawing.file, drawing.svg.encode()) for drawing in drawings),
        folder.write_bytes(MARKDOWN, page.markdown(text, linked).encode()),
        folder.write_bytes(PAGE, page.html(text, inline).encode()),
    ]


def _draw(
    material: Material, predictions: Sequence[Predictions], results: Record
) -> Iterator[Drawing]:
    """Yields each figure that has numbers to show."""
    if rows := results["rows"]:
        svg = figures.overview(rows)
        yield Drawing("AUROC by task and start", figure_of("overview"), svg)
    for task, name in TASK_NAMES.items():
        if of_task := [p for p in predictions if p.task == task]:
            yield Drawing(name, figure_of(task), figures.curves(of_task))
    epochs = {
        place: [json.loads(line) for line in output.read_bytes(METRICS).splitlines()]
        for place, output in material.pretrainings.items()
    }
    if epochs:
        yield Drawing("Pretraining", figure_of("pretraining"), figures.training(epochs))


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
