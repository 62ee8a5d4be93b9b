"""Make the synthetic cohort: raw tables shaped as MIMIC-III v1.4, with planted, documented signal.

    python -m jobs.synthesize smoke --out runs/demo --tables.synthetic.patients 2000

Reads nothing. Writes ``raw/*.csv.gz`` and ``raw/truth.parquet`` (each task's true probabilities,
which only the report may read).
"""

import time
from collections.abc import Callable
from typing import Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.run import Run, fields_of

READS: Final = ("out", "overwrite", "quiet", "private", "tables.synthetic")
"""Sections and fields of a run that this job reads."""

SPOKEN: Final = 2.0
"""Seconds between two lines of progress."""


def synthesize(run: Run) -> None:
    """Writes ``raw/`` under ``run.out``, or finds it whole."""
    from medhmp.layout import RAW
    from medhmp.storage import Folder, Stamp, is_done, made_elsewhere, publish
    from medhmp.synthetic import synthesize as write_tables

    folder = Folder(run.out) / RAW
    stamp = Stamp(fields_of(run, "tables.synthetic"), {})
    if is_done(folder, stamp, run.overwrite):
        return Progress(run.quiet).say(
            f"raw tables: whole already{made_elsewhere(folder)}, {folder}"
        )
    progress = _progress(run) if Progress(run.quiet).is_watched else None
    publish(folder, stamp, write_tables(run.tables.synthetic, folder, progress))
    Progress(run.quiet).say(f"raw tables of {run.tables.synthetic.patients:,} patients: {folder}")


def _progress(run: Run) -> Callable[[int, int], None]:
    """Prints the patients done and the rows written, at intervals and at the end."""
    patients, begun = run.tables.synthetic.patients, time.perf_counter()
    spoken = begun

    def tell(done: int, rows: int) -> None:
        nonlocal spoken
        now = time.perf_counter()
        if now - spoken < SPOKEN and done < patients:
            return
        spoken = now
        speed = rows / (now - begun)
        left = (patients - done) * (now - begun) / done
        Progress(run.quiet).say(
            f"  {done:,} of {patients:,} patients  {speed:,.0f} rows/s  {left:.0f} s left"
        )

    return tell


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, synthesize, READS, needs_ray=False, needs_shards=False)


if __name__ == "__main__":
    main()
