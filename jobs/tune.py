"""Search the grid of batch sizes and learning rates for every task, model and start, with Ray Tune.

    python -m jobs.tune smoke --out runs/demo --tune.tasks mortality --tune.seeds 5

Reads ``shards/`` and the pretraining outputs that the starts need. Writes
``tune/<task>/<model>/<start>/``: trials.parquet, best.json, predictions.parquet and
trials/<cell>.json; and ``tune/<task>/skipped.json`` for a task that cannot be trained. Begun again,
it goes on with the cells that are missing. A whole grid of other batch sizes or rates takes
``--overwrite``, and keeps the cells that are in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.run import Run

if TYPE_CHECKING:
    from medhmp.shards.labelled import TaskData
    from medhmp.storage import Folder

READS: Final = (
    *("out", "overwrite", "quiet", "tune", "finetune"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers"),
    *("model.max_stays", "model.head_dropout", "cohort.max_visits", "pretrain_on"),
)
"""Sections and fields of a run that this job reads."""


def tune(run: Run) -> None:
    """Runs all grids of the run's tasks that are not whole yet."""
    from medhmp.shards.labelled import counts, hindrance, read_task
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, made_elsewhere
    from medhmp.train.finetune.grid import Grid, grids, is_whole, run_grids

    root, shards = Folder(run.out), open_shards(run)
    data: dict[Task, TaskData] = {}
    pending: list[Grid] = []
    for task in run.tune.tasks:
        rows = read_task(shards, task, run.cohort, run.model, run.finetune.labels)
        reason = hindrance(shards, task, rows)
        record_skipped(root, task, rows, reason, shards.fingerprint)
        if reason:
            Progress(run.quiet).say(f"tune {task}: skipped, {reason} {counts(rows)}")
            continue
        data[task] = rows
        for grid in grids(run, task):
            if not is_whole(grid, run.overwrite):
                pending.append(grid)
            elif made := made_elsewhere(grid.folder):
                told = f"tune {grid.task} {grid.model} {grid.start}"
                Progress(run.quiet).say(f"{told}: whole already{made}")
    if pending:
        run_grids(run, pending, data, shards.widths)
    Progress(run.quiet).say(f"tune: {len(pending)} grids run, {root / 'tune'}")


def record_skipped(root: Folder, task: Task, rows: TaskData, reason: str, shards: str) -> None:
    """Tells the report why a task is not trained, and of which shards that is true; without a
    reason, takes back what was told."""
    from medhmp.shards.labelled import counts

    folder = root / "tune" / task
    if reason:
        said = {"task": task, "reason": reason, "counts": counts(rows), "shards": shards}
        folder.write_json("skipped.json", said)
    elif folder.exists("skipped.json"):
        folder.delete("skipped.json")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, tune, READS)


if __name__ == "__main__":
    main()
