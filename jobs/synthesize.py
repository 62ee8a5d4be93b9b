"""Make the synthetic cohort: raw tables shaped as MIMIC-III v1.4, with planted, documented signal.

    python -m jobs.synthesize smoke --out runs/demo --tables.synthetic.patients 2000

Reads nothing. Writes ``raw/*.csv.gz`` and ``raw/truth.parquet`` (each task's true probabilities,
which only the report may read).
"""

from medhmp import command
from medhmp.run import Run, fields_of
from medhmp.storage import Folder, Stamp, is_done, publish
from medhmp.tables.synthetic import synthesize as write_tables


def synthesize(run: Run) -> None:
    """Writes ``raw/`` under ``run.out``, or finds it whole."""
    folder = Folder(run.out) / "raw"
    stamp = Stamp(fields_of(run, "tables.synthetic"), {})
    if is_done(folder, stamp, run.overwrite):
        return command.say(run, f"raw tables: whole already, {folder}")

    def progress(done: int, patients: int) -> None:
        if command.watched(run.quiet):
            command.say(run, f"  patients {done:,}/{patients:,}")

    publish(folder, stamp, write_tables(run.tables.synthetic, folder, progress))
    command.say(run, f"raw tables of {run.tables.synthetic.patients:,} patients: {folder}")


if __name__ == "__main__":
    command.main(__doc__, synthesize, needs_ray=False)
