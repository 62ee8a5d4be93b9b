"""Fit one task with one model, start and seed.

    python -m jobs.finetune smoke --out runs/demo --fit.task mortality --fit.start both

Reads ``shards/`` and the pretraining output of the start. Writes
``finetune/<task>/<model>/<start>/seed-<n>/``: model.safetensors, run.json, metrics.jsonl,
predictions.parquet.
"""

import pyarrow as pa
import ray

from medhmp import command
from medhmp.legend import LEVELS, Widths
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of
from medhmp.shards.labelled import TaskData, counts, hindrance, read_task
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder, Stamp, is_done, publish
from medhmp.train.checkpoint import write_model
from medhmp.train.device import reserved_device
from medhmp.train.finetune.fit import (
    HELD_OUT,
    ROWS_READ_BY,
    Fit,
    FitSpec,
    fit,
    inputs_of,
    predictions_table,
    scores,
    start_weights,
)
from medhmp.train.objective import model_fields


def finetune(run: Run) -> None:
    """One fit as a Ray task, on a GPU where the cluster has one."""
    chosen = run.fit
    if chosen.model == "hist_gradient_boosting":
        raise Refusal(
            "fit.model hist_gradient_boosting has no gradient steps; run jobs.tune for it"
        )
    root = Folder(run.out)
    place = f"finetune/{chosen.task}/{chosen.model}/{chosen.start}/seed-{chosen.seed}"
    inputs = inputs_of(run, chosen.task, chosen.start)
    fields = fields_of(run, "fit", "finetune", *ROWS_READ_BY[LEVELS[chosen.task]])
    stamp = Stamp(fields | model_fields(run, "fit"), inputs)
    if is_done(root / place, stamp, run.overwrite):
        return Progress(run.quiet).say(f"finetune: whole already, {root / place}")
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    summary = ray.get(ray.remote(_fit).options(num_cpus=1, num_gpus=gpus).remote(run, place, stamp))
    Progress(run.quiet).say(f"finetune {chosen.task}: {summary}, {root / place}")


def _fit(run: Run, place: str, stamp: Stamp) -> str:
    chosen, folder = run.fit, Folder(run.out) / place
    shards = open_shards(run)
    data = read_task(shards, chosen.task, run.cohort, run.model, run.finetune.labels)
    if reason := hindrance(shards, chosen.task, data):
        raise Refusal(f"{reason} ({counts(data)}); use more data, or another fit.task")
    widths = shards.widths
    spec = FitSpec(
        chosen.task,
        chosen.model,
        chosen.start,
        chosen.batch_size,
        chosen.learning_rate,
        chosen.seed,
    )
    fitted = fit(run, spec, data, widths, start_weights(run, chosen.start), reserved_device())
    _publish(run, spec, data, widths, fitted, folder, stamp)
    return f"{fitted.epochs} epochs, validation AUROC {fitted.val_auroc:.3f}"


def _publish(
    run: Run,
    spec: FitSpec,
    data: TaskData,
    widths: Widths,
    fitted: Fit,
    folder: Folder,
    stamp: Stamp,
) -> None:
    tables = [
        predictions_table(
            data[split],
            split,
            spec.seed,
            scores(run, spec, fitted.weights, data[split], widths, reserved_device()),
        )
        for split in HELD_OUT
    ]
    entries = write_model(folder, fitted.weights, run, fitted.metrics)
    entries.append(folder.write_parquet("predictions.parquet", pa.concat_tables(tables)))
    publish(folder, stamp, entries)


if __name__ == "__main__":
    command.main(__doc__, finetune)
