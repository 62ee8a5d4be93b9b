"""Search the grid of every task, model and start, with Ray Tune.

    python -m jobs.tune smoke --out runs/demo --tune.tasks mortality --tune.replicates 5

Reads ``shards/`` and the pretraining outputs that the starts need. Writes
``tune/<task>/<model>/<start>/``: trials.parquet, best.json, predictions.parquet and, in
``trials/``, a record of each fit and the fitted models of the chosen cell; and
``tune/<task>/skipped.json`` for a task that cannot be trained. Begun again, it goes on with the
fits that are missing. A whole grid of another search takes ``--overwrite``, and keeps the fits
that are in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.run import Run

if TYPE_CHECKING:
    from ray import ObjectRef

    from medhmp.shards.labelled import TaskData
    from medhmp.shards.manifest import OpenShards
    from medhmp.storage import Folder

READS: Final = (
    *("name", "out", "variant", "overwrite", "quiet", "private", "tracker", "tune", "finetune"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers"),
    *("model.max_stays", "model.head_dropout", "model.forget_gates"),
    *("cohort.tasks", "cohort.max_visits"),
    *("pretrain_on", "pretrain_sources", "pretrain_seeds"),
    *("notes.t5", "notes.bert", "notes.fine_tune", "notes.max_tokens"),
)
"""Sections and fields of a run that this job reads."""


def tune(run: Run) -> None:
    """Runs all grids of the run's tasks that are not whole yet."""
    from medhmp.layout import TUNE, home_of
    from medhmp.replacing import move_in
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, made_elsewhere
    from medhmp.train.finetune.estimators import FitSettings
    from medhmp.train.finetune.grid import pending, run_grids
    from medhmp.train.finetune.inputs import FitInputs
    from medhmp.train.finetune.search import grids_of
    from medhmp.train.finetune.trials import Shared
    from medhmp.train.tracking import grid_callbacks

    callbacks = grid_callbacks(run)  # refuses a tracker that is not there
    shards, progress = open_shards(run), Progress(run.quiet)
    home, inputs = Folder(home_of(run.out, run.variant)), FitInputs(run, shards)
    data = _trainable(run, shards, home, progress)
    grids = [grid for task in data for grid in grids_of(run, task, inputs)]
    missing = [room for grid in grids if (room := pending(grid, run.overwrite, progress))]
    for grid in grids:
        if made := made_elsewhere(grid.folder):
            progress.say(f"tune {grid.task} {grid.model} {grid.start}: whole already{made}")
    if missing:
        needed = {g.begins(n) for g in missing for n in range(g.pretrainings)}
        starts = {key: inputs.weights(*key) for key in needed}
        settings = FitSettings(run.model, run.finetune, shards.widths, run.notes)
        each_epoch = run.tune.asha or bool(callbacks)
        shared = Shared(data, settings, starts, tuple(missing), each_epoch)
        run_grids(missing, shared, run.tune.gpus_per_trial, progress, callbacks)
        for grid in grids:
            move_in(grid.folder)
    progress.say(f"tune: {len(missing)} grids run, {home / TUNE}")


def _trainable(
    run: Run, shards: OpenShards, home: Folder, progress: Progress
) -> dict[Task, ObjectRef]:
    """The labelled rows of each task that can be trained, in the memory that Ray's processes share
    and not in this one's; says, and records in ``home``, why another cannot."""
    import ray

    from medhmp.shards.labelled import counts
    from medhmp.train.finetune.inputs import read_data

    data = {}
    for task in run.tune.tasks:
        rows = read_data(run, shards, task, run.tune.models)
        drawn, reason = _hindered(run, shards, task, rows)
        record_skipped(home, task, drawn, reason, shards.fingerprint)
        if reason:
            progress.say(f"tune {task}: skipped, {reason} {counts(drawn)}")
        else:
            data[task] = ray.put(rows)
    return data


def _hindered(run: Run, shards: OpenShards, task: Task, rows: TaskData) -> tuple[TaskData, str]:
    """The rows of the first replicate that cannot be trained, and why; else of the last, and no
    reason."""
    from medhmp.shards.labelled import draw, hindrance

    drawn, reason = rows, ""
    for seed in range(run.tune.replicates):
        drawn = draw(rows, run.finetune.labels, seed)
        if reason := hindrance(shards, task, drawn):
            break
    return drawn, reason


def record_skipped(home: Folder, task: Task, rows: TaskData, reason: str, shards: str) -> None:
    """Tells the report why a task is not trained, and of which shards that is true; without a
    reason, takes back what was told."""
    from medhmp.layout import skipped_of
    from medhmp.shards.labelled import counts

    place = skipped_of(task)
    if reason:
        said = {"task": task, "reason": reason, "counts": counts(rows), "shards": shards}
        home.write_record(place, said)
    elif home.exists(place):
        home.delete(place)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, tune, READS)


if __name__ == "__main__":
    main()
