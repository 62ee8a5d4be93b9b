"""Every stage in one driver on one Ray: raw tables to a report.

    python -m jobs.all smoke --out runs/demo
    python -m jobs.all mimic3_demo --tables.sources mimic3=/data/mimic-demo --out runs/mimic3-demo

Reads the sources, or synthesizes a cohort where none is named. Writes everything under ``--out``. A
stage whose output is whole is skipped, so the same command goes on where an interrupted one was.
"""

import time
from collections.abc import Callable
from typing import Final, NoReturn

from medhmp import command, requests
from medhmp.model.catalog import MODELS
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run

from . import (
    embed_notes,
    export,
    featurize,
    pretrain_admission,
    pretrain_stay,
    report,
    synthesize,
    tune,
)

STAGES: Final[tuple[Callable[[Run], None], ...]] = (
    synthesize.synthesize,
    featurize.featurize,
    embed_notes.embed_notes,
    pretrain_stay.pretrain_stay,
    pretrain_admission.pretrain_admission,
    tune.tune,
    report.report,
    export.export,
)

_EVERY: Final = (
    *(*synthesize.READS, *featurize.READS, *embed_notes.READS, *pretrain_stay.READS),
    *(*pretrain_admission.READS, *tune.READS, *report.READS),
)
READS: Final = tuple(name for name in dict.fromkeys(_EVERY) if name != "loop")
"""Sections and fields of a run that its stages read."""


def run_all(run: Run) -> None:
    """Runs the stages in the order of the data path, and tells how long each took."""
    from medhmp.layout import PAGE, REPORT, home_of
    from medhmp.storage import Folder

    if run.loop.skip_step:
        raise Refusal(
            "loop.skip_step trains nothing that later stages could read; give it to "
            "jobs.pretrain_stay or jobs.pretrain_admission alone"
        )
    readers = [name for name in run.tune.models if MODELS[name].text_read(run.notes.fine_tune)]
    if readers and not run.notes.keep_text:
        raise Refusal(
            f"tune.models has {', '.join(readers)}, which read the text of notes, which is "
            "deleted once it is embedded; give --notes.keep-text"
        )
    progress, begun, before = Progress(run.quiet), time.perf_counter(), requests.total()
    for stage in STAGES:
        if stage is synthesize.synthesize and run.tables.sources:
            continue
        started = time.perf_counter()
        stage(run)
        seconds = time.perf_counter() - started
        now = requests.total()
        asked, before = requests.in_words(now - before), now
        progress.say(f"{stage.__name__}: {seconds:.1f} s{asked}", style="dim")
    home = Folder(home_of(run.out, run.variant))
    seconds, page = time.perf_counter() - begun, home / REPORT / PAGE
    progress.say(f"{seconds:.0f} s in all; the report: {page}", style="bold")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, run_all, READS, needs_shards=False)


if __name__ == "__main__":
    main()
