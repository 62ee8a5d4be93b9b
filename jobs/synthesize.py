"""Make the synthetic cohort: raw tables shaped as MIMIC-III v1.4, with planted, documented signal.

    python -m jobs.synthesize smoke --out runs/demo --tables.synthetic.patients 2000

Reads nothing. Writes ``raw/*.csv.gz`` and ``raw/truth.parquet`` (each task's true probabilities,
which only the report may read). Tables in ``raw/`` that this job did not write stay as they are:
the run is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

if TYPE_CHECKING:
    from medhmp.storage import Folder

READS: Final = ("out", "overwrite", "quiet", "private", "tables.synthetic")
"""Sections and fields of a run that this job reads."""

SPOKEN: Final = 2.0
"""Seconds between two lines of progress."""


def synthesize(run: Run) -> None:
    """Writes ``raw/`` under ``run.out``, or finds it whole."""
    from medhmp.layout import RAW
    from medhmp.replacing import beside, move_in, room_for
    from medhmp.storage import Folder, Stamp, made_elsewhere, publish
    from medhmp.synthetic import synthesize as write_tables

    folder = Folder(run.out) / RAW
    stamp = Stamp(fields_of(run, "tables.synthetic"), {})
    _refuse_foreign(folder)
    if room_for(folder, stamp, run.overwrite) is None:
        return Progress(run.quiet).say(
            f"raw tables: whole already{made_elsewhere(folder)}, {folder}"
        )
    progress = _progress(run) if Progress(run.quiet).is_watched else None
    # Beside it in any case: so what lies in raw/ without a record is never ours.
    new = beside(folder)
    publish(new, stamp, write_tables(run.tables.synthetic, new, progress))
    move_in(folder)
    Progress(run.quiet).say(f"raw tables of {run.tables.synthetic.patients:,} patients: {folder}")


def _refuse_foreign(folder: Folder) -> None:
    """Refuses a folder with files that are in no record of ours: they may be somebody's tables."""
    from medhmp.replacing import beside
    from medhmp.storage import COMPLETE, Output

    # Of a replacement that was killed, files may be there already without their record.
    records = [output for output in map(Output.of, (folder, beside(folder))) if output]
    ours = {COMPLETE, *(name for output in records for name in output.files)}
    if foreign := [name for name in folder.names() if name not in ours]:
        raise Refusal(
            f"{folder} has {foreign[0]}, which this job did not write, and would be replaced by a "
            f"synthetic cohort; name your tables with --tables.sources NAME={folder}, or give "
            "another --out"
        )


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
