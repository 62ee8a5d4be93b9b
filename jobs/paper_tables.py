"""Make the paper's tables and figures, its numbers beside ours.

    python -m jobs.paper_tables tables --out runs/tables
    python -m jobs.paper_tables paper --tables.sources mimic3=/data/mimic-iii-1.4 --out runs/mimic3
    python -m jobs.paper_tables tables --tables.sources physionet2012=/data/challenge-2012 \\
        --cohort.min-age 15 --tune.starts none stay --paper.parts table_1 table_6 table_11

Reads the sources, or synthesizes a cohort where none is named; runs every stage up to the grids
that the parts need, those of Table 7 and Figure 5 in variants. Writes all that ``jobs.all`` does,
with ``paper/`` instead of ``report/``: index.html (one file, opens from disk), report.md,
results.json, figures/; and ``epochs/``, test scores after every epoch, for Figure 6 alone. What is
whole is skipped, so the same command goes on where an interrupted one was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.model.catalog import MODELS
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

from . import embed_notes, featurize, pretrain_admission, pretrain_stay, synthesize, tune

if TYPE_CHECKING:
    from medhmp.legend import PaperPart
    from medhmp.paper.plan import Part
    from medhmp.shards.manifest import OpenShards

STAGES: Final[tuple[Callable[[Run], None], ...]] = (
    embed_notes.embed_notes,
    pretrain_stay.pretrain_stay,
    pretrain_admission.pretrain_admission,
)
"""The stages between the shards and the fits."""

_EVERY: Final = (
    *(*synthesize.READS, *featurize.READS, *embed_notes.READS, *pretrain_stay.READS),
    *(*pretrain_admission.READS, *tune.READS, "name", "report", "paper"),
)
READS: Final = tuple(name for name in dict.fromkeys(_EVERY) if name != "loop")
"""Sections and fields of a run that its stages read."""


def paper_tables(run: Run) -> None:
    """Runs what is missing, and writes ``paper/`` or finds it whole; prints MedHMP's places."""
    from medhmp.paper.plan import parts_of
    from medhmp.shards.manifest import open_shards

    progress, begun = Progress(run.quiet), time.perf_counter()
    if not run.tables.sources:
        synthesize.synthesize(run)
    featurize.featurize(run)
    shards = open_shards(run)
    parts, left_out = parts_of(run, shards.manifest)
    for name, why in left_out.items():
        progress.say(f"{name} is left out: {why}")
    _check_text(run, parts)
    for stage in STAGES:
        stage(run)
    for name, part in parts.items():
        started = time.perf_counter()
        _fit(run, part)
        progress.say(f"{name}: {time.perf_counter() - started:.1f} s", style="dim")
    if "figure_6" in parts:
        _score_epochs(run, shards, parts["figure_6"])
    _write(run, shards, parts, left_out)
    progress.say(f"{time.perf_counter() - begun:.0f} s in all", style="bold")


def _check_text(run: Run, parts: dict[PaperPart, Part]) -> None:
    """Refuses parts whose models read the text of notes, which the next stage would delete."""
    readers = [
        name
        for name, part in parts.items()
        for fits in part.fits
        if any(MODELS[model].text_read(run.notes.fine_tune) for model in fits.models)
    ]
    if readers and not run.notes.keep_text:
        raise Refusal(
            f"{' and '.join(readers)} have models that read the text of notes, which is deleted "
            "once it is embedded; give --notes.keep-text, or other --paper.parts"
        )


def _fit(run: Run, part: Part) -> None:
    """Makes the grids of a part, and the pretraining of those that have another."""
    from medhmp.paper.plan import run_of

    for fits in part.fits:
        own = run_of(run, fits)
        if fits.model:
            pretrain_admission.pretrain_admission(own)
        tune.tune(own)


def _score_epochs(run: Run, shards: OpenShards, part: Part) -> None:
    """Makes the test scores of every epoch, where the figure's task could be trained."""
    from medhmp.layout import home_of, skipped_of
    from medhmp.paper.convergence import score_epochs
    from medhmp.paper.plan import of_epochs, run_of
    from medhmp.storage import Folder

    for fits in of_epochs(part):
        if not Folder(home_of(run.out, run.variant)).exists(skipped_of(fits.tasks[0])):
            score_epochs(run_of(run, fits), shards)


def _write(
    run: Run,
    shards: OpenShards,
    parts: dict[PaperPart, Part],
    left_out: dict[PaperPart, str],
) -> None:
    """Scores the grids and publishes the page, or finds it whole."""
    from rich.console import Console

    from medhmp.layout import PAGE, PAPER, RESULTS, home_of
    from medhmp.paper.material import open_grids, score
    from medhmp.paper.page import console_table, results_of, write
    from medhmp.replacing import move_in, room_for
    from medhmp.storage import Folder, Stamp, opened, publish

    folder = Folder(home_of(run.out, run.variant)) / PAPER
    grids = open_grids(run, shards, parts)
    fields = fields_of(run, "name", "report", "paper", "tune.tasks", "tune.starts")
    stamp = Stamp(fields, grids.inputs)
    room = room_for(folder, stamp, run.overwrite)
    if room is not None:
        results = results_of(score(grids, run.report), parts, left_out)
        publish(room, stamp, write(room, results, parts))
        move_in(folder)
    if not run.quiet:
        Console().print(console_table(opened(folder, "paper_tables").read_json(RESULTS)["places"]))
    Progress(run.quiet).say(f"paper_tables: {folder}/{PAGE}")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, paper_tables, READS, needs_shards=False)


if __name__ == "__main__":
    main()
