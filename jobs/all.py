"""Every stage in one driver on one Ray: raw tables to a report.

    python -m jobs.all smoke --out runs/demo
    python -m jobs.all mimic3_demo --tables.sources mimic3=/data/mimic-demo --out runs/mimic3-demo

Reads the sources, or synthesizes a cohort where none is named. Writes everything under ``--out``. A
stage whose output is whole is skipped, so the same command goes on where an interrupted one was.
"""

import time
from collections.abc import Callable

from jobs.embed_notes import embed_notes
from jobs.featurize import featurize
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.report import report
from jobs.synthesize import synthesize
from jobs.tune import tune
from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder

STAGES: tuple[Callable[[Run], None], ...] = (
    synthesize,
    featurize,
    embed_notes,
    pretrain_stay,
    pretrain_admission,
    tune,
    report,
)


def run_all(run: Run) -> None:
    """The stages in the order of the data path, each timed."""
    if run.loop.skip_step:
        raise Refusal(
            "loop.skip_step trains nothing that later stages could read; give it to "
            "jobs.pretrain_stay or jobs.pretrain_admission alone"
        )
    begun = time.perf_counter()
    for stage in STAGES:
        if stage is synthesize and run.tables.sources:
            continue
        started = time.perf_counter()
        stage(run)
        Progress(run.quiet).say(
            f"[dim]{stage.__name__}: {time.perf_counter() - started:.1f} s[/dim]"
        )
    where = Folder(run.out) / "report" / "index.html"
    Progress(run.quiet).say(
        f"[bold]{time.perf_counter() - begun:.0f} s in all; the report: {where}[/bold]"
    )


if __name__ == "__main__":
    command.main(__doc__, run_all)
