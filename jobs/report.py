"""Compare what every chosen cell predicted with what happened, and write the report.

    python -m jobs.report smoke --out runs/demo --report.draws 2000

Reads ``tune/``, the manifest in ``shards/``, the pretraining stages' ``metrics.jsonl`` and, of a
synthetic cohort, ``raw/truth.parquet``, all of the same shards. Writes ``report/``: index.html (one
file, opens from disk), report.md, results.json, figures/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, digest, fields_of

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from medhmp.evaluate.predictions import Key, Predictions
    from medhmp.shards.manifest import OpenShards
    from medhmp.storage import Entry, Output

READS: Final = ("name", "out", "overwrite", "quiet", "report", "tune.starts")
"""Sections and fields of a run that this job reads."""


@dataclass(frozen=True)
class Material:
    """What a report is made from, all of it of the run's shards."""

    shards: OpenShards
    grids: Mapping[Key, Output]
    skipped: Sequence[Any]  # the record of each task that was not trained
    pretrainings: Mapping[str, Output]  # by folder
    raw: Output | None  # the synthetic cohort, if the shards were made from it

    @property
    def inputs(self) -> dict[str, str]:
        """Content and record of every output that the report depends on, for its stamp."""
        from medhmp.evaluate import predictions

        outputs = {"shards": self.shards.output, **self.pretrainings}
        outputs |= {predictions.place(*key): grid for key, grid in self.grids.items()}
        outputs |= {"raw": self.raw} if self.raw else {}
        prints = {place: digest([o.fingerprint, o.hash]) for place, o in outputs.items()}
        return {**prints, "skipped": digest(self.skipped)}

    @property
    def fields(self) -> dict[str, Any]:
        """Of the run that made the shards and the pretrainings, as their records have them."""
        every = [
            self.shards.output.fields,
            *(output.fields for output in self.pretrainings.values()),
        ]
        return {name: value for fields in every for name, value in fields.items()}


def report(run: Run) -> None:
    """Writes ``report/`` under ``run.out``, or finds it whole; prints the AUROC of every row."""
    from rich.console import Console

    from medhmp.evaluate import predictions
    from medhmp.report import table
    from medhmp.storage import Folder, Stamp, is_done, made_elsewhere, publish

    folder, material = Folder(run.out) / "report", _gather(run)
    stamp = Stamp(fields_of(run, "name", "report", "tune.starts"), material.inputs)
    made = ""
    if is_done(folder, stamp, run.overwrite):
        made = made_elsewhere(folder)
    else:
        found = predictions.read_all(material.grids)
        truth = _truth(material.raw)
        results = table.results(run, found, material.skipped, truth, material.fields)
        publish(folder, stamp, _write(run, material.pretrainings, found, results))
    if not run.quiet:
        Console().print(_terminal(folder.read_json("results.json")))
    Progress(run.quiet).say(f"report{made}: {folder}/index.html")


def _gather(run: Run) -> Material:
    """Refuses a run without results, and results that are not of its shards."""
    from medhmp.evaluate import predictions
    from medhmp.report import figures
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, Output

    out = Folder(run.out)
    names = out.names()
    if not predictions.found(names) and not predictions.skipped(names):
        raise Refusal(f"{out}/tune has no predictions; run jobs.tune first")
    shards = open_shards(run)
    skipped = predictions.read_skipped(out, names, shards.fingerprint)
    pretrainings = {
        place: output
        for place in figures.PRETRAININGS
        if (output := Output.of(out / place)) and output.inputs.get("shards") == shards.fingerprint
    }
    raw = Output.of(out / "raw")
    if raw and raw.fingerprint not in shards.output.inputs.values():
        raw = None
    grids = predictions.grids(out, names, shards.fingerprint, pretrainings)
    return Material(shards, grids, skipped, pretrainings, raw)


def _truth(raw: Output | None) -> pl.DataFrame | None:
    """The synthetic cohort's true probabilities, None for real data."""
    import polars as pl

    if raw is None:
        return None
    truth = pl.from_arrow(raw.read_parquet("truth.parquet"))
    assert isinstance(truth, pl.DataFrame)
    return truth


def _write(
    run: Run,
    pretrainings: Mapping[str, Output],
    found: Sequence[Predictions],
    results: dict[str, Any],
) -> list[Entry]:
    """Writes the four outputs and describes them."""
    from medhmp.report import page, story
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder

    folder = Folder(run.out) / "report"
    text = story.story(results, open_shards(run).manifest)
    drawn = _draw(pretrainings, found, results)
    inline = {heading: svg for heading, _, svg in drawn}
    linked = {heading: file for heading, file, _ in drawn}
    return [
        folder.write_json("results.json", results),
        *(folder.write_bytes(file, svg.encode()) for _, file, svg in drawn),
        folder.write_bytes("report.md", page.markdown(text, linked).encode()),
        folder.write_bytes("index.html", page.html(text, inline).encode()),
    ]


def _draw(
    pretrainings: Mapping[str, Output], found: Sequence[Predictions], results: dict[str, Any]
) -> list[tuple[str, str, str]]:
    """(heading, file, SVG) of each figure that there are numbers for."""
    from medhmp.report import figures

    drawn = []
    if results["rows"]:
        heading = "AUROC by task and start"
        drawn.append((heading, "figures/overview.svg", figures.overview(results["rows"])))
    for task, name in figures.TASK_NAMES.items():
        if of_task := [p for p in found if p.task == task]:
            drawn.append((name, f"figures/{task}.svg", figures.curves(of_task)))
    runs = {
        place: [json.loads(line) for line in output.read_bytes("metrics.jsonl").splitlines()]
        for place, output in pretrainings.items()
    }
    if runs:
        drawn.append(("Pretraining", "figures/pretraining.svg", figures.training(runs)))
    return drawn


def _terminal(results: dict[str, Any]) -> Table:
    """AUROC of the seed-averaged scores, a line per model and start, a column per task."""
    from rich.table import Table

    from medhmp.report import sections

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


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, report, READS, needs_ray=False)


if __name__ == "__main__":
    main()
