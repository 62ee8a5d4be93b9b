"""Search the grid of batch sizes and learning rates for every task, model and start, with Ray Tune.

    python -m jobs.tune smoke --out runs/demo --tune.tasks mortality --tune.seeds 5

Reads ``shards/`` and the pretraining outputs that the starts need. Writes
``tune/<task>/<model>/<start>/``: trials.parquet, best.json, predictions.parquet and
trials/<cell>.json; and ``tune/<task>/skipped.json`` for a task that cannot be trained. Begun again,
it goes on with the cells that are missing. A whole grid of other batch sizes or rates takes
``--overwrite``, and keeps the cells that are in both.
"""

from medhmp import command
from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.run import Run
from medhmp.shards.labelled import TaskData, counts, hindrance, read_task
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder
from medhmp.train.finetune.grid import Grid, grids, is_whole, run_grids


def tune(run: Run) -> None:
    """Runs all grids of the run's tasks that are not whole yet."""
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
        pending += [grid for grid in grids(run, task) if not is_whole(grid, run.overwrite)]
    if pending:
        run_grids(run, pending, data, shards.widths)
    Progress(run.quiet).say(f"tune: {len(pending)} grids run, {root / 'tune'}")


def record_skipped(root: Folder, task: Task, rows: TaskData, reason: str, shards: str) -> None:
    """Tells the report why a task is not trained, and of which shards that is true; without a
    reason, takes back what was told."""
    folder = root / "tune" / task
    if reason:
        said = {"task": task, "reason": reason, "counts": counts(rows), "shards": shards}
        folder.write_json("skipped.json", said)
    elif folder.exists("skipped.json"):
        folder.delete("skipped.json")


if __name__ == "__main__":
    command.main(__doc__, tune)
