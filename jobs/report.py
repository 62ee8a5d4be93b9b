"""Score the test predictions of every chosen cell, and write the report.

    python -m jobs.report smoke --out runs/demo --report.draws 2000

Reads ``tune/``, the manifest in ``shards/``, the pretraining stages' ``metrics.jsonl`` and, of a
synthetic cohort, ``raw/truth.parquet``, all of the same shards. Writes ``report/``: index.html (one
file, opens from disk), report.md, results.json, figures/.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.run import Run, fields_of

READS: Final = ("name", "out", "variant", "overwrite", "quiet", "private", "report", "tune.starts")
"""Sections and fields of a run that this job reads."""


def report(run: Run) -> None:
    """Writes ``report/`` under ``run.out``, or finds it whole; prints the AUROC of every row."""
    from rich.console import Console

    from medhmp.evaluate.predictions import read_all
    from medhmp.layout import PAGE, REPORT, RESULTS, home_of
    from medhmp.replacing import move_in, room_for
    from medhmp.report.material import find_results, gather
    from medhmp.report.results import results_of
    from medhmp.report.write import console_table, write
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, Stamp, made_elsewhere, opened, publish

    out, home, made = Folder(run.out), Folder(home_of(run.out, run.variant)), ""
    grids, skipped = find_results(home)
    material = gather(out, home, grids, skipped, open_shards(run))
    folder = home / REPORT
    stamp = Stamp(fields_of(run, "name", "report", "tune.starts"), material.inputs)
    room = room_for(folder, stamp, run.overwrite)
    if room is None:
        made = made_elsewhere(folder)
    else:
        predictions = read_all(material.grids)
        results = results_of(material, predictions, run.name, run.report, run.tune.starts)
        publish(room, stamp, write(room, material, predictions, results))
        move_in(folder)
    if not run.quiet:
        Console().print(console_table(opened(folder, "report").read_json(RESULTS)))
    Progress(run.quiet).say(f"report{made}: {folder}/{PAGE}")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, report, READS, needs_ray=False)


if __name__ == "__main__":
    main()
