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
from medhmp.run import Run
from medhmp.shards.labelled import TaskData, counts, lacks_a_class, read_task
from medhmp.shards.manifest import read_manifest, shards_of
from medhmp.storage import Folder
from medhmp.train.grid import Grid, grids, is_whole, run_grids


def tune(run: Run) -> None:
    """Runs all grids of the run's tasks that are not whole yet."""
    root, shards = Folder(run.out), shards_of(run).fingerprint
    data: dict[Task, TaskData] = {}
    pending: list[Grid] = []
    for task in run.tune.tasks:
        rows = read_task(run, task)
        if skip(root, task, rows, shards):
            command.say(run, f"tune {task}: skipped, a split lacks a class {counts(rows)}")
            continue
        data[task] = rows
        pending += [grid for grid in grids(run, task) if not is_whole(grid, run.overwrite)]
    if pending:
        run_grids(run, pending, data, read_manifest(run).widths)
    command.say(run, f"tune: {len(pending)} grids run, {root / 'tune'}")


def skip(root: Folder, task: Task, rows: TaskData, shards: str) -> bool:
    """Whether a split of the task lacks positives or negatives; the report finds a record of it,
    with the fingerprint of the shards that it is true of."""
    folder = root / "tune" / task
    if not lacks_a_class(rows):
        if folder.exists("skipped.json"):
            folder.delete("skipped.json")
        return False
    reason = "a split has no positive or no negative row"
    said = {"task": task, "reason": reason, "counts": counts(rows), "shards": shards}
    folder.write_json("skipped.json", said)
    return True


if __name__ == "__main__":
    command.main(__doc__, tune)
