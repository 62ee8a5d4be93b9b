"""Test scores after every epoch, as the paper's Figure 6 has them, and for that figure alone.

The chosen cell of a grid is fitted once more, replicate by replicate, to the run's last epoch
instead of the one where it would stop. Nothing is chosen by these scores, and no table reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from torch import Tensor

from medhmp.layout import BEST, EPOCH_COLUMNS, PREDICTIONS, epochs_of, home_of
from medhmp.progress import Progress
from medhmp.replacing import move_in, room_for
from medhmp.run import Run
from medhmp.shards.labelled import TaskData, draw
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Folder, Stamp, opened, publish
from medhmp.train.device import reserved_device
from medhmp.train.finetune.estimators import FitSettings, Network
from medhmp.train.finetune.grid import gpu_share
from medhmp.train.finetune.inputs import FitInputs, read_data
from medhmp.train.finetune.search import Grid, grids_of
from medhmp.train.loop import Diverged


@dataclass(frozen=True)
class Refit:
    """The chosen cell of a grid, to be fitted epoch by epoch."""

    grid: Grid
    point: Mapping[str, float]
    settings: FitSettings


def score_epochs(run: Run, shards: OpenShards) -> None:
    """Makes or finds the test scores of every epoch, of each network's grid that the run names.

    Refuses a grid that is not whole.
    """
    (task,), inputs, progress = run.tune.tasks, FitInputs(run, shards), Progress(run.quiet)
    home, data = Folder(home_of(run.out, run.variant)), None
    longer = replace(run.finetune, patience=run.finetune.epochs)
    settings = FitSettings(run.model, longer, shards.widths, run.notes)
    for grid in grids_of(run, task, inputs):
        chosen = opened(grid.folder, "tune").read_json(BEST)
        point = {name: chosen[name] for name in grid.search}
        stamp = Stamp({**grid.fit.fields, **point}, grid.fit.inputs)
        place = home / epochs_of(task, grid.model, grid.start)
        room = room_for(place, stamp, run.overwrite)
        if room is None:
            continue
        data = data or read_data(run, shards, task, run.tune.models)
        starts = [inputs.weights(*grid.begins(number)) for number in range(grid.pretrainings)]
        table = _all_replicates(Refit(grid, point, settings), data, starts, run.tune.gpus_per_trial)
        publish(room, stamp, [room.write_parquet(PREDICTIONS, table)])
        move_in(place)
        progress.say(f"epochs {task} {grid.model} {grid.start}: {place}")


def _all_replicates(
    refit: Refit,
    data: TaskData,
    starts: Sequence[Mapping[str, Tensor] | None],
    gpus: float | None,
) -> pa.Table:
    """Test scores in ``layout.EPOCH_COLUMNS``, a Ray task for each replicate."""
    task = ray.remote(_one_replicate).options(num_cpus=1, num_gpus=gpu_share(gpus))
    shared, weights = ray.put(data), [ray.put(start) for start in starts]
    fits = [
        task.remote(refit, shared, weights[seed % len(weights)], seed)
        for seed in range(refit.grid.replicates)
    ]
    return pa.concat_tables(ray.get(fits))


def _one_replicate(
    refit: Refit, data: TaskData, start: Mapping[str, Tensor] | None, seed: int
) -> pa.Table:
    """Test scores of one replicate; of one that diverges, those before."""
    grid, test, tables = refit.grid, data["test"], [EPOCH_COLUMNS.empty_table()]
    network = Network(grid.level, grid.model, refit.point, refit.settings, reserved_device())

    def watch(row: Mapping[str, Any]) -> bool:
        columns = {
            "epoch": np.full(len(test), row["epoch"]),
            "subject_id": test.rows.subject_id,
            "row_id": test.rows.row_id,
            "split": np.full(len(test), "test"),
            "seed": np.full(len(test), seed),
            "label": test.label,
            "score": network.score(test),
        }
        tables.append(pa.table(columns).cast(EPOCH_COLUMNS))
        return True

    try:
        drawn = draw(data, refit.settings.finetune.labels, seed)
        network.fit(drawn, seed, start, watch)
    except Diverged:
        pass
    return pa.concat_tables(tables)
